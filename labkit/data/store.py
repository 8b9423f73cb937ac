"""Photographs resized once: uint8 squares in one memory-mapped file of the cache, and a set that reads them.

Processes share the pages, and an epoch decodes nothing. The file's name is a hash of what went in: the names,
sizes and times of the photographs, the side length, what is cut off. `labkit data remove NAME` deletes it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import LabkitError
from . import images
from .images import decode, resize
from .sets import ImageSet

_VERSION = 1  # of the way photographs become squares: a change makes all stores anew
_CHUNK = 256  # photographs between two writes
_SHOW_FROM = 512  # photographs from which a progress bar is worth a line


class Rows:
    """Some rows of a memory-mapped (M, 3, S, S) file: what one may ask a tensor, read when it is asked.

    `rows[i]`, `rows[a:b]`, `rows[positions]`, `index_select` and `split` give tensors of their own;
    `narrow(positions)` gives fewer rows and reads nothing.
    """

    dtype, device, ndim = torch.uint8, torch.device("cpu"), 4

    def __init__(self, path: Path, index: Tensor | None = None) -> None:
        self.path = path
        self.array = np.load(path, mmap_mode="r")
        self.index = torch.arange(len(self.array)) if index is None else index

    def __reduce__(self) -> tuple:  # a worker process maps the file again instead of receiving its content
        return Rows, (self.path, self.index)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.index), *self.array.shape[1:]))

    def __getitem__(self, key: int | slice | Tensor | Sequence[int]) -> Tensor:
        return torch.from_numpy(np.array(self.array[self.index[key].numpy()]))

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The images at these positions; `dim` is 0."""
        return self[index]

    def split(self, size: int) -> Iterator[Tensor]:
        """Chunks of `size` images, one in memory at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def narrow(self, positions: Tensor) -> Rows:
        """Only the rows at these positions."""
        return Rows(self.path, self.index[positions])


@dataclass(eq=False)
class StoredSet(ImageSet):
    """An `ImageSet` whose images stay in a file: subsets and label budgets copy nothing.

    Args:
        images: `Rows` of the file, as many as labels.
        border: the stored square's side over `image_size`. What evaluation sees is its middle; random crops
            are taken from all of it.
    """

    images: Rows = field(repr=False)
    border: float = 1.0

    def subset(self, positions: Tensor | Sequence[int]) -> StoredSet:
        """The set of the images at these positions, which keep their ids."""
        p = torch.as_tensor(positions, dtype=torch.int64)
        return replace(self, images=self.images.narrow(p), labels=self.labels[p], ids=self.ids[p])

    def resized(self, size: int | None) -> StoredSet:
        """The set at another side length, scaled batch by batch."""
        return replace(self, image_size=size or self.image_size)

    def fetch(self, positions: Tensor | Sequence[int]) -> Tensor:
        """Images at these positions, (B, 3, S, S) uint8: the middle of what is stored."""
        whole, side = self.fetch_whole(positions), self.image_size
        edge = (whole.shape[-1] - side) // 2
        return whole[..., edge : edge + side, edge : edge + side].contiguous()

    def fetch_whole(self, positions: Tensor | Sequence[int]) -> Tensor:
        """The same with their border, (B, 3, S', S') uint8, S' = round(border S)."""
        stored = self.images[torch.as_tensor(positions, dtype=torch.int64)]
        return resize(stored, round(self.border * self.image_size))

    def to(self, device: torch.device | str) -> StoredSet:
        """The set itself: images stay in the file, `batches` moves what it reads."""
        return self


def store(
    name: str,
    root: Path,
    files: Sequence[str],
    size: int,
    *,
    bottom: int = 0,
    mend: str = "delete or replace it",
) -> Rows:
    """Squares of all photographs, from the cache or made now.

    Args:
        name: of the data set.
        root: folder that holds the files; it may move without making the store anew.
        files: M photographs relative to root.
        size: side length; the short side is resized to it (antialiased), then the centre cropped.
        bottom: rows of each photograph that are cut off first.
        mend: what to do about photographs that can't be read, for the message.

    Raises:
        LabkitError: photographs can't be read (all are counted, the first is named), the cache is not
            writable or too small. Nothing half-made is ever read.
    """
    from filelock import FileLock

    path = images.folder(name) / "resized" / f"{size}px-{_key(root, files, size, bottom)}.npy"
    shape = (len(files), 3, size, size)
    try:
        if _intact(path, shape):  # a cache that can only be read will do
            return Rows(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # of several processes one decodes, the others wait
            if not _intact(path, shape):
                _room(name, path.parent, shape)
                _make(name, path, root, files, size, bottom, mend)
    except OSError as error:
        raise LabkitError(
            f"Can't write the resized images of '{name}' to {path.parent} ({error.strerror or error}): free"
            " some space or choose a writable LABKIT_CACHE."
        ) from error
    return Rows(path)


def _key(root: Path, files: Sequence[str], size: int, bottom: int) -> str:
    digest = hashlib.sha256(f"{_VERSION} {size} {bottom}".encode())
    for file in files:
        stat = os.stat(root / file)
        digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _intact(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether the file is there with all its rows; a damaged one is deleted."""
    if not path.is_file():
        return False
    try:
        if np.load(path, mmap_mode="r").shape == shape:
            return True
    except (OSError, ValueError, EOFError):
        pass
    path.unlink()
    return False


def _room(name: str, folder: Path, shape: tuple[int, ...]) -> None:
    need, free = int(np.prod(shape)), shutil.disk_usage(folder).free
    if need > free:
        raise LabkitError(
            f"The resized images of '{name}' need {need / 1e9:.1f} GB, but {folder} has"
            f" {free / 1e9:.1f} GB free: free some space, choose a LABKIT_CACHE on a larger disk, or load"
            " with a smaller image_size."
        )


def _make(name: str, path: Path, root: Path, files: Sequence[str], size: int, bottom: int, mend: str) -> None:
    """Decode everything into a temporary file, then give it its name."""
    from tqdm.auto import tqdm

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    hidden = bool(os.environ.get("LABKIT_QUIET")) or len(files) < _SHOW_FROM
    bar = tqdm(total=len(files), desc=f"resizing {name}", unit="img", leave=False, disable=hidden)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), 3, size, size)}
    bad: list[str] = []
    try:
        with bar, open(temporary, "wb") as out, ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
            np.lib.format.write_array_header_1_0(out, header)
            for start in range(0, len(files), _CHUNK):
                part = [root / file for file in files[start : start + _CHUNK]]
                for square in pool.map(lambda file: _square(file, size, bottom), part):
                    if isinstance(square, str):
                        bad.append(square)
                    elif not bad:
                        out.write(np.ascontiguousarray(square.transpose(2, 0, 1)).data)
                bar.update(len(part))
            out.flush()
            os.fsync(out.fileno())
        if bad:
            others = f" Nor can {len(bad) - 1:,} others be read." if len(bad) > 1 else ""
            raise LabkitError(f"{bad[0]}: {mend}.{others}")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _square(file: Path, size: int, bottom: int) -> np.ndarray | str:
    """(size, size, 3) uint8, or why there is none."""
    try:
        if not bottom:
            return decode(file, size)
        with Image.open(file) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
            image = image.crop((0, 0, image.width, image.height - bottom))
            return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC))
    except LabkitError as error:
        return str(error).removesuffix(": delete or replace it.")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "it is no image" if isinstance(error, Image.UnidentifiedImageError) else error
        return f"Can't read the image {file} ({reason})"
