"""`render`: one photograph of one bird, with the map of its parts."""

from __future__ import annotations

from math import cos, sin
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .paint import Canvas, paint
from .scene import Uniform, backdrop, distract, occlude, perch
from .world import SCENES, Species

_OVER = 3  # supersampling


class Picture(NamedTuple):
    """One photograph of a bird.

    Attributes:
        image: (S, S, 3) uint8.
        parts: (S, S) uint8, position in `PARTS`, 0 where no part is seen; None unless asked for.
        scene: one of `SCENES`.
        mirrored: whether the bird looks to the left.
    """

    image: np.ndarray
    parts: np.ndarray | None
    scene: str
    mirrored: bool


def render(
    species: Species,
    seed: int,
    index: int,
    *,
    image_size: int = 64,
    scene: str | None = None,
    annotate: bool = True,
) -> Picture:
    """Photograph a bird.

    Everything but the species (scene, pose, light, colour cast, blur, noise, distractors, occluders) is drawn
    from (seed, index) and the species; the same four always give the same bytes, on every machine.

    Args:
        species: the bird.
        seed: of a set of photographs.
        index: of the photograph in it.
        image_size: side S in pixels.
        scene: one of `SCENES`; None draws it. It changes nothing else.
        annotate: whether to make the map of the parts.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, species.key, 0]))
    numbers = rng.random(256).tolist()
    # scenes use varying amounts of numbers: theirs are apart, so that another scene changes nothing else
    u, for_scene, for_clutter = _uniform(numbers[:32]), _uniform(numbers[32:192]), _uniform(numbers[192:])
    drawn = SCENES[int(u(0, len(SCENES)))]
    scene = scene or drawn
    size = image_size * _OVER
    matrix, mirrored = _pose(species, size, u)
    nod, step, tilt = u(-0.05, 0.05), u(-0.06, 0.06), u(-0.08, 0.08)
    light, cast = u(0.78, 1.18), np.array([u(0.93, 1.07), u(0.93, 1.07), u(0.93, 1.07)], np.float32)
    blur, noise, hidden = u(0, 1), u(0, 9), u(0, 1)
    image = backdrop(scene, size, for_scene)
    draw = ImageDraw.Draw(image)
    foot = matrix[1, 1] * (species.build.depth + species.build.leg) + matrix[1, 2]
    distract(draw, size, for_clutter)
    perch(draw, scene, size, foot, tilt)
    labels = Image.new("L", (size, size)) if annotate else None
    marks = ImageDraw.Draw(labels) if annotate else None
    paint(Canvas(draw, marks, matrix), species, nod, step)
    if hidden < 0.3:
        both = (draw, marks) if annotate else (draw,)
        occlude(both, ((70, 112, 56), 0)[: len(both)], size, for_clutter)
    small = image.reduce(_OVER)
    if blur > 0.6:
        small = small.filter(ImageFilter.BoxBlur((blur - 0.6) * 1.2 * image_size / 64))
    grain = (
        rng.integers(0, 256, (2, image_size, image_size, 3), dtype=np.uint8).astype(np.float32).sum(0) - 255
    )
    pixels = np.asarray(small, np.float32) * (light * cast) + grain * np.float32(noise / 104)  # sd = noise
    parts = np.ascontiguousarray(np.asarray(labels)[1::_OVER, 1::_OVER]) if annotate else None
    return Picture(np.rint(pixels).clip(0, 255).astype(np.uint8), parts, scene, mirrored)


def _uniform(numbers: list[float]) -> Uniform:
    """A function (low, high) that gives the next of these numbers in [0, 1), stretched to that range."""
    left = iter(numbers)
    return lambda low, high: low + (high - low) * next(left)


def _pose(species: Species, size: int, u: Uniform) -> tuple[np.ndarray, bool]:
    """The map (2, 3) from the bird's coordinates to pixels: scale, turn, flip, place."""
    b = species.build
    mirrored = u(0, 1) < 0.5
    scale, turn = size * u(0.38, 0.48), u(-0.22, 0.22)
    flip = -1.0 if mirrored else 1.0
    c, s = scale * cos(turn), scale * sin(turn)
    linear = np.array([(flip * c, -flip * s), (s, c)])
    # the middle of the bird, from the tip of its tail to that of its bill, goes near the middle of the image
    left, right = -b.length * 0.75 - b.tail, b.length * 0.8 + b.head + 0.3
    top, bottom = -b.depth * 0.92 - b.neck - b.head, b.depth + b.leg
    middle = linear @ np.array([(left + right) / 2, (top + bottom) / 2])
    place = np.array([size * u(0.44, 0.56), size * u(0.44, 0.56)])
    return np.column_stack([linear, place - middle]), mirrored
