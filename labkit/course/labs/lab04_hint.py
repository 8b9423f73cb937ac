"""The hint loss of lab 04."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property


def _draw_hint(seed: int) -> tuple[Tensor, Tensor]:
    return torch.randn(3, 5, 4, 2), 2 * torch.randn(3, 5, 4, 2) + 0.5


def hint_loss(connected: Tensor, teacher_map: Tensor) -> Tensor:
    """Mean squared difference of two maps (B, C, H, W); no gradient into the teacher's."""
    return F.mse_loss(connected, teacher_map.detach())


def _zero_when_equal(answer: Any, seed: int) -> bool:
    x = torch.randn(2, 3, 4, 4)
    return abs(float(answer(x, x.clone()))) < 1e-7


def _same_for_a_batch_twice(answer: Any, seed: int) -> bool:
    r, u = _draw_hint(seed)
    once, twice = float(answer(r, u)), float(answer(torch.cat([r, r]), torch.cat([u, u])))
    return abs(once - twice) < 1e-5 * abs(once)


HINT_LOSS = Check(
    id="04-hint-loss",
    title="the hint loss",
    points=2,
    minutes=5,
    difficulty=1,
    draw=_draw_hint,
    reference=hint_loss,
    differentiable=(0, 1),
    misconceptions=(
        Misconception(
            "the sum over all elements",
            lambda r, u: F.mse_loss(r, u.detach(), reduction="sum"),
            "Your loss grows with the batch and with the map's size, so that no weight fits two layers."
            " Formula (3) divides by every element.",
        ),
        Misconception(
            "half the sum for each image",
            lambda r, u: (r - u.detach()).square().sum() / (2 * len(r)),
            "That is the paper's form, with its half and its sum over the map. It differs from formula (3) by"
            " a factor that depends on the map's size; the weights quoted here belong to the mean.",
        ),
        Misconception(
            "the sum for each image",
            lambda r, u: (r - u.detach()).square().sum() / len(r),
            "You divided by the batch alone. Formula (3) also divides by channels and positions.",
        ),
        Misconception(
            "the sum over the channels",
            lambda r, u: (r - u.detach()).square().sum(1).mean(),
            "You added up the channels and averaged the rest: a wider teacher would weigh more. Formula (3)"
            " divides by the channels, too.",
        ),
        Misconception(
            "the sum over the positions",
            lambda r, u: (r - u.detach()).square().sum((2, 3)).mean(),
            "You added up the positions and averaged the rest: an early, large map would weigh more. Formula"
            " (3) divides by the positions, too.",
        ),
        Misconception(
            "the mean of the plain differences",
            lambda r, u: (r - u.detach()).mean(),
            "Without the square, differences of opposite sign cancel. Formula (3) squares each of them.",
        ),
        Misconception(
            "the square of the mean",
            lambda r, u: (r - u.detach()).mean().square(),
            "You averaged first and squared then, so that differences of opposite sign cancel. Square each"
            " of them, then take the mean.",
        ),
        Misconception(
            "the length of the difference",
            lambda r, u: (r - u.detach()).norm(),
            "That is the length of the difference, a root of a sum. Formula (3) is a mean of squares.",
        ),
        Misconception(
            "half the mean",
            lambda r, u: 0.5 * F.mse_loss(r, u.detach()),
            "The factor 1/2 belongs to the paper's sum; formula (3) has none.",
        ),
        Misconception(
            "absolute differences",
            lambda r, u: F.l1_loss(r, u.detach()),
            "These are absolute differences. Formula (3) squares them.",
        ),
        Misconception(
            "the root of the mean",
            lambda r, u: F.mse_loss(r, u.detach()).sqrt(),
            "You took a square root; formula (3) has none. Near zero its gradient would explode.",
        ),
        Misconception(
            "both maps normalised",
            lambda r, u: F.mse_loss(
                F.normalize(r.flatten(1), dim=1), F.normalize(u.detach().flatten(1), dim=1)
            ),
            "Dividing each map by its length belongs to attention maps, section 5. A hint is matched number"
            " by number.",
        ),
        Misconception(
            "only the channels' means",
            lambda r, u: F.mse_loss(r.mean((2, 3)), u.detach().mean((2, 3))),
            "You compared pooled vectors, as in section 1: *where* the teacher sees something is lost."
            " Compare every position.",
        ),
        Misconception(
            "a gradient into the teacher",
            F.mse_loss,
            "The value is right, but the teacher's map receives a gradient. The target is a constant: detach"
            " it.",
        ),
        Misconception(
            "the student detached",
            lambda r, u: F.mse_loss(r.detach(), u),
            "The target is the teacher's map: that is the one to detach. Yours teaches the teacher.",
        ),
    ),
    properties=(
        Property("zero when the maps agree", _zero_when_equal, "Equal maps have no difference."),
        Property(
            "the same for a batch given twice",
            _same_for_a_batch_twice,
            "A mean over images doesn't change when every image comes twice.",
        ),
    ),
    hints=(
        "One number for two maps of one shape: how far apart are they on average?",
        "Formula (3): the mean goes over all four axes. Which of the two maps is a constant, and how is a"
        " tensor made one?",
        "By hand: differences 1, 0, 2 and 0, 1, 0 give the squares 1, 0, 4, 0, 1, 0, and their mean is 1.",
    ),
)
