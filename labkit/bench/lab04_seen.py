"""What lab 04 looks at inside networks: their maps, where these are strong, how alike two layers are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..data import ImageSet
    from ..engine import Evaluation
    from ..methods.reviewkd import ReviewKD
    from ..models import Classifier

LAYERS = range(4)
PARTS = ("bird", "telling parts")


@torch.no_grad()
def maps_of(
    model: Classifier, split: ImageSet, layers: Sequence[int] = LAYERS, side: int | None = None
) -> list[Tensor]:
    """Feature maps of every image of a split at some layers, each (N, C, h, w) on the CPU, in eval mode.

    Args:
        model: its mode is put back.
        split: N images.
        layers: positions 0..3 among the maps.
        side: larger maps are average-pooled to this side; None keeps them as they are.
    """
    from ..data import batches

    device, mode = next(model.parameters()).device, model.training
    found: list[list[Tensor]] = [[] for _ in layers]
    model.eval()
    for batch in batches(split, 128, device=device):
        maps = model(batch.image).maps
        for kept, layer in zip(found, layers, strict=True):
            x = maps[layer].float()
            kept.append((F.adaptive_avg_pool2d(x, side) if side and x.shape[-1] > side else x).cpu())
    model.train(mode)
    return [torch.cat(kept) for kept in found]


def layer_cka(
    student: Classifier, teacher: Classifier, split: ImageSet, side: int = 4, unbiased: bool = True
) -> Tensor:
    """Linear CKA of every student layer with every teacher layer, (4, 4) float64.

    Args:
        student, teacher: run in eval mode on the same images.
        split: N images, at least 4.
        side: maps are average-pooled to this side, then flattened: coarse places count, fine ones don't.
        unbiased: see `models.cka`.
    """
    from ..models import cka

    ours, theirs = ([x.flatten(1) for x in maps_of(net, split, side=side)] for net in (student, teacher))
    values = [[cka(x, y, unbiased=unbiased) for y in theirs] for x in ours]
    return torch.tensor(values, dtype=torch.float64)


def strongest(model: Classifier, split: ImageSet, layer: int = 3, p: float = 2) -> Tensor:
    """Attention of a network on every image, (N, h, w): mean over channels of |F|^p, each adding up to 1."""
    (features,) = maps_of(model, split, (layer,))
    attention = features.abs().pow(p).mean(1)
    return attention / attention.sum((1, 2), keepdim=True).clamp(min=1e-12)


@torch.no_grad()
def gates(method: ReviewKD, image: Tensor) -> list[Tensor]:
    """ReviewKD's gates for one image (1, 3, S, S) in [0, 1]: (2, h, w) of every level but the deepest.

    Shallow to deep; z[0] weighs the level's own map, z[1] what comes from the deeper ones.
    """
    found: list[Tensor] = []
    hooks = [
        fusion.gate.register_forward_hook(lambda *seen: found.append(seen[-1].sigmoid()[0].float().cpu()))
        for fusion in method.fusions
        if fusion.gate is not None
    ]
    mode = method.training
    method.eval()
    method.review(method.student(image))
    method.train(mode)
    for hook in hooks:
        hook.remove()
    return found[::-1]


def telling(teacher: Evaluation, student: Evaluation, n: int = 4) -> Tensor:
    """Positions of n images that the teacher gets right and the student takes for one other class.

    They show the student's most frequent mistake of this kind; where it was made fewer than n times, the next
    most frequent ones follow.
    """
    lost = ((teacher.predictions == teacher.labels) & (student.predictions != student.labels)).nonzero()[:, 0]
    kind = student.labels[lost] * len(student.classes) + student.predictions[lost]
    _, inverse, counts = kind.unique(return_inverse=True, return_counts=True)
    order = (counts[inverse] * len(counts) + inverse).argsort(descending=True, stable=True)
    return lost[order][:n]


def moved(before: nn.Module, after: nn.Module) -> dict[str, float]:
    """How far each part of a network went in training: |after - before| / |before| over its parameters.

    Parts are the first level of names, such as 'stem' and 'head'; of `stages` each for itself.
    """
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        path = name.removeprefix("net.").split(".")
        part = path[1] if path[0] == "stages" else path[0]
        parts.setdefault(part, []).append((old.detach().flatten(), new.detach().flatten()))
    joined = {part: [torch.cat(side) for side in zip(*pairs, strict=True)] for part, pairs in parts.items()}
    return {part: ((new - old).norm() / old.norm()).item() for part, (old, new) in joined.items()}


def looks(split: Any, attention: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """The share of each network's attention that lies on the bird, and on the parts that tell its species.

    Args:
        split: N images of the Aviary; others have no part maps, and give an empty answer.
        attention: name -> (N, h, w), each image's adding up to 1.

    Returns:
        name -> part -> mean share in [0, 1]; 'chance' is the parts' share of the picture, 'centre' what a
        network would reach that always looks at the middle.
    """
    from ..data.aviary import AviarySet, annotate

    if not isinstance(split, AviarySet):
        return {}
    birds = annotate(split)
    masks = dict(zip(PARTS, (birds.parts > 0, birds.discriminative()), strict=True))
    side = next(iter(attention.values())).shape[-1]
    flat = {"chance": torch.ones(1, side, side), "centre": _middle(side)}
    flat = {name: (x / x.sum()).expand(len(split), -1, -1) for name, x in flat.items()}
    return {
        name: {part: _share(mask, values) for part, mask in masks.items()}
        for name, values in (flat | attention).items()
    }


def _share(mask: Tensor, attention: Tensor) -> float:
    covered = F.adaptive_avg_pool2d(mask[:, None].float(), attention.shape[-1])[:, 0]  # of each cell
    return (covered * attention).sum((1, 2)).mean().item()


def _middle(side: int) -> Tensor:
    """A Gaussian over the picture, a quarter of its side wide: (1, side, side)."""
    x = (torch.arange(side) + 0.5) / side - 0.5
    bell = torch.exp(-0.5 * (x / 0.25) ** 2)
    return torch.outer(bell, bell)[None]
