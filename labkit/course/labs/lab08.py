"""Checks of lab 08: pictures of any kind made RGB; the others are beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checks import Check, Misconception
from .lab08_bug import BUG
from .lab08_efficiency import EFFICIENCY
from .lab08_features import EXTRACT
from .lab08_labels import FEW_LABELS
from .lab08_pool import POOL
from .lab08_probe import PROBE

# --- any picture to RGB ---------------------------------------------------------------------------------


def _draw_pictures(seed: int) -> tuple[Tensor, Tensor]:
    """Pixels (4, 5, 3) and their opacity (4, 5), from transparent to opaque, both uint8."""
    alpha = torch.tensor([0, 80, 170, 255, 255]).repeat(4).view(4, 5)
    return torch.randint(256, (4, 5, 3)).byte(), alpha.byte()


def _pictures(pixels: Tensor, alpha: Tensor) -> dict[str, Image.Image]:
    """The same pixels as Pillow opens them from files of five kinds."""
    colour = pixels.numpy()
    rgba = np.dstack([colour, alpha.numpy()])
    palette = Image.fromarray(alpha.numpy() // 80, "P")  # four colours, of which the first is transparent
    palette.putpalette(colour[0, :4].flatten().tolist())
    keyed = palette.copy()
    keyed.info["transparency"] = 0
    grey = Image.fromarray(colour[..., 0])
    return {
        "a grey picture": grey,
        "a palette picture": palette,
        "a palette picture with a transparent colour": keyed,
        "an RGBA picture": Image.fromarray(rgba),
        "a grey picture with transparency": Image.fromarray(rgba[..., [0, 3]], "LA"),
        "an RGB picture": Image.fromarray(colour),
    }


def _observe_rgb(to_rgb: Any, pixels: Tensor, alpha: Tensor) -> dict[str, Any]:
    found = {}
    for name, picture in _pictures(pixels, alpha).items():
        made = to_rgb(picture)
        found[name] = {
            "mode": getattr(made, "mode", type(made).__name__),
            "pixels": torch.from_numpy(np.array(made).astype(np.int16)),
        }
    return found


def to_rgb(picture: Image.Image) -> Image.Image:
    """The picture in mode RGB, on white where it is transparent."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _on(picture: Image.Image, colour: str, when: bool) -> Image.Image:
    if when:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, colour), picture)
    return picture.convert("RGB")


def _thresholded(picture: Image.Image) -> Image.Image:
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture.convert("RGB"), mask=picture.getchannel("A").point(lambda a: 255 * (a > 0)))
        return white
    return picture.convert("RGB")


TO_RGB = Check(
    id="08-rgb",
    title="any picture as RGB",
    points=1,
    minutes=6,
    difficulty=1,
    draw=_draw_pictures,
    observe=_observe_rgb,
    atol=1.5,  # of 255: two right ways of blending may round differently
    reference=to_rgb,
    misconceptions=(
        Misconception(
            'convert("RGB") alone',
            lambda picture: picture.convert("RGB"),
            "convert drops the alpha channel and shows whatever colour the file kept under its transparent"
            " pixels. Lay the picture on white first.",
        ),
        Misconception(
            "transparent pixels on black",
            lambda picture: _on(picture, "black", picture.has_transparency_data),
            "Your transparent pixels come out black. The exercise asks for white, as a page would show them.",
        ),
        Misconception(
            "only RGBA laid on white",
            lambda picture: _on(picture, "white", picture.mode == "RGBA"),
            "Transparency hides in other modes too: LA, and P with a transparent palette entry. Ask"
            " picture.has_transparency_data instead of the mode.",
        ),
        Misconception(
            "every transparent pixel made opaque",
            _thresholded,
            "Half-transparent pixels must be mixed with the white in proportion to their alpha:"
            " Image.alpha_composite does it.",
        ),
        Misconception(
            "only grey pictures converted",
            lambda picture: picture.convert("RGB") if picture.mode == "L" else picture,
            "A palette picture holds the numbers of its colours, an RGBA one four channels: both must become"
            " RGB.",
        ),
        Misconception(
            "palette numbers taken for grey values",
            lambda picture: (
                Image.fromarray(np.array(picture)).convert("RGB") if picture.mode == "P" else to_rgb(picture)
            ),
            "np.array of a palette picture gives the colours' numbers, not the colours: let Pillow convert.",
        ),
        Misconception(
            "colours thrown away",
            lambda picture: to_rgb(picture).convert("L").convert("RGB"),
            "All three channels are equal: somewhere the picture went through grey.",
        ),
        Misconception(
            "an array returned",
            lambda picture: np.array(to_rgb(picture)),
            "The pixels are right, but return the Pillow picture itself, in mode RGB.",
        ),
    ),
    hints=(
        "Two things can be wrong with a picture: its mode, and its transparency. Which of them does"
        ' convert("RGB") mend?',
        "If picture.has_transparency_data: convert to RGBA, then Image.alpha_composite(white, picture) with a"
        " white RGBA picture of the same size. In the end convert to RGB.",
        "A red pixel (200, 0, 0) with alpha 0.25 on white becomes 0.25 · 200 + 0.75 · 255 = 241 in the red"
        " channel and 191 in the two others.",
    ),
)

CHECKS = [TO_RGB, EXTRACT, POOL, PROBE, FEW_LABELS, EFFICIENCY, BUG]
