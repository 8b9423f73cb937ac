"""The banks on the disk: what there is, how large, and clearing them away."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabkitError, unknown
from .bank_store import journal, locked, root

_DAY = 86_400.0  # seconds


@dataclass(frozen=True)
class Kept:
    """A bank in the cache.

    Args:
        key: names it.
        kind: 'images' or 'texts'.
        encoder: the encoder's class.
        n: images or texts.
        views: of each.
        outputs: names and sizes, such as {'embedding': (512,)}.
        bytes: room that it takes.
        complete: whether all of it was written.
        idle_days: since it was last opened.
        folder: where it lies.
    """

    key: str
    kind: str
    encoder: str
    n: int
    views: int
    outputs: dict[str, tuple[int, ...]]
    bytes: int
    complete: bool
    idle_days: float
    folder: Path

    def __str__(self) -> str:
        outputs = ", ".join(f"{name} {shape}" for name, shape in self.outputs.items())
        state = "" if self.complete else ", incomplete"
        return (
            f"{self.key}  {self.encoder}: {self.n:,} {self.kind} x {self.views}, {outputs},"
            f" {self.bytes / 1e6:.1f} MB, opened {self.idle_days:.0f} days ago{state}"
        )


def banks() -> list[Kept]:
    """All banks in the cache, the last opened first; folders that hold none are left out."""
    found = [_read(folder) for folder in root().glob("*") if folder.is_dir()]
    return sorted((kept for kept in found if kept), key=lambda kept: kept.idle_days)


def remove_banks(*keys: str, idle_days: float | None = None) -> int:
    """Delete banks by key, or all that were not opened for so many days (0: all of them).

    Returns:
        The bytes that are free now.

    Raises:
        LabkitError: neither or both are given, a key is unknown, or a process is writing the bank.
    """
    if bool(keys) == (idle_days is not None):
        raise LabkitError("Say which banks to remove, by their keys or by idle_days=..., one of the two.")
    there = {kept.key: kept for kept in banks()}
    for key in keys:
        if key not in there:
            raise unknown("feature bank", key, there)
    limit = float("inf") if idle_days is None else idle_days
    chosen = [kept for kept in there.values() if kept.key in keys or kept.idle_days >= limit]
    for kept in chosen:
        with locked(kept.folder):
            shutil.rmtree(kept.folder, ignore_errors=True)
    return sum(kept.bytes for kept in chosen)


def _read(folder: Path) -> Kept | None:
    try:
        path = folder / "about.json"
        about, idle = json.loads(path.read_text(encoding="utf-8")), time.time() - path.stat().st_mtime
        shapes = {name: tuple(shape) for name, shape in about["shapes"].items()}
        chunks = about["views"] * -(-about["n"] // about["chunk"])
        return Kept(
            key=folder.name,
            kind=about["facts"]["kind"],
            encoder=about["facts"]["encoder"],
            n=about["n"],
            views=about["views"],
            outputs=shapes,
            bytes=sum(file.stat().st_size for file in folder.iterdir()),
            complete=len(journal(folder)) == chunks,
            idle_days=max(0.0, idle / _DAY),
            folder=folder,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
