"""A folder of 60 pictures in three classes, small enough that a vision-language model costs nothing."""

from __future__ import annotations

from pathlib import Path

import torch

CLASSES = ("black crow", "red wren", "white gull")
COLOURS = ((40, 40, 40), (180, 60, 50), (225, 225, 230))


def pictures(folder: Path, each: int = 20, size: int = 16) -> Path:
    """A blot of the class's colour on noise, as folder/CLASS/NN.png."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for name, colour in zip(CLASSES, COLOURS, strict=True):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = torch.randint(90, 160, (size, size, 3), generator=generator)
            x, y = torch.randint(0, size // 2, (2,), generator=generator).tolist()
            pixels[y : y + size // 2, x : x + size // 2] = torch.tensor(colour)
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / name / f"{i:02}.png")
    return folder
