"""Checks of lab 01: the softened softmax; the others are beside it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property
from .lab01_bug import BUG
from .lab01_losses import KD_LOSS, OBJECTIVE
from .lab01_training import EVALUATE, TRAIN_STEP

# --- softened softmax -----------------------------------------------------------------------------------


def _draw_softmax(seed: int) -> tuple[Tensor, float]:
    return 2 * torch.randn(5, 7), 2.5


def softened_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Class probabilities of each row of `logits` (B, N) at a temperature > 0; shape (B, N)."""
    return torch.softmax(logits / temperature, dim=1)


def _one_hot_when_cold(answer: Any, seed: int) -> bool:
    logits = torch.stack([torch.randperm(6) for _ in range(4)]).float()  # no two nearly equal
    return torch.allclose(answer(logits, 0.01), F.one_hot(logits.argmax(1), 6).float(), atol=1e-4)


def _uniform_when_hot(answer: Any, seed: int) -> bool:
    return torch.allclose(answer(torch.randn(4, 6), 1e6), torch.full((4, 6), 1 / 6), atol=1e-4)


def _survives_large_logits(answer: Any, seed: int) -> bool:
    return bool(torch.isfinite(answer(1000 * torch.randn(3, 4), 0.5)).all())


SOFTENED_SOFTMAX = Check(
    id="01-softened-softmax",
    title="the softmax at a temperature",
    points=2,
    minutes=5,
    difficulty=1,
    draw=_draw_softmax,
    reference=softened_softmax,
    differentiable=(0,),
    misconceptions=(
        Misconception(
            "the temperature is not used",
            lambda z, t: torch.softmax(z, 1),
            "These are the probabilities at T = 1. Where in formula (1) does T stand?",
        ),
        Misconception(
            "logits multiplied by the temperature",
            lambda z, t: torch.softmax(z * t, 1),
            "Multiplying makes the distribution sharper as T grows. Formula (1) divides.",
        ),
        Misconception(
            "softmax over the batch",
            lambda z, t: torch.softmax(z / t, 0),
            "Your columns sum to one, not your rows. Each image (row) needs its own distribution over"
            " classes.",
        ),
        Misconception(
            "probabilities divided by the temperature",
            lambda z, t: torch.softmax(z, 1) / t,
            "Your rows sum to 1/T. The division belongs to the logits, before the exponential.",
        ),
        Misconception(
            "logarithms of the probabilities",
            lambda z, t: torch.log_softmax(z / t, 1),
            "All your values are negative: that is log_softmax. It is needed inside the loss, not here.",
        ),
        Misconception(
            "probabilities that are not normalised",
            lambda z, t: (z / t).exp(),
            "The exponentials still have to be divided by their sum over the classes.",
        ),
    ),
    properties=(
        Property(
            "finite for large logits",
            _survives_large_logits,
            "exp() of a large number overflows: subtract each row's maximum first, or call torch.softmax.",
        ),
        Property("one-hot as T goes to 0", _one_hot_when_cold, "At a tiny T the largest logit takes it all."),
        Property("uniform as T goes to infinity", _uniform_when_hot, "At a huge T all classes become equal."),
    ),
    hints=(
        "Only the logits change: everything else is the softmax you know.",
        "Formula (1): divide the logits by T, then apply the softmax along the classes, dim=1.",
        "With logits [2, 0] and T = 2 the scaled logits are [1, 0], so the first probability is"
        " e / (e + 1) = 0.731, and 0.881 without the temperature.",
    ),
)

CHECKS = [SOFTENED_SOFTMAX, KD_LOSS, OBJECTIVE, TRAIN_STEP, EVALUATE, BUG]
