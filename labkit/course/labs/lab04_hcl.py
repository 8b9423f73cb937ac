"""The hierarchical context loss of lab 04."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property


def _draw_hcl(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A student's and a teacher's map of side 8, where all pooled sizes are used, and a pair of side 4."""
    maps = [torch.randn(3, 4, side, side) + shift for side in (8, 4) for shift in (0.0, 0.4)]
    return maps[0], maps[1], maps[2], maps[3]


def _observe_hcl(answer: Any, s: Tensor, t: Tensor, small_s: Tensor, small_t: Tensor) -> dict[str, Any]:
    return {"of maps of side 8": answer(s, t), "of maps of side 4": answer(small_s, small_t)}


def hcl(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Hierarchical context loss of one pair of maps (B, C, h, h); no gradient into the teacher's."""
    teacher_map = teacher_map.detach()
    total, weight, weights = F.mse_loss(student_map, teacher_map), 1.0, 1.0
    for size in (4, 2, 1):
        if size < student_map.shape[-1]:
            weight /= 2
            pooled = [F.adaptive_avg_pool2d(x, size) for x in (student_map, teacher_map)]
            total = total + weight * F.mse_loss(*pooled)
            weights += weight
    return total / weights


def _variant(
    s: Tensor, t: Tensor, *, halve_skipped: bool = False, divide: str = "weights", factor: float = 0.5,
    sizes: tuple[int, ...] = (4, 2, 1), own: bool = True, at_most: bool = False, leave: bool = False,
    late: bool = False, last: bool = False, distance: Any = F.mse_loss, pool: Any = F.adaptive_avg_pool2d,
) -> Tensor:  # fmt: skip
    """The loss with each of its parts switchable, for the wrong answers; the teacher as it comes."""
    total = distance(s, t) if own else torch.zeros(())
    weight, weights, used = 1.0, float(own), int(own)
    for size in sizes:
        fits = size <= s.shape[-1] if at_most else size < s.shape[-1]
        if leave and not fits:
            break
        if (fits or halve_skipped) and not late:
            weight *= factor
        if fits:
            term = weight * distance(pool(s, size), pool(t, size))
            total = term if last else total + term
            weights, used = weights + weight, used + 1
        weight *= factor if fits and late else 1.0
    whole = {"weights": weights, "count": used, "nothing": 1.0, "pooled": weights - 1, "all": 1.875}
    return total / whole[divide]


def _switched(**switches: Any) -> Any:
    return lambda s, t: _variant(s, t.detach(), **switches)


def _plain_for_a_vector(answer: Any, seed: int) -> bool:
    s, t = torch.randn(3, 5, 1, 1), torch.randn(3, 5, 1, 1)
    return torch.allclose(torch.as_tensor(answer(s, t)), F.mse_loss(s, t), rtol=1e-5)


def _constant_shift_counts_once(answer: Any, seed: int) -> bool:
    t = torch.randn(2, 3, 8, 8)
    return abs(float(answer(t + 0.5, t)) - 0.25) < 1e-5


HCL = Check(
    id="04-hcl",
    title="the hierarchical context loss",
    points=3,
    minutes=12,
    difficulty=3,
    draw=_draw_hcl,
    observe=_observe_hcl,
    reference=hcl,
    differentiable=(0, 1, 2, 3),
    misconceptions=(
        Misconception(
            "the weight halved on skipped sizes too",
            _switched(halve_skipped=True),
            "Maps of side 8 are right, smaller ones aren't: a size that is not used must leave the weight"
            " alone. Halve inside the condition.",
        ),
        Misconception(
            "not divided by the weights",
            _switched(divide="nothing"),
            "The sum of the weighted terms still has to be divided by the sum of the weights, so that a large"
            " map doesn't count more than a vector.",
        ),
        Misconception(
            "divided by the number of sizes",
            _switched(divide="count"),
            "Divide by the sum of the weights, 1 + 1/2 + ..., not by how many there are.",
        ),
        Misconception(
            "the first term missing in the divisor",
            _switched(divide="pooled"),
            "You divided by the weights of the pooled sizes alone: the maps themselves have weight 1, which"
            " belongs into the sum of the weights.",
        ),
        Misconception(
            "one divisor for all maps",
            _switched(divide="all"),
            "1.875 is the sum of the weights of a large map. A small map uses fewer sizes: add up the"
            " weights that were used.",
        ),
        Misconception(
            "the weight halved after its use",
            _switched(late=True),
            "Your first pooled size still has weight 1: halve the weight before you use it.",
        ),
        Misconception(
            "the loop left at a size too large",
            _switched(leave=True),
            "Maps of side 8 are right, smaller ones aren't: you leave the loop at the first size that does"
            " not fit, and the sizes after it would. Go on with the next one.",
        ),
        Misconception(
            "only the last size",
            _switched(last=True),
            "Each turn of your loop replaces what was there before: add the terms up.",
        ),
        Misconception(
            "windows of that size",
            _switched(pool=F.avg_pool2d),
            "F.avg_pool2d(x, k) averages windows of k x k. What is asked is a map *of* k x k positions:"
            " F.adaptive_avg_pool2d(x, k).",
        ),
        Misconception(
            "absolute differences",
            _switched(distance=F.l1_loss),
            "Formula (6) has mean *squared* differences: F.mse_loss.",
        ),
        Misconception(
            "all sizes weighted alike",
            _switched(factor=1.0),
            "Every further pooled size counts half of the one before.",
        ),
        Misconception(
            "no term at full size",
            _switched(own=False),
            "The maps themselves come first, with weight 1; the pooled ones follow.",
        ),
        Misconception(
            "the map's own size used twice",
            _switched(at_most=True),
            "For maps of side 4 pooling to 4 changes nothing: only sizes *smaller* than the map are added.",
        ),
        Misconception(
            "plain mean squared difference",
            lambda s, t: F.mse_loss(s, t.detach()),
            "This is the hint loss: nothing was pooled, or the *squared differences* were, whose mean stays"
            " the same at every size. Pool the maps, then compare.",
        ),
        Misconception(
            "pooled by the maximum",
            _switched(pool=F.adaptive_max_pool2d),
            "The context of a region is its mean: F.adaptive_avg_pool2d.",
        ),
        Misconception(
            "the sum over elements",
            _switched(distance=partial(F.mse_loss, reduction="sum")),
            "Each term is a mean over all elements of the maps at that size.",
        ),
        Misconception(
            "the 1x1 map forgotten",
            _switched(sizes=(4, 2)),
            "The last size is 1, the mean over the whole image.",
        ),
        Misconception(
            "small sizes first",
            _switched(sizes=(1, 2, 4)),
            "The weights fall from fine to coarse: 4, then 2, then 1.",
        ),
        Misconception(
            "a gradient into the teacher",
            _variant,
            "The value is right, but the teacher's map receives a gradient: detach it. The authors' own loop"
            " kept the teacher's graph, at the price of its memory.",
        ),
    ),
    properties=(
        Property(
            "the plain mean squared difference of 1x1 maps",
            _plain_for_a_vector,
            "A vector has no smaller size: only the first term is left.",
        ),
        Property(
            "a constant shift counts the same at every size",
            _constant_shift_counts_once,
            "Pooling leaves a constant difference as it is, so that the weighted mean of the terms is its"
            " square.",
        ),
    ),
    hints=(
        "A weighted mean of up to four mean squared differences: the maps, then pooled to 4, 2 and 1.",
        "Formula (6): keep two running sums, of the weighted terms and of the weights; both start with the"
        " maps as they are. A loop over 4, 2 and 1 adds to both: where does the weight halve, and for which"
        " sizes does nothing happen?",
        "Terms 0.8, 0.4, 0.2 and 0.1 of an 8x8 pair: (0.8 + 0.4/2 + 0.2/4 + 0.1/8) / 1.875 = 0.567; a 4x4"
        " pair with 0.4, 0.2, 0.1: (0.4 + 0.2/2 + 0.1/4) / 1.75 = 0.3.",
    ),
)
