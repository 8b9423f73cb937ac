"""Arrays of records in labkit's cache: written whole or not at all, checked when read, made by one process.

A file is an .npy with a trailer of 8 bytes: a mark and the CRC-32 of the records. numpy reads it as it is.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL

from .. import images
from .world import AVIARY_VERSION

_MARK = b"AVRY"
_BLOCK = 1 << 24  # bytes checked at a time
# what doesn't decide how a picture looks; any other file of this folder does
_NOT_THE_WORLD = ("__init__", "annotations", "corpus", "dataset", "drawing", "golden", "records", "text")
_UNREADABLE = (OSError, ValueError, EOFError, SyntaxError)


def folder() -> Path:
    """Where the pictures of the Aviary are kept; `labkit data remove aviary` deletes it."""
    return images.folder("aviary")


def _world() -> str:
    """A short hash of all that decides how pictures look: version, sources, and the libraries that draw."""
    digest = hashlib.sha256(f"{AVIARY_VERSION} pillow {PIL.__version__} numpy {np.__version__}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.stem not in _NOT_THE_WORLD:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


WORLD = _world()  # once, when the sources are imported


def kept(name: str, dtype: np.dtype, n: int, make: Callable[[], Iterator[np.ndarray]]) -> np.ndarray:
    """`n` records from the cache, else from `make`, which yields them in order; they are then kept.

    Args:
        name: of the file, which must tell all that decides about the records.
        dtype: of one record.
        n: how many records there are.
        make: called where no whole file of these records exists. Of several processes one makes them, the
            others wait. Where the cache can't be written, they are made in memory.

    Returns:
        (n,) records, memory-mapped copy-on-write: what is written to them stays in this process.
    """
    from filelock import FileLock

    path = folder() / f"{name}.npy"
    found = read(path, dtype, n)
    if found is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            found = read(path, dtype, n)  # meanwhile another process may have made it
            if found is None:
                _write(path, dtype, n, make())
                found = read(path, dtype, n)
        if found is not None:
            return found
        reason = "what was written reads back differently"
    except (OSError, NotImplementedError) as error:
        reason = f"{getattr(error, 'strerror', None) or error}"
    warnings.warn(
        f"The Aviary's pictures can't be kept in {folder()} ({reason}), so they are drawn again each time:"
        " free some space, or choose a writable LABKIT_CACHE.",
        stacklevel=2,
    )
    return np.concatenate([np.empty(0, dtype), *make()])


def read(path: Path, dtype: np.dtype, n: int) -> np.ndarray | None:
    """The records of a file, memory-mapped; None where it is absent, cut short, damaged or something else."""
    try:
        found = np.load(path, mmap_mode="c", allow_pickle=False)
        with open(path, "rb") as file:
            file.seek(-len(_MARK) - 4, os.SEEK_END)
            trailer = file.read()
    except _UNREADABLE:
        return None
    fits = isinstance(found, np.memmap) and found.dtype == dtype and found.shape == (n,)
    whole = fits and path.stat().st_size == found.offset + found.nbytes + len(trailer)
    return found if whole and trailer == _MARK + _checksum(found).to_bytes(4, "little") else None


def _checksum(records: np.ndarray) -> int:
    raw, crc = records.view(np.uint8), 0
    for start in range(0, len(raw), _BLOCK):
        crc = zlib.crc32(raw[start : start + _BLOCK], crc)
    return crc


def _write(path: Path, dtype: np.dtype, n: int, chunks: Iterator[np.ndarray]) -> None:
    """Write under a temporary name, wait until it is on the disk, then give it its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (n,)}
    crc = 0
    try:
        with open(temporary, "wb") as file:
            np.lib.format.write_array_header_2_0(file, header)
            for chunk in chunks:
                raw = chunk.tobytes()
                crc = zlib.crc32(raw, crc)
                file.write(raw)
            file.write(_MARK + crc.to_bytes(4, "little"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
