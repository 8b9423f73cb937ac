"""A small MNIST of random pixels in the real formats."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """60 training and 20 test images in the layout of mnist.npz."""
    generator = np.random.default_rng(seed)
    return {
        f"{split}_{kind}": generator.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        if kind == "images"
        else np.arange(n, dtype=np.uint8) % 10
        for split, n in (("train", 60), ("test", 20))
        for kind in ("images", "labels")
    }


def idx(array: np.ndarray) -> bytes:
    """The IDX format of the original files: two zeros, type 8 (uint8), axes, big-endian sizes, data."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_npz(folder: Path, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "mnist.npz", **arrays(seed))
    return folder / "mnist.npz"


def write_idx(folder: Path, seed: int = 0, *, packed: bool = False) -> Path:
    """torchvision's four raw files below `folder`/MNIST/raw, or as the gzip files of the mirrors."""
    raw = folder if packed else folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for key, array in arrays(seed).items():
        split, kind = key.split("_")
        name = f"{'t10k' if split == 'test' else 'train'}-{kind}-idx{array.ndim}-ubyte"
        content = idx(array)
        (raw / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return folder
