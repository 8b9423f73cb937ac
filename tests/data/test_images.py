"""Decoding: formats, colours, orientation, crops."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labkit import LabkitError
from labkit.data.images import decode, decode_all, resize


def gradient(width: int = 40, height: int = 20) -> np.ndarray:
    """(H, W, 3) uint8: red grows to the right, green downwards, blue is constant."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, np.full_like(x, 90)], 2).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".webp", ".bmp"])
def test_the_short_side_is_resized_and_the_centre_cropped(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(gradient()).save(tmp_path / f"x{suffix}")
    out = decode(tmp_path / f"x{suffix}", 10).astype(float)
    assert out.shape == (10, 10, 3)
    wanted = gradient()[:, 10:30].reshape(10, 2, 10, 2, 3).mean((1, 3))
    assert np.abs(out - wanted).mean() < 6


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK", "I;16"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = gradient(16, 16)[:, :, 0]
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(np.repeat(grey[:, :, None], 3, 2))
        image = image.convert(mode, palette=Image.Palette.ADAPTIVE)
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    image.save(path)
    out = decode(path, 16).astype(float)
    assert out.shape == (16, 16, 3)
    if mode != "1":  # which dithers
        assert np.abs(out - grey[:, :, None]).mean() < 8


def test_a_transparent_palette_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.fromarray(gradient()).convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / "x.png", transparency=bytes(range(0, 200, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(tmp_path / "x.png", 8).shape == (8, 8, 3)


def test_a_turned_photograph_is_set_upright(tmp_path: Path) -> None:
    upright = Image.fromarray(gradient(16, 16))
    exif = upright.getexif()
    exif[0x0112] = 6  # stored turned by 90 degrees
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "x.jpg", exif=exif, quality=95)
    assert np.abs(decode(tmp_path / "x.jpg", 16).astype(float) - gradient(16, 16)).mean() < 6


def test_large_photographs_are_antialiased(tmp_path: Path) -> None:
    checks = (np.indices((640, 640)).sum(0) % 2 * 255).astype(np.uint8)
    for suffix in (".png", ".jpg"):
        Image.fromarray(checks).save(tmp_path / f"x{suffix}")
        assert np.abs(decode(tmp_path / f"x{suffix}", 16).astype(float) - 127.5).max() < 12


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"BM", b"RIFF\0\0\0\0WEBP"]
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(LabkitError, match=f"Can't read the image {tmp_path / 'x.png'} "):
        decode(tmp_path / "x.png", 8)
    with pytest.raises(LabkitError, match="Can't read the image"):
        decode(tmp_path / "absent.png", 8)


def test_many_images_keep_their_order_and_the_first_bad_one_stops(tmp_path: Path) -> None:
    files = []
    for i in range(150):
        files.append(tmp_path / f"{i}.png")
        Image.new("RGB", (5, 5), (i, 0, 255 - i)).save(files[-1])
    out = decode_all(files, 4)
    assert torch.equal(out[:, 0, 0, 0], torch.arange(150, dtype=torch.uint8))
    assert out.is_contiguous()
    assert decode_all([], 4).shape == (0, 3, 4, 4)
    files[100].write_bytes(b"")
    with pytest.raises(LabkitError, match=r"100\.png"):
        decode_all(files, 4)


def test_resizing_is_pillows_up_to_rounding() -> None:
    image = torch.from_numpy(gradient()).permute(2, 0, 1)[None]
    for size in (7, 33):
        wanted = np.asarray(Image.fromarray(gradient()).resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs(resize(image, size)[0].permute(1, 2, 0).numpy().astype(int) - wanted).max() <= 1
