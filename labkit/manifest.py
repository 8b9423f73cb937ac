"""`data/manifest.json`: for every shipped file its sha256, its size and the command that made it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache as memoised
from pathlib import Path
from typing import Any

from .errors import LabkitError, MissingError
from .paths import asset, cache, shipped, write_atomic

NAME = "manifest.json"


def record(name: str, command: str, *, root: Path | None = None, **facts: Any) -> Path:
    """Enter the shipped file `name`, such as 'results/lab01.json', or renew its entry.

    Several processes may enter files at once; no entry gets lost.

    Args:
        name: path below the data folder.
        command: what makes the file again.
        root: another data folder than the one that is written to by default.
        facts: what else is worth knowing: machine, seed, minutes, metrics.

    Returns:
        The manifest's path.

    Raises:
        LabkitError: the manifest is damaged, or can't be written.
        MissingError: there is no such file.
    """
    folder = Path(root) if root else shipped("data")
    name = Path(name).as_posix()
    if not (folder / name).is_file():
        raise MissingError(f"There is no file {folder / name} to enter into {NAME}: write it first.")
    content = (folder / name).read_bytes()
    entry = {"sha256": _sha256(content), "bytes": len(content), "command": command, **facts}
    with _editing(folder) as files:
        files[name] = entry
    return folder / NAME


def prune(prefix: str, *, root: Path | None = None) -> None:
    """Drop the entries whose names begin with `prefix` and whose files are gone."""
    folder = Path(root) if root else shipped("data")
    with _editing(folder) as files:
        for name in [n for n in files if n.startswith(prefix) and not (folder / n).is_file()]:
            del files[name]


@contextmanager
def _editing(folder: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """The entries, to be changed in place by one process at a time, then written."""
    from filelock import FileLock

    lock = cache() / f"{NAME}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        files = entries(folder) if (folder / NAME).is_file() else {}
        yield files
        text = json.dumps({"files": dict(sorted(files.items()))}, indent=1) + "\n"
        write_atomic(folder / NAME, text)


def entries(root: Path | None = None) -> dict[str, dict[str, Any]]:
    """What the manifest says of each file; of the data folder `root`, else of the shipped one.

    Raises:
        MissingError: there is no manifest.
        LabkitError: it can't be read.
    """
    path = Path(root) / NAME if root else asset(NAME)
    try:
        return json.loads(path.read_text(encoding="utf-8"))["files"]
    except FileNotFoundError as error:
        raise MissingError(f"There is no manifest {path}: restore it, or reinstall labkit.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LabkitError(f"The manifest {path} is damaged ({error}): restore it, or reinstall.") from error


def verified(name: str) -> Path:
    """The path of a shipped file whose content is the manifest's.

    A file is read again only where it has changed since this process last looked.

    Raises:
        MissingError: the file or the manifest is not there.
        LabkitError: the file is not in the manifest, or its content differs; the sentence gives both hashes
            and the command that makes it.
    """
    path = asset(name)
    entry = _entry(path, Path(name).as_posix())
    if entry is None:
        raise LabkitError(
            f"{path} is not in data/{NAME}: it did not come with labkit and is not used. Remove it, or make"
            " it with the command of its kind (`labkit pretrain --list`, `labkit bench --lab N`)."
        )
    found = _digest(path, *_stamp(path))
    if found != entry["sha256"]:
        size, wanted = path.stat().st_size, entry.get("bytes")
        length = f" ({size:,} of {wanted:,} bytes)" if wanted not in (None, size) else ""
        raise LabkitError(
            f"{path} is not the file that was shipped: its sha256 is {found}{length}, expected"
            f" {entry['sha256']}. Restore it (`git checkout data/{name}`, or reinstall labkit), or make it"
            f" again with `{entry['command']}`."
        )
    return path


def machine() -> str:
    """This machine in words: processor kind, cores, device, main versions."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {device},"
        f" Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}"
    )


def _entry(path: Path, name: str) -> dict[str, Any] | None:
    """The file's entry in the manifest of its own data folder, or in the shipped one where that has none."""
    own = path.parents[len(Path(name).parts) - 1]
    return entries(own if (own / NAME).is_file() else None).get(name)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@memoised
def _digest(path: Path, changed: int, size: int) -> str:
    """sha256 of a file; time and size of its last change are part of the key."""
    return _sha256(path.read_bytes())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
