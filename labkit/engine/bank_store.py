"""Arrays that are computed chunk by chunk, kept on the disk, checked when opened and mended where damaged.

A folder of the cache holds `about.json` (what it is), one plain `.npy` file of shape (V, N, ...) per output,
and `chunks.jsonl`, a line with checksums for every chunk that was written out. Whatever is missing is
computed: all of a new bank, the rest of one whose process was killed, or one damaged chunk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LabkitError
from ..paths import cache, write_atomic

Parts = dict[str, np.ndarray]
Compute = Callable[[int, int, int], Iterator[Parts]]
_HEADER = 128  # bytes of a .npy header with the short shapes that we write


def root() -> Path:
    """The folder of all banks."""
    return cache() / "features"


def journal(folder: Path) -> dict[tuple[int, int], dict[str, str]]:
    """Checksums by (view, first row) of the chunks that were written; a torn line doesn't count."""
    written = {}
    with contextlib.suppress(OSError):
        for line in (folder / "chunks.jsonl").read_bytes().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                written[entry["view"], entry["first"]] = entry["sums"]
    return written


@contextlib.contextmanager
def locked(folder: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Alone with a bank's folder, among processes and threads; a killed process holds nothing.

    Raises:
        LabkitError: somebody else is, and there is no `waiting` to say so before it waits.
        OSError, NotImplementedError: the cache or its file system allows no lock.
    """
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=1.0)
    except Timeout:
        if waiting is None:
            raise LabkitError(
                f"{folder} is being written by another process: wait until it is done."
            ) from None
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass
class Store:
    """The arrays of one bank.

    Args:
        key: name of the folder.
        facts: what the key stands for, in plain types.
        views, n: leading sizes of every array.
        chunk: rows of one view that are computed and written at once.
        dtype: of all arrays, 'float16' or 'float32'.
        kept: whether to use the disk at all.
    """

    key: str
    facts: dict[str, Any]
    views: int
    n: int
    chunk: int
    dtype: str
    kept: bool = True
    arrays: Parts = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.folder: Path | None = root() / self.key if self.kept else None
        self.done: set[tuple[int, int]] = set()  # (view, first row) of finished chunks
        self.damage = ""

    @property
    def missing(self) -> list[tuple[int, int]]:
        """(view, first row) of the chunks that are still to be computed, in order."""
        chunks = ((v, start) for v in range(self.views) for start in range(0, self.n, self.chunk))
        return [c for c in chunks if c not in self.done]

    def complete(self, compute: Compute, waiting: Callable[[], None] = lambda: None) -> None:
        """Compute what is missing.

        Args:
            compute: `compute(view, first, last)` yields the rows of these images chunk by chunk, each as
                arrays (rows, ...) by name.
            waiting: called once if another process is at work on the same bank.

        Raises:
            LabkitError: the outputs' shapes change from one chunk to the next.
        """
        self._read()
        if self.done and not self.missing:  # also where the cache can only be read
            with contextlib.suppress(OSError):
                os.utime(self.folder / "about.json")  # used today
            return
        with contextlib.ExitStack() as stack:
            self._lock(stack, waiting)
            self._read()
            if self.damage:
                left = f"{len(self.missing)} of {len(self.missing) + len(self.done)} chunks"
                warnings.warn(
                    f"The feature bank in {self.folder} is damaged ({self.damage}):"
                    f" {left} are computed again.",
                    stacklevel=4,
                )
            for view, first, last in list(self._runs()):
                for parts in compute(view, first, last):
                    self._put(view, first, parts)
                    first += self.chunk
        if self.folder is not None:
            self.arrays = {name: np.load(self._file(name), mmap_mode="c") for name in self.arrays}

    def open(self, name: str, view: int) -> np.ndarray:
        """One view of one output, (N, ...); writing into it changes nobody else's."""
        with contextlib.suppress(OSError, ValueError):  # the files may have been removed meanwhile
            if self.folder is not None:
                return np.load(self._file(name), mmap_mode="c")[view]
        return np.array(self.arrays[name][view])

    # Reading -----------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Find out which chunks are whole."""
        self.done, self.arrays, self.damage = set(), {}, ""
        if self.folder is None or not (self.folder / "about.json").is_file():
            return
        try:
            about = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))
            shapes = {name: (self.views, self.n, *shape) for name, shape in about["shapes"].items()}
            if about["facts"] != self.facts or (about["dtype"], about["n"]) != (self.dtype, self.n):
                raise ValueError("about.json is of another bank")
            self.chunk = about["chunk"]  # that of the process that began it
            self.arrays = {name: np.load(self._file(name), mmap_mode="c") for name in shapes}
            if {n: (a.shape, a.dtype.name) for n, a in self.arrays.items()} != {
                n: (shape, self.dtype) for n, shape in shapes.items()
            }:
                raise ValueError("a file has another shape")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            self.done, self.arrays, self.damage = set(), {}, str(error).rstrip(".")
            return
        written = journal(self.folder)
        self.done = {chunk for chunk, sums in written.items() if self._sums(*chunk) == sums}
        if len(self.done) < len(written):
            self.damage = "checksums differ"

    def _sums(self, view: int, first: int) -> dict[str, str]:
        rows = slice(first, first + self.chunk)
        return {name: _sum(array[view, rows]) for name, array in self.arrays.items()}

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        """Missing chunks that follow each other, as (view, first row, row after the last)."""
        missing = self.missing
        while missing:
            view, first = missing.pop(0)
            last = first + self.chunk
            while missing and missing[0] == (view, last):
                last = missing.pop(0)[1] + self.chunk
            yield view, first, min(last, self.n)

    # Writing -----------------------------------------------------------------------------------------------

    def _lock(self, stack: contextlib.ExitStack, waiting: Callable[[], None]) -> None:
        """Be alone with the folder until the stack closes; where that can't be had, go without the folder."""
        if self.folder is None:
            return
        try:
            stack.enter_context(locked(self.folder, waiting))
        except (OSError, NotImplementedError) as error:
            self._to_memory(error)  # the files stay: somebody else may be writing them

    def _put(self, view: int, first: int, parts: Parts) -> None:
        """Keep one finished chunk."""
        shapes = {name: part.shape[1:] for name, part in parts.items()}
        if not self.arrays:
            self._create(shapes)
        if shapes != {name: array.shape[2:] for name, array in self.arrays.items()}:
            raise LabkitError(
                f"The encoder's outputs changed their shapes from one batch to the next, to {shapes}:"
                " a bank needs the same for every image."
            )
        if self.folder is not None:
            try:
                self._write(view, first, parts)
            except OSError as error:
                self._to_memory(error, free=True)
        if self.folder is None:
            for name, part in parts.items():
                self.arrays[name][view, first : first + self.chunk] = part
        self.done.add((view, first))

    def _create(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """New files of the full size (holes until they are written), or arrays in memory."""
        whole = {name: (self.views, self.n, *shape) for name, shape in shapes.items()}
        if self.folder is not None:
            try:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True, exist_ok=True)
                for name, shape in whole.items():
                    _empty_npy(self._file(name), shape, self.dtype)
                about = {
                    "facts": self.facts,
                    "shapes": shapes,
                    "dtype": self.dtype,
                    "n": self.n,
                    "views": self.views,
                    "chunk": self.chunk,
                    "created": time.strftime("%Y-%m-%d %H:%M:%S"),
                }
                write_atomic(self.folder / "about.json", json.dumps(about, indent=1) + "\n")
                self.arrays = {name: np.load(self._file(name), mmap_mode="c") for name in whole}
            except (OSError, LabkitError) as error:
                self._to_memory(error, free=True)
        if self.folder is None:
            self.arrays = {name: np.empty(shape, self.dtype) for name, shape in whole.items()}

    def _write(self, view: int, first: int, parts: Parts) -> None:
        """The rows first, then the line that says they are there; each forced to the disk."""
        for name, part in parts.items():
            array = self.arrays[name]
            with open(self._file(name), "r+b") as file:
                file.seek(_HEADER + array[:view].nbytes + array[:1, :first].nbytes)
                file.write(np.ascontiguousarray(part).data)
                _sync(file)
        entry = {"view": view, "first": first, "sums": {name: _sum(part) for name, part in parts.items()}}
        with open(self.folder / "chunks.jsonl", "ab") as file:
            file.write(b"\n" * (file.tell() > 0) + json.dumps(entry).encode())
            _sync(file)

    def _to_memory(self, error: Exception, free: bool = False) -> None:
        """Go on without the disk, with all that is done; `free` gives back what was used of a full one."""
        warnings.warn(
            f"The feature bank can't be kept in {self.folder}, so it stays in memory and is computed again"
            f" next time: {getattr(error, 'strerror', None) or error}.",
            stacklevel=5,
        )
        kept = {name: np.empty(array.shape, self.dtype) for name, array in self.arrays.items()}
        for view, first in self.done:
            for name, array in self.arrays.items():
                rows = (view, slice(first, first + self.chunk))
                kept[name][rows] = array[rows]
        self.arrays = kept
        if free:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


def _empty_npy(path: Path, shape: tuple[int, ...], dtype: str) -> None:
    """A .npy file of zeros that takes no room yet."""
    with open(path, "wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        if file.tell() != _HEADER:
            raise LabkitError(f"The header of {path} doesn't fit: give outputs of fewer axes.")
        file.truncate(_HEADER + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)


def _sum(rows: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()[:32]


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
