"""What the miniature foundation models learn from: birds from the whole world, and generic classes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...errors import LabkitError, unknown
from .dataset import SIDE, check_side
from .drawing import Shot, album
from .text import caption
from .world import GENERIC, SCENES, Species, wild

KINDS = ("wild", "generic")
_VIEWS = 1000  # room for indices: photographs of one bird
_FIRST = {
    "wild": 10**9,
    "generic": 10**15,
}  # index of a kind's first photograph; the benchmark's are below 10^6


@dataclass(frozen=True, eq=False)
class Pretraining:
    """Photographs for pre-training, none of them in the benchmark, nor any species of it.

    Attributes:
        images: (n, views, 3, S, S) uint8, memory-mapped and not contiguous: index it, then `.float() / 255`.
        labels: (n,) int64: 0..199 in turn for 'generic', -1 for 'wild', which has no classes.
        scene: (n,) int64, the scene of the first view as position in `SCENES`.
        captions: n texts as the web would write them, about the first view.
        species: the n birds.
    """

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    scene: Tensor = field(repr=False)
    captions: list[str] = field(repr=False)
    species: list[Species] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)


def pretraining(
    n: int, *, seed: int = 0, kind: str = "wild", views: int = 1, image_size: int = SIDE
) -> Pretraining:
    """Draw `n` birds for pre-training, on all cores, once: they are kept in labkit's cache.

    Args:
        n: how many birds; a smaller set is the beginning of a larger one.
        seed: of the set; sets of different seeds share no photograph.
        kind: 'wild', any bird but none that bears a benchmark name, or 'generic', 200 species in turn that
            stand for the classes of ImageNet.
        views: photographs of each bird.
        image_size: side S in pixels.

    Raises:
        LabkitError: an option is outside its range.
    """
    if kind not in KINDS:
        raise unknown("kind of pre-training", kind, KINDS)
    for name, value, least, most in (
        ("n", n, 1, 10**9),
        ("views", views, 1, _VIEWS),
        ("seed", seed, 0, 2**31),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise LabkitError(f"{name} is a whole number from {least} to {most}, but it is {value}.")
    side = check_side(image_size)
    species = [GENERIC[i % len(GENERIC)] if kind == "generic" else wild(seed, i) for i in range(n)]
    first = [_FIRST[kind] + i * _VIEWS for i in range(n)]
    shots = [Shot(s, seed, i + view) for s, i in zip(species, first, strict=True) for view in range(views)]
    found = album(f"{kind}-{n}x{views}-seed-{seed}", shots, side).reshape(n, views)
    scene = np.array(found["scene"][:, 0], np.int64)
    texts = (caption(s, SCENES[at], seed, i) for s, at, i in zip(species, scene, first, strict=True))
    labels = torch.arange(n) % len(GENERIC) if kind == "generic" else torch.full((n,), -1)
    return Pretraining(
        torch.from_numpy(found["image"]), labels, torch.from_numpy(scene), list(texts), species
    )
