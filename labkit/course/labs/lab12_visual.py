"""Check of lab 12 on VL2Lite's visual loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _draw_visual(seed: int) -> tuple[Tensor, Tensor]:
    """A student's embeddings, and condensed images before they are normalised."""
    return 3 * torch.randn(5, 4) + 0.5, torch.randn(5, 4)


def _observe_visual(answer: Any, student_emb: Tensor, condensed: Tensor) -> Any:
    """The gradient ends before the last step of formula (2): to take it again is no mistake."""
    return answer(student_emb, _unit(condensed))


def visual_loss(student_emb: Tensor, condensed: Tensor) -> Tensor:
    """Mean absolute difference of the student's directions (B, D) and condensed images (B, D); a scalar."""
    return (F.normalize(student_emb, dim=-1) - condensed).abs().mean()


def _lengths_dont_matter(answer: Any, seed: int) -> bool:
    h, a = _draw_visual(seed)
    return torch.allclose(answer(h, _unit(a)), answer(7 * h, _unit(a)), rtol=1e-4)


VISUAL = Check(
    id="12-visual-loss",
    title="the visual loss",
    points=1,
    minutes=4,
    difficulty=1,
    draw=_draw_visual,
    observe=_observe_visual,
    reference=visual_loss,
    differentiable=(0, 1),
    misconceptions=(
        Misconception(
            "the student not normalised",
            lambda h, a: (h - a).abs().mean(),
            "The condensed images have length 1 and the student's embeddings any length: compare directions.",
        ),
        Misconception(
            "normalised over the batch",
            lambda h, a: (F.normalize(h, dim=0) - a).abs().mean(),
            "A row is an image: its length is a norm along the last axis, dim=-1.",
        ),
        Misconception(
            "squares",
            lambda h, a: (_unit(h) - a).square().mean(),
            "Formula (3) takes absolute values. (Of unit vectors, the squared difference is a cosine in"
            " disguise.)",
        ),
        Misconception(
            "the sum over the coordinates",
            lambda h, a: (_unit(h) - a).abs().sum(1).mean(),
            "The mean runs over images and over coordinates: yours is D times as large.",
        ),
        Misconception(
            "the sum over everything",
            lambda h, a: (_unit(h) - a).abs().sum(),
            "A mean over all B x D numbers, not a sum.",
        ),
        Misconception(
            "the length of the difference",
            lambda h, a: (_unit(h) - a).norm(dim=1).mean(),
            "That is the distance between the two vectors. Formula (3) averages absolute differences,"
            " coordinate by coordinate.",
        ),
        Misconception(
            "divided by the norm of the whole batch",
            lambda h, a: (h / h.norm() - a).abs().mean(),
            "h.norm() is one number for the whole batch. Every row has a length of its own.",
        ),
        Misconception(
            "divided by the sum of absolute values",
            lambda h, a: (F.normalize(h, p=1, dim=-1) - a).abs().mean(),
            "The length is the Euclidean one: F.normalize(x, dim=-1) as it is.",
        ),
        Misconception(
            "Huber's loss",
            lambda h, a: F.smooth_l1_loss(_unit(h), a),
            "Formula (3) is the plain absolute value, not its smoothed form.",
        ),
        Misconception(
            "one minus the cosine",
            lambda h, a: (1 - F.cosine_similarity(h, a, dim=-1)).mean(),
            "That pulls in the same direction, but formula (3) is a mean of absolute differences.",
        ),
        Misconception(
            "the absolute value of the mean",
            lambda h, a: (_unit(h) - a).mean().abs(),
            "Differences of opposite sign cancel in your mean: first the absolute value, then the mean.",
        ),
        Misconception(
            "the target detached",
            lambda h, a: (_unit(h) - a.detach()).abs().mean(),
            "A sound instinct: the value is right, and section 4 measures what you have just prevented. As"
            " published, both sides of formula (3) receive the gradient.",
        ),
        Misconception(
            "the student detached",
            lambda h, a: (_unit(h.detach()) - a).abs().mean(),
            "The value is right, but no gradient reaches the student, who is to learn from it.",
        ),
    ),
    properties=(
        Property(
            "the student's lengths don't matter",
            _lengths_dont_matter,
            "Seven times the embedding points where it did: normalise it.",
        ),
    ),
    hints=(
        "What do two rows have to share: their length, or their direction?",
        "Formula (3): F.normalize(student_emb, dim=-1), the difference, .abs(), .mean().",
        "(3, 4) becomes (0.6, 0.8); against (1, 0) the differences are 0.4 and 0.8, their mean is 0.6.",
    ),
)
