"""What there is to know about the photographs of a split: species, parts, boxes, scene, captions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...errors import LabkitError
from .dataset import SEED, AviarySet, drawn, shots
from .paint import PARTS
from .text import caption
from .world import ATTRIBUTES, BENCHMARK, SCENES, discriminative


@dataclass(frozen=True, eq=False)
class Annotations:
    """N photographs explained; int64 tensors on the CPU unless said otherwise.

    Attributes:
        species: (N,) position in `species_names`, the label.
        family: (N,) position in `family_names`.
        attributes: (N, A) position of each attribute's value in `attribute_values`.
        scene: (N,) position in `scene_names`.
        parts: (N, S, S) uint8, position in `part_names` of what each pixel shows; 0 is the background.
        boxes: (N, P, 4) for each of `part_names` x0, y0, x1, y1 in pixels of what is visible of it, x1 and y1
            exclusive; -1 where nothing is. Row 0 is the box of the whole bird.
        captions: N texts as the web would write them: incomplete, sometimes wrong.
    """

    species: Tensor
    family: Tensor
    attributes: Tensor
    scene: Tensor
    parts: Tensor = field(repr=False)
    boxes: Tensor = field(repr=False)
    captions: list[str] = field(repr=False)

    species_names = tuple(s.name for s in BENCHMARK)
    family_names = tuple(dict.fromkeys(s.family for s in BENCHMARK))
    attribute_names = tuple(ATTRIBUTES)
    attribute_values = tuple(ATTRIBUTES.values())
    scene_names = SCENES
    part_names = PARTS

    def __len__(self) -> int:
        return len(self.species)

    def discriminative(self) -> Tensor:
        """(N, S, S) bool: the pixels of the parts by which a bird is told from others of its family."""
        telling = torch.zeros(len(BENCHMARK), len(PARTS), dtype=torch.bool)
        for label, species in enumerate(BENCHMARK):
            telling[label, [PARTS.index(part) for part in discriminative(species)]] = True
        return telling[self.species].gather(1, self.parts.flatten(1).long()).view(self.parts.shape)


def annotate(split: AviarySet) -> Annotations:
    """The annotations of a split of the Aviary, or of any subset of it, in its order.

    Example:
        >>> birds = annotate(load("aviary", size="mini").test)
        >>> birds.parts.shape
        torch.Size([240, 64, 64])

    Raises:
        LabkitError: the images are not the Aviary's.
    """
    if not isinstance(split, AviarySet):
        raise LabkitError(
            f"annotate explains the splits of load('aviary'), not this {type(split).__name__}:"
            " other images carry no part maps."
        )
    taken, _, every = shots(split.split, split.size, split.tied)
    at = torch.searchsorted(every, split.ids.cpu()).numpy()
    records = drawn(split.split, split.size, split.tied, split.image_size)
    species, scenes = split.labels.cpu(), records["scene"][at]
    parts = np.ascontiguousarray(records["parts"][at])
    families = [Annotations.family_names.index(s.family) for s in BENCHMARK]
    texts = [
        caption(taken[i].species, SCENES[s], SEED, taken[i].index) for i, s in zip(at, scenes, strict=True)
    ]
    return Annotations(
        species=species,
        family=torch.tensor(families)[species],
        attributes=torch.tensor([s.vector for s in BENCHMARK])[species],
        scene=torch.from_numpy(scenes.astype(np.int64)),
        parts=torch.from_numpy(parts),
        boxes=torch.from_numpy(boxes(parts)),
        captions=texts,
    )


def boxes(parts: np.ndarray) -> np.ndarray:
    """(N, P, 4) int64 boxes of the parts in the maps (N, S, S); see `Annotations.boxes`."""
    found = np.full((len(parts), len(PARTS), 4), -1, np.int64)
    for part in range(len(PARTS)):
        mask = parts == part if part else parts > 0
        for axis in (0, 1):
            line = mask.any(1 + axis)  # (N, S): columns that show it for x, rows for y
            seen = line.any(1)
            found[seen, part, axis] = line[seen].argmax(1)
            found[seen, part, axis + 2] = line.shape[1] - line[seen, ::-1].argmax(1)
    return found
