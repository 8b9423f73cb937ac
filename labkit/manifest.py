"""`data/manifest.json`: for every shipped file its sha256, its size and the command that made it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .errors import LabkitError
from .paths import asset, shipped, write_atomic


def record(name: str, command: str, **facts: Any) -> Path:
    """Enter the shipped file `name`, such as 'results/lab01.json', or renew its entry.

    Returns:
        The manifest's path.
    """
    folder = shipped("data")
    path = folder / "manifest.json"
    files = json.loads(path.read_text(encoding="utf-8"))["files"] if path.is_file() else {}
    content = (folder / name).read_bytes()
    files[name] = {"sha256": _sha256(content), "bytes": len(content), "command": command, **facts}
    return write_atomic(path, json.dumps({"files": dict(sorted(files.items()))}, indent=1) + "\n")


def verified(name: str) -> Path:
    """The path of a shipped file whose content is the manifest's.

    Raises:
        MissingError: the file or the manifest is not there.
        LabkitError: the file is not in the manifest, or its content differs.
    """
    path = asset(name)
    files = json.loads(asset("manifest.json").read_text(encoding="utf-8"))["files"]
    if name not in files:
        raise LabkitError(
            f"{path} is not in data/manifest.json: make it with its command, or reinstall labkit."
        )
    if _sha256(path.read_bytes()) != files[name]["sha256"]:
        raise LabkitError(
            f"{path} is not the file that was shipped (its sha256 differs): restore it, or run"
            f" `{files[name]['command']}`."
        )
    return path


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
