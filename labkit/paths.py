"""Where files are read and written. No other module decides this.

Read order for shipped files: `LABKIT_DATA`, the clone's `data/`, the copy packed into the wheel.
Write order for caches: `LABKIT_CACHE`, the clone's `data/cache/`, the platform's cache folder.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .errors import LabkitError, MissingError

_PACKAGE = Path(__file__).resolve().parent


def clone() -> Path | None:
    """The root of the clone (or unpacked source) that labkit runs from; None when installed from a wheel."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "solutions").is_dir() else None


def shipped(kind: str) -> Path:
    """Folder of files that ship with labkit: kind is 'data' or 'notebooks'."""
    if kind == "data" and os.environ.get("LABKIT_DATA"):
        return Path(os.environ["LABKIT_DATA"]).expanduser()
    root = clone()
    return root / kind if root else _PACKAGE / "_shipped" / kind


def asset(name: str) -> Path:
    """Path of a shipped data file such as 'results/lab01.json'.

    Raises:
        MissingError: it is in none of the three places.
    """
    places = [shipped("data"), (clone() or _PACKAGE / "_shipped") / "data"]
    for place in places:
        if (place / name).exists():
            return place / name
    raise MissingError(
        f"The shipped file '{name}' is not under {places[0]}: unset LABKIT_DATA, or reinstall labkit."
    )


def cache() -> Path:
    """Folder for what can be computed or fetched again (created when first written to)."""
    if os.environ.get("LABKIT_CACHE"):
        return Path(os.environ["LABKIT_CACHE"]).expanduser()
    root = clone()
    if root:
        return root / "data" / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("labkit"))


def datasets() -> Path | None:
    """The folder of real data sets named by `LABKIT_DATASETS`, if any."""
    value = os.environ.get("LABKIT_DATASETS")
    return Path(value).expanduser() if value else None


def work() -> Path:
    """Folder of the student's own copies: the clone's `work/`, else `work/` where the command was started."""
    return (clone() or Path.cwd()) / "work"


def write_atomic(path: Path, content: bytes | str) -> Path:
    """Write `content` to `path` completely or not at all: a temporary name, fsync, then rename.

    Raises:
        LabkitError: the file can't be written (disk full, no permission); an older file is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # the parent may be a file
            temporary.unlink(missing_ok=True)
        kept = " The older file is untouched." if path.exists() else ""
        raise LabkitError(
            f"Can't write {path}: {error.strerror or error}.{kept}"
            " Free some space or choose a writable folder."
        ) from error
    return path
