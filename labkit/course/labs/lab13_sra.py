"""Check of lab 13 on spatial-representation alignment, the loss of stage 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property


def _draw_sra(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two pairs of maps of five channels: once the second is the larger, once the first."""
    shapes = ((3, 5, 3, 3), (3, 5, 6, 6), (3, 5, 8, 8), (3, 5, 4, 4))
    return tuple(torch.randn(shape) + 0.3 * i for i, shape in enumerate(shapes))


def _observe_sra(answer: Any, small: Tensor, large: Tensor, wide: Tensor, narrow: Tensor) -> dict[str, Any]:
    return {"target larger": answer(small, large), "student larger": answer(wide, narrow)}


def sra(student_map: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of two maps of one width, the larger average-pooled to the smaller.

    Args:
        student_map: (B, C, h, h), after the adapter.
        target: (B, C, h', h'), a constant.

    Raises:
        ValueError: the channels differ.
    """
    if student_map.shape[1] != target.shape[1]:
        raise ValueError(f"{tuple(student_map.shape)} and {tuple(target.shape)} differ in their channels.")
    side = min(student_map.shape[-1], target.shape[-1])
    s, t = (F.adaptive_avg_pool2d(x, side) for x in (student_map, target.detach()))
    return F.mse_loss(s, t)


def _average(x: Tensor, side: int) -> Tensor:
    return F.adaptive_avg_pool2d(x, side)


def variant(
    s: Tensor, t: Tensor, *, side: Any = min, pool: Callable[[Tensor, int], Tensor] = _average,
    distance: Any = F.mse_loss, detach: tuple[bool, bool] = (False, True), factor: Any = lambda s: 1.0,
) -> Tensor:  # fmt: skip
    """SRA with each of its parts switchable, for the wrong answers."""
    if s.shape[1] != t.shape[1]:
        raise ValueError("The channels differ.")
    size = side(s.shape[-1], t.shape[-1])
    s, t = (x.detach() if still else x for x, still in zip((s, t), detach, strict=True))
    s, t = pool(s, size), pool(t, size)
    return factor(s) * distance(s, t)


def _nearest(x: Tensor, side: int) -> Tensor:
    return F.interpolate(x, size=(side, side), mode="nearest")


def _form(**switches: Any) -> Any:
    return lambda *inputs: variant(*inputs, **switches)


def _unit(x: Tensor, side: int) -> Tensor:
    return F.normalize(_average(x, side), dim=1)


def _refuses_other_widths(answer: Any, seed: int) -> bool:
    """4 of 5 channels, as a slice would make them fit; and 1, which torch repeats without a word."""
    for channels in (4, 1):
        try:
            answer(torch.randn(2, 5, 4, 4), torch.randn(2, channels, 4, 4))
        except Exception:  # whatever it raises: it must not go unnoticed
            continue
        return False
    return True


def _zero_for_pooled(answer: Any, seed: int) -> bool:
    x = torch.randn(2, 3, 8, 8)
    return abs(float(answer(F.adaptive_avg_pool2d(x, 2), x))) < 1e-6 and abs(float(answer(x, x))) < 1e-6


SRA = Check(
    id="13-sra",
    title="spatial-representation alignment",
    points=2,
    minutes=9,
    difficulty=2,
    draw=_draw_sra,
    observe=_observe_sra,
    reference=sra,
    differentiable=(0, 1, 2, 3),
    misconceptions=(
        Misconception(
            "pooled to one vector",
            _form(side=lambda a, b: 1),
            "You compared one vector per image, so that nothing *spatial* is left: pool the larger map to"
            " the smaller one's side, no further.",
        ),
        Misconception(
            "the smaller map blown up",
            _form(side=max, pool=_nearest),
            "Blown up, a coarse map claims to know places that it doesn't: pool the larger one instead.",
        ),
        Misconception(
            "single places picked instead of averaged",
            _form(pool=_nearest),
            "You kept one place out of several and dropped the others: average them, F.adaptive_avg_pool2d.",
        ),
        Misconception(
            "the target brought to the student's side, whichever is larger",
            _form(side=lambda a, b: a),
            "Where the student's map is the larger one, yours blows the target up: pool the larger map to the"
            " smaller one's side, whosever it is.",
        ),
        Misconception(
            "the target interpolated to the student's side",
            _form(side=lambda a, b: a, pool=_nearest),
            "Interpolation picks single places, or invents some: average-pool the larger map to the smaller"
            " one's side, whosever it is.",
        ),
        Misconception(
            "the strongest instead of the average",
            _form(pool=lambda x, side: F.adaptive_max_pool2d(x, side)),
            "Formula (5) takes the average of each cell, not its maximum.",
        ),
        Misconception(
            "the sum over channels",
            _form(factor=lambda s: s.shape[1]),
            "That is the explainer's form, which grows with the intermediate's width and changes what lambda"
            " means. Formula (5) takes the mean over channels, too.",
        ),
        Misconception(
            "the sum over the map",
            _form(factor=lambda s: s[0].numel()),
            "Formula (5) divides by every element: batch, channels and places.",
        ),
        Misconception(
            "the sum over everything",
            _form(factor=lambda s: s.numel()),
            "Formula (5) divides by every element, the batch included.",
        ),
        Misconception(
            "absolute differences",
            _form(distance=F.l1_loss),
            "Those are IRA's. Formula (5) squares the differences.",
        ),
        Misconception(
            "every place normalised",
            _form(pool=_unit),
            "Here strength counts, too: how much the intermediate sees at a place, not only what.",
        ),
        Misconception(
            "a gradient into the target",
            _form(detach=(False, False)),
            "The value is right, but the intermediate's map receives a gradient: it is a constant, detach"
            " it.",
        ),
        Misconception(
            "the student detached",
            _form(detach=(True, True)),
            "The value is right, but nobody learns: only the target is a constant.",
        ),
    ),
    properties=(
        Property(
            "zero for a map and its average",
            _zero_for_pooled,
            "A map and the same map pooled agree at the smaller one's resolution.",
        ),
        Property(
            "maps of different channels are refused",
            _refuses_other_widths,
            "Raise a ValueError where shape[1] differs. Cut to fit, or repeated by torch, channels would be"
            " compared that have nothing to do with each other: translating is the adapter's work.",
        ),
    ),
    hints=(
        "At which resolution can both maps be compared without inventing anything?",
        "Raise a ValueError where shape[1] differs; side = the smaller of the two; F.adaptive_avg_pool2d"
        " leaves a map of that side as it is; F.mse_loss; target.detach().",
        "A row of four places 1, 3, 0, 2 against two places 2, 2: pooled to 2, 1; differences 0 and -1;"
        " squares 0 and 1; mean 0.5.",
    ),
)
