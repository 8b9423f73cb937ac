"""The Aviary as a data set: 60 species of birds in 15 families of look-alikes, drawn when first needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import LabkitError, unknown
from ..augment import Augment
from ..images import MEMORY_LIMIT
from ..registry import Info, Official, register
from ..sets import ImageSet
from ..splits import class_rank
from .drawing import Shot, album
from .world import AVIARY_VERSION, BENCHMARK, SCENES, Species

SEED = 0  # of the benchmark's photographs; their indices are below 1 000 000
SPLITS = {"train": 20, "val": 10, "test": 50}  # photographs per species
SIZES = {"lab": SPLITS, "mini": {"train": 4, "val": 2, "test": 4}}
SIDE = 64
AUGMENT = Augment(pad=1 / 16, fill="reflect", flip=True)  # a mirrored bird is the same; its parts are small
_TIED = 0x5C  # purpose of a lot, apart from those of `splits`


@dataclass(eq=False)
class AviarySet(ImageSet):
    """A split of the Aviary; it knows how its pictures came about, so that `annotate` can explain them.

    Args:
        split: 'train', 'val' or 'test'.
        size: one of `SIZES`.
        tied: share of its photographs whose scene is that of their species.
    """

    split: str = "train"
    size: str = "lab"
    tied: float = 0.0


def tied_scene(species: Species) -> str:
    """The scene that a spurious correlation gives to a benchmark species.

    Look-alikes of a family get different scenes, so the scene tells apart what is hard to tell by the bird.
    """
    return SCENES[_LABEL[species] * _STRIDE % len(SCENES)]


_LABEL = {species: label for label, species in enumerate(BENCHMARK)}
_STRIDE = 3  # odd, so that neighbours differ and all eight scenes come up equally often


def shots(split: str, size: str = "lab", tied: float = 0.0) -> tuple[list[Shot], Tensor, Tensor]:
    """The photographs of one split, their labels (N,) and their ids (N,), both int64.

    A photograph's id is its index; those of size 'mini' are the first of each species of size 'lab'.
    """
    count, names = SIZES[size][split], list(SPLITS)
    before = sum(SPLITS[s] for s in names[: names.index(split)]) * len(BENCHMARK)
    labels = torch.arange(len(BENCHMARK)).repeat_interleave(count)
    ids = before + labels * SPLITS[split] + torch.arange(count).repeat(len(BENCHMARK))
    lots = class_rank(labels, ids, SEED, _TIED)
    found = []
    for label, index, lot in zip(labels.tolist(), ids.tolist(), lots.tolist(), strict=True):
        species = BENCHMARK[label]
        found.append(Shot(species, SEED, index, tied_scene(species) if lot < round(tied * count) else None))
    return found, labels, ids


def drawn(split: str, size: str, tied: float, side: int) -> np.ndarray:
    """The records of a split, with part maps, from the cache where they are there."""
    name = f"{size}-{split}" + f"-tied-{tied:g}" * (tied > 0)
    return album(name, shots(split, size, tied)[0], side, parts=True)


def _read_split(split: str, size: str, tied: float, side: int) -> AviarySet:
    _, labels, ids = shots(split, size, tied)
    images = drawn(split, size, tied, side)["image"]
    if images.nbytes <= MEMORY_LIMIT:  # else they stay memory-mapped
        images = np.ascontiguousarray(images)
    names = [species.name for species in BENCHMARK]
    return AviarySet(torch.from_numpy(images), labels, names, ids, split=split, size=size, tied=tied)


def check_side(side: int | None) -> int:
    """The side in pixels, 64 by default.

    Raises:
        LabkitError: a bird would have no parts at this size, or the picture would be huge.
    """
    if side is not None and not 16 <= side <= 1024:
        raise LabkitError(f"The Aviary draws birds with image_size from 16 to 1024, not {side}.")
    return side or SIDE


@register(
    Info(
        name="aviary",
        description="drawn birds, 60 species in families of look-alikes, 64x64 colour: works offline",
        images=len(BENCHMARK) * sum(SPLITS.values()),
        classes=len(BENCHMARK),
        image_size=SIDE,
        licence="CC BY 4.0",
        size="nothing to download",
        fetch="nothing to fetch, labkit draws it",
        citation=f"the labkit authors, The Aviary, version {AVIARY_VERSION}, part of labkit",
    ),
    find=lambda root: Path(__file__).parent,
)
def read(
    root: Path | None = None,
    *,
    image_size: int | None = None,
    size: str = "lab",
    spurious: float = 0.0,
    spurious_test: float = 0.0,
) -> Official:
    """60 species, 20 photographs of each for training, 10 for validation and 50 for the test.

    Args:
        root: not used, the birds are drawn.
        image_size: side length, 64 by default; other sizes are drawn, not resized.
        size: 'lab', or 'mini' with 4, 2 and 4 photographs of each species.
        spurious: share of the training photographs of each species that show a scene of its own, another than
            that of its look-alikes; the scenes of the others are random. A larger share adds to a smaller.
        spurious_test: the same for validation and test, which are free of it unless asked for.

    Raises:
        LabkitError: an option is outside its range.
    """
    if size not in SIZES:
        raise unknown("size of the Aviary", size, SIZES)
    for name, share in (("spurious", spurious), ("spurious_test", spurious_test)):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise LabkitError(f"{name} is a share of photographs from 0 to 1, but it is {share}.")
    side = check_side(image_size)
    ties = {"train": spurious, "val": spurious_test, "test": spurious_test}
    splits = {split: _read_split(split, size, float(tied), side) for split, tied in ties.items()}
    return Official(**splits, descriptions=[s.description for s in BENCHMARK], augment=AUGMENT)
