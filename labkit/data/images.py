"""Pictures to uint8 tensors: decoding files with threads, square crops, resizing, and the cache on disk."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import LabkitError
from ..paths import cache, write_atomic

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MEMORY_LIMIT = 2**30  # bytes of one data set that are kept in memory
_CHUNK = 64  # images a thread takes at a time
_SHOW_FROM = 512  # images from which a progress bar is worth a line

Picture = str | Path | tuple[str, bytes]  # a file, or a name and the bytes of a file


def resize(images: Tensor, size: int) -> Tensor:
    """Resize (B, C, H, W) uint8 to (B, C, size, size) uint8, bilinear and antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    scaled = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def decode(picture: Picture, size: int) -> np.ndarray:
    """One picture as (size, size, 3) uint8: short side resized (antialiased), centre cropped, upright, RGB.

    Raises:
        LabkitError: the file can't be read as an image; the message names it.
    """
    name, source = picture if isinstance(picture, tuple) else (picture, picture)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.draft(None, (2 * size, 2 * size))  # large JPEGs: decode at a smaller scale
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip to white
                image = Image.fromarray((np.asarray(image).astype(np.float32) / 257).astype(np.uint8))
            if "transparency" in image.info:  # Pillow warns where a palette goes to RGB directly
                image = image.convert("RGBA")
            if image.size != (size, size):
                image = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "it is no image" if isinstance(error, Image.UnidentifiedImageError) else error
        raise LabkitError(f"Can't read the image {name} ({reason}): delete or replace it.") from error


def decode_all(
    pictures: Sequence[Picture], size: int, *, progress: bool = True, name: str = "images"
) -> Tensor:
    """All pictures as (N, 3, size, size) uint8, decoded by a pool of threads.

    Raises:
        LabkitError: one of them can't be read.
    """
    from tqdm.auto import tqdm

    out = np.empty((len(pictures), size, size, 3), np.uint8)

    def work(start: int) -> int:
        for i in range(start, min(start + _CHUNK, len(pictures))):
            out[i] = decode(pictures[i], size)
        return min(_CHUNK, len(pictures) - start)

    chunks = range(0, len(pictures), _CHUNK)
    hidden = not progress or len(pictures) < _SHOW_FROM
    bar = tqdm(total=len(pictures), desc=f"decoding {name}", unit="img", leave=False, disable=hidden)
    with bar, ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool:
        try:
            for done in pool.map(work, chunks) if len(chunks) > 1 else map(work, chunks):
                bar.update(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()


def is_image(path: str | Path) -> bool:
    """Whether the name is that of an image file (not hidden, known suffix)."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """The image files directly in `folder`, sorted by name."""
    return sorted(p for p in folder.iterdir() if is_image(p) and p.is_file())


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in `folder`, sorted by name."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def fingerprint(files: Sequence[Path]) -> str:
    """A short hash of the names, sizes and modification times of `files`."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def cached(name: str, key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of the data set `name` from the cache, else from `make`, whose result is then kept.

    A damaged cache file is made again; a cache that can't be written costs time, not the run.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save

    path = folder(name) / f"{key}.safetensors"
    if path.is_file():
        try:
            return load_file(path)
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)
    tensors = make()
    try:
        write_atomic(path, save(tensors))
    except (LabkitError, OSError) as error:
        warnings.warn(f"{name} will be decoded again next time. {error}", stacklevel=2)
    return tensors


def folder(name: str) -> Path:
    """Where labkit keeps what it fetched or decoded for the data set `name`."""
    return cache() / "datasets" / name
