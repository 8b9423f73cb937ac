"""Where a bird sits, and what stands in the way: backgrounds, distractors and occluders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from .paint import COLOURS, Colour

Draw = ImageDraw.ImageDraw
Uniform = Callable[[float, float], float]

# top and bottom colour of the background, colour of the ground (None: none), and where the ground begins
_TINTS: dict[str, tuple[Colour, Colour, Colour | None, float]] = {
    "sky": ((126, 184, 230), (206, 230, 244), None, 1.0),
    "sea": ((180, 214, 232), (206, 226, 226), (54, 120, 150), 0.5),
    "forest": ((58, 92, 62), (110, 142, 84), (74, 66, 44), 0.82),
    "snow": ((190, 202, 218), (222, 228, 236), (238, 242, 248), 0.66),
    "sand": ((226, 206, 168), (240, 222, 184), (214, 178, 120), 0.6),
    "rock": ((168, 172, 180), (196, 194, 192), (112, 106, 104), 0.7),
    "meadow": ((190, 220, 226), (222, 232, 190), (118, 164, 74), 0.58),
    "dusk": ((72, 60, 108), (226, 138, 104), (58, 46, 66), 0.78),
}
_RAMP = np.linspace(0.0, 1.0, 192)[:, None]


def backdrop(scene: str, size: int, draw_number: Uniform) -> Image.Image:
    """The scene without the bird: (size, size) RGB; `draw_number(low, high)` gives uniform numbers."""
    u = draw_number
    top, bottom, ground, horizon = _TINTS[scene]
    ramp = _RAMP if size == 192 else np.linspace(0.0, 1.0, size)[:, None]
    column = np.rint(np.array(top) * (1 - ramp) + np.array(bottom) * ramp).astype(np.uint8)  # (size, 3)
    image = Image.fromarray(column[:, None]).resize((size, size))
    draw = ImageDraw.Draw(image)
    line = size * (horizon + u(-0.08, 0.08))
    if ground:
        draw.rectangle((0, line, size, size), fill=ground)
    _DETAILS[scene](draw, size, line, u)
    return image


def _blob(draw: Draw, x: float, y: float, a: float, b: float, colour: Colour) -> None:
    draw.ellipse((int(x - a), int(y - b), int(x + a), int(y + b)), fill=colour)


def _sky(draw: Draw, size: int, line: float, u: Uniform) -> None:
    for _ in range(3):
        x, y, s = u(0, size), u(0, size), size * u(0.05, 0.11)
        for k in (-1, 0, 1):
            _blob(draw, x + k * s, y + abs(k) * s * 0.3, s, s * 0.6, (240, 246, 250))


def _sea(draw: Draw, size: int, line: float, u: Uniform) -> None:
    for _ in range(7):
        x, y = u(0, size), u(line, size)
        draw.line((x, y, x + size * u(0.08, 0.25), y), fill=(150, 196, 208), width=3)


def _forest(draw: Draw, size: int, line: float, u: Uniform) -> None:
    for _ in range(4):
        x, w = u(0, size), size * u(0.02, 0.06)
        draw.rectangle((x, 0, x + w, line), fill=(82, 64, 46))
    for _ in range(7):
        _blob(draw, u(0, size), u(0, size * 0.5), size * u(0.06, 0.13), size * u(0.05, 0.1), (66, 112, 62))


def _snow(draw: Draw, size: int, line: float, u: Uniform) -> None:
    _blob(draw, u(0, size), line + size * 0.06, size * u(0.3, 0.5), size * 0.12, (230, 236, 246))
    for _ in range(14):
        _blob(draw, u(0, size), u(0, size), 3, 3, (250, 252, 255))


def _sand(draw: Draw, size: int, line: float, u: Uniform) -> None:
    for _ in range(3):
        _blob(draw, u(0, size), u(line, size), size * u(0.2, 0.5), size * 0.05, (204, 166, 108))
    _blob(draw, u(0, size), line * 0.3, size * 0.07, size * 0.07, (252, 240, 206))


def _rock(draw: Draw, size: int, line: float, u: Uniform) -> None:
    for _ in range(3):
        x, w, h = u(0, size), size * u(0.15, 0.35), size * u(0.15, 0.4)
        grey = int(u(110, 150))
        draw.polygon(
            (x - w, line, x - w * 0.2, line - h, x + w * 0.5, line - h * 0.6, x + w, line), fill=(grey,) * 3
        )


def _meadow(draw: Draw, size: int, line: float, u: Uniform) -> None:
    for _ in range(14):
        x, h = u(0, size), size * u(0.05, 0.14)
        y = u(line, size)
        draw.line((x, y, x + u(-6, 6), y - h), fill=(86, 136, 58), width=3)


def _dusk(draw: Draw, size: int, line: float, u: Uniform) -> None:
    _blob(draw, u(0, size), u(0.1, 0.5) * size, size * 0.09, size * 0.09, (250, 222, 180))
    for _ in range(3):
        x, h = u(0, size), size * u(0.1, 0.25)
        draw.polygon((x - h, line, x, line - h, x + h, line), fill=(66, 50, 80))


_DETAILS = {
    "sky": _sky, "sea": _sea, "forest": _forest, "snow": _snow,
    "sand": _sand, "rock": _rock, "meadow": _meadow, "dusk": _dusk,
}  # fmt: skip


def perch(draw: Draw, scene: str, size: int, y: float, tilt: float) -> None:
    """What the bird stands on, through the height `y` in pixels under its feet."""
    colour = {"snow": (206, 214, 228), "rock": (98, 92, 92), "sand": (190, 150, 98)}.get(scene, (104, 74, 50))
    half, width = tilt * size / 2, size * 0.045
    draw.polygon((0, y - half, size, y + half, size, y + half + width, 0, y - half + width), fill=colour)


def distract(draw: Draw, size: int, u: Uniform) -> None:
    """Up to three berries, blossoms or stones in any colour a bird's part may have."""
    colours = list(COLOURS.values())
    for _ in range(int(u(0, 4))):
        x, y, r = u(0, size), u(0, size), size * u(0.015, 0.04)
        colour = colours[int(u(0, len(colours)))]
        _blob(draw, x, y, r, r, colour)
        if u(0, 1) < 0.5:
            _blob(draw, x + r * 1.6, y + r, r, r, colour)


def occlude(draws: tuple[Draw, ...], fills: tuple[tuple, ...], size: int, u: Uniform) -> None:
    """A leaf or a blade of grass before the bird, drawn alike on each canvas (the image, the part map)."""
    x, y, length, slant, wide = u(0, size), u(0, size), size * u(0.2, 0.4), u(-1, 1), size * u(0.02, 0.05)
    dx, dy = length * slant, -length
    points = [
        (x, y),
        (x + dx * 0.5 - wide, y + dy * 0.5),
        (x + dx, y + dy),
        (x + dx * 0.5 + wide, y + dy * 0.5),
    ]
    leaf = [(int(a), int(b)) for a, b in points]
    for draw, fill in zip(draws, fills, strict=True):
        draw.polygon(leaf, fill=fill)
