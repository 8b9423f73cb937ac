"""Painting one bird: polygons in the bird's own coordinates, drawn at three times the final size.

The bird looks to the right. The origin is the middle of its body, x runs to the front and y downwards, the
unit is about the length of its body.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np
from PIL import ImageDraw

from .world import Build, Species

PARTS = (
    "background", "tail", "tail tip", "legs", "back", "breast", "wing", "head", "cap", "eye", "bill",
)  # fmt: skip
COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (246, 244, 236),
    "black": (38, 34, 42),
    "red": (208, 44, 48),
    "orange": (238, 132, 36),
    "yellow": (248, 208, 58),
    "blue": (52, 104, 204),
    "green": (92, 150, 72),
    "brown": (136, 92, 58),
    "grey": (148, 152, 158),
    "purple": (132, 84, 162),
    "pink": (240, 166, 178),
}
_CIRCLE = np.array([(cos(2 * pi * k / 24), sin(2 * pi * k / 24)) for k in range(24)])
Colour = tuple[int, int, int]
Points = np.ndarray | Sequence[tuple[float, float]]


class Canvas:
    """Draws polygons given in the bird's coordinates on an image and, where asked for, on its part map."""

    def __init__(
        self, image: ImageDraw.ImageDraw, parts: ImageDraw.ImageDraw | None, matrix: np.ndarray
    ) -> None:
        """`matrix` (2, 3) maps the bird's coordinates to pixels."""
        self.image, self.parts, self.matrix = image, parts, matrix

    def fill(self, points: Points, colour: Colour, part: str) -> None:
        """A filled polygon; pixels are rounded, so that the picture is the same on every machine."""
        pixels = np.asarray(points) @ self.matrix[:, :2].T + self.matrix[:, 2]
        flat = np.rint(pixels).astype(int).ravel().tolist()
        self.image.polygon(flat, fill=colour)
        if self.parts is not None:
            self.parts.polygon(flat, fill=PARTS.index(part))


def ellipse(x: float, y: float, a: float, b: float, tilt: float = 0.0) -> np.ndarray:
    """24 points (24, 2) of an ellipse with half axes a, b, turned by `tilt` radians."""
    c, s = cos(tilt), sin(tilt)
    return _CIRCLE * (a, b) @ np.array([(c, s), (-s, c)]) + (x, y)


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (< 1) or lighter (> 1)."""
    return tuple(min(255, int(channel * factor)) for channel in colour)


def stroke(start: tuple[float, float], end: tuple[float, float], width: float) -> list[tuple[float, float]]:
    """A straight stroke as four points."""
    (x, y), (u, v) = start, end
    length = ((u - x) ** 2 + (v - y) ** 2) ** 0.5 or 1.0
    dx, dy = -(v - y) / length * width / 2, (u - x) / length * width / 2
    return [(x + dx, y + dy), (u + dx, v + dy), (u - dx, v - dy), (x - dx, y - dy)]


def paint(canvas: Canvas, species: Species, nod: float = 0.0, step: float = 0.0) -> None:
    """Paint the whole bird, back to front.

    Args:
        nod: how far the head is turned forwards and down, about -0.05..0.05.
        step: how far the legs are apart, about -0.06..0.06.
    """
    a, b = species.attributes, species.build
    back = COLOURS[a["back"]]
    head = (b.length * 0.80 + b.neck * 0.6 + nod, -b.depth * 0.92 - b.neck + nod)
    _tail(canvas, a, b, back)
    _legs(canvas, a, b, step)
    canvas.fill(ellipse(0, 0, b.length, b.depth, -0.22), back, "back")
    if b.neck:
        canvas.fill(stroke((b.length * 0.5, -b.depth * 0.2), head, 0.3), back, "back")
    _breast(canvas, a, b)
    _wing(canvas, a, b, back)
    _head(canvas, a, b, back, head)


def _tail(canvas: Canvas, a: dict[str, str], b: Build, back: Colour) -> None:
    root = (-b.length * 0.75, b.depth * 0.1)
    end = (root[0] - b.tail, root[1] + b.tail * 0.32)
    wide = {"fan": 0.17, "forked": 0.17, "narrow": 0.09}[b.fork]

    def across(t: float, side: float) -> tuple[float, float]:
        half = 0.09 + (wide - 0.09) * t
        return (
            root[0] + (end[0] - root[0]) * t + 0.3 * half * side,
            root[1] + (end[1] - root[1]) * t + half * side,
        )

    notch = across(0.72, 0) if b.fork == "forked" else across(1.0, 0)
    canvas.fill([across(0, -1), across(0.55, -1), across(0.55, 1), across(0, 1)], shade(back, 0.78), "tail")
    tip = COLOURS[a["tail"]]
    canvas.fill([across(0.5, -1), across(1, -1), notch, across(1, 1), across(0.5, 1)], tip, "tail tip")


def _legs(canvas: Canvas, a: dict[str, str], b: Build, step: float) -> None:
    colour = COLOURS[a["legs"]]
    top, ground = b.depth * 0.6, b.depth + b.leg
    for x, dx in ((-0.06, -step), (0.14, step)):
        foot = (x + dx + 0.02, ground)
        canvas.fill(stroke((x, top), foot, 0.085), colour, "legs")
        canvas.fill(stroke((foot[0] - 0.07, ground), (foot[0] + 0.15, ground), 0.07), colour, "legs")


def _breast(canvas: Canvas, a: dict[str, str], b: Build) -> None:
    colour = COLOURS[a["breast"]]
    x, y, wide, high = b.length * 0.34, b.depth * 0.26, b.length * 0.62, b.depth * 0.72
    canvas.fill(ellipse(x, y, wide, high, -0.5), colour, "breast")
    ink = (92, 58, 44)
    if a["pattern"] == "spotted":
        for u, v in (
            (-0.5, 0.35),
            (-0.1, 0.6),
            (0.05, 0.05),
            (0.3, 0.4),
            (0.5, -0.15),
            (0.62, -0.5),
            (-0.2, 0.15),
        ):
            canvas.fill(ellipse(x + u * wide, y + v * high, 0.05, 0.05), ink, "breast")
    elif a["pattern"] == "streaked":
        for u, v in ((-0.55, 0.3), (-0.25, 0.45), (0.05, 0.4), (0.35, 0.2), (0.62, -0.15)):
            start = (x + u * wide, y + (v - 0.4) * high)
            canvas.fill(stroke(start, (start[0] - 0.03, start[1] + 0.22), 0.058), ink, "breast")
    elif a["pattern"] == "banded":
        for v in (-0.35, 0.1, 0.55):
            reach = (1 - v * v) ** 0.5 * 0.8 * wide
            canvas.fill(
                stroke((x - reach * 0.6, y + (v + 0.12) * high), (x + reach, y + (v - 0.12) * high), 0.055),
                ink,
                "breast",
            )


def _wing(canvas: Canvas, a: dict[str, str], b: Build, back: Colour) -> None:
    at, tip = (b.length * 0.22, -b.depth * 0.3), (-b.length * 1.05, b.depth * 0.42)
    wing = [
        at, (at[0] - 0.18 * b.length, at[1] - 0.3 * b.depth), (-b.length * 0.55, -b.depth * 0.42), tip,
        (-b.length * 0.4, b.depth * 0.5), (b.length * 0.08, b.depth * 0.34),
    ]  # fmt: skip
    canvas.fill(wing, shade(back, 0.66), "wing")
    places = {"no": (), "one": (0.36,), "two": (0.22, 0.56)}[a["wingbars"]]
    for t in places:
        x, y = at[0] + (tip[0] - at[0]) * t, at[1] + (tip[1] - at[1]) * t
        high = b.depth * (0.44 - 0.2 * t)
        canvas.fill(
            stroke((x + 0.05, y - high * 0.7), (x - 0.04, y + high * 1.1), 0.1), COLOURS["white"], "wing"
        )


def _head(canvas: Canvas, a: dict[str, str], b: Build, back: Colour, at: tuple[float, float]) -> None:
    x, y = at
    r = b.head
    _bill(canvas, a, x + r * 0.82, y + r * 0.12)
    canvas.fill(ellipse(x, y, r, r), shade(back, 1.12), "head")
    cap = COLOURS[a["cap"]]
    if b.crest == "peak":
        canvas.fill(
            [(x + 0.02, y - r * 0.9), (x - r * 0.95, y - r * 1.75), (x - r * 0.8, y - r * 0.4)], cap, "cap"
        )
    elif b.crest == "tuft":
        canvas.fill(
            [(x + r * 0.2, y - r * 0.8), (x - r * 0.15, y - r * 1.7), (x - r * 0.4, y - r * 0.8)], cap, "cap"
        )
        canvas.fill(
            [(x - r * 0.1, y - r * 0.7), (x - r * 0.75, y - r * 1.55), (x - r * 0.8, y - r * 0.5)], cap, "cap"
        )
    dome = ellipse(x, y, r * 1.02, r * 1.02)
    canvas.fill(dome[(dome[:, 1] - y) < (dome[:, 0] - x) * 0.25 - 0.1 * r], cap, "cap")
    canvas.fill(ellipse(x + r * 0.34, y + r * 0.16, r * 0.46, r * 0.46), COLOURS[a["eyes"]], "eye")
    canvas.fill(ellipse(x + r * 0.38, y + r * 0.16, r * 0.2, r * 0.2), _pupil(a["eyes"]), "eye")


def _pupil(eyes: str) -> Colour:
    return (24, 20, 26) if eyes != "black" else (120, 116, 128)


def _bill(canvas: Canvas, a: dict[str, str], x: float, y: float) -> None:
    colour = COLOURS[a["bill colour"]]
    if a["bill shape"] == "short":
        shape = [(x - 0.08, y - 0.17), (x + 0.24, y + 0.02), (x - 0.08, y + 0.17)]
    elif a["bill shape"] == "long":
        shape = [(x - 0.08, y - 0.12), (x + 0.5, y + 0.03), (x + 0.5, y + 0.09), (x - 0.08, y + 0.12)]
    else:
        upper = [(x - 0.08, y - 0.17), (x + 0.2, y - 0.14), (x + 0.34, y + 0.03), (x + 0.31, y + 0.3)]
        shape = [*upper, (x + 0.19, y + 0.13), (x - 0.08, y + 0.15)]
    canvas.fill(shape, colour, "bill")
