"""Small sets, folders of pictures, and isolation from the data of whoever runs the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labkit.data import ImageSet


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No data sets anywhere, an empty cache and an empty working directory; the cache's path."""
    monkeypatch.delenv("LABKIT_DATASETS", raising=False)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "cache"


@pytest.fixture
def make_set() -> Callable[..., ImageSet]:
    """`make_set(n, size=8, channels=3, classes=3)`: random pixels, labels in turn, ids 3, 10, ..."""

    def make(n: int, size: int = 8, channels: int = 3, classes: int = 3) -> ImageSet:
        generator = torch.Generator().manual_seed(n)
        images = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.arange(n) % classes, "abcdefghij"[:classes], 7 * torch.arange(n) + 3)

    return make


@pytest.fixture
def write_images() -> Callable[..., list[Path]]:
    """`write_images(folder, n, suffix=".png", size=(20, 16), seed=0)`: n smooth random pictures."""

    def write(
        folder: Path, n: int, suffix: str = ".png", size: tuple[int, int] = (20, 16), seed: int = 0
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng([seed, *folder.name.encode()])
        paths = []
        for i in range(n):
            pixels = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            paths.append(folder / f"{i:04d}{suffix}")
            Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(paths[-1])
        return paths

    return write
