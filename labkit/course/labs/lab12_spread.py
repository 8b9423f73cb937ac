"""Check of lab 12 on the measurement that shows a collapse."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _draw_spread(seed: int) -> tuple[Tensor]:
    """Rows of different lengths around a common direction."""
    return ((torch.randn(6, 4) + torch.tensor([1.5, 0.5, 0.0, -0.5])) * (0.5 + torch.rand(6, 1)),)


def spread(x: Tensor) -> Tensor:
    """Variance of the directions of rows (N, D), in [0, 1]; a scalar."""
    return 1 - F.normalize(x, dim=-1).mean(0).square().sum()


def _of_one_direction(answer: Any, seed: int) -> bool:
    x = torch.rand(5, 1) + 0.5
    return abs(float(answer(x * torch.randn(1, 4)))) < 1e-5


def _of_opposites(answer: Any, seed: int) -> bool:
    x = torch.randn(3, 4)
    return abs(float(answer(torch.cat([x, -2 * x]))) - 1) < 1e-5


SPREAD = Check(
    id="12-spread",
    title="the spread of a batch of directions",
    points=2,
    minutes=6,
    difficulty=2,
    draw=_draw_spread,
    reference=spread,
    misconceptions=(
        Misconception(
            "not normalised",
            lambda x: 1 - x.mean(0).square().sum(),
            "Of long rows this can even be negative. The spread is one of directions: first make every row a"
            " unit vector.",
        ),
        Misconception(
            "always zero",
            lambda x: 1 - _unit(x.mean(0)).square().sum(),
            "This is 0 whatever the rows are: did you normalise the mean, or square before taking it? First"
            " unit rows, then their mean, then its squared length.",
        ),
        Misconception(
            "the length not squared",
            lambda x: 1 - _unit(x).mean(0).norm(),
            "Formula (4) squares the length of the mean.",
        ),
        Misconception(
            "the length instead of one minus it",
            lambda x: _unit(x).mean(0).square().sum(),
            "That is large where all rows agree. The spread is what is missing to 1.",
        ),
        Misconception(
            "the mean over the coordinates",
            lambda x: 1 - _unit(x).mean(1).square().sum(),
            "The mean direction is a vector of D numbers: average over the rows, the first axis.",
        ),
        Misconception(
            "the mean of the squares",
            lambda x: 1 - _unit(x).mean(0).square().mean(),
            "A squared length is a sum over the coordinates, not their mean.",
        ),
        Misconception(
            "normalised over the batch",
            lambda x: 1 - F.normalize(x, dim=0).mean(0).square().sum(),
            "A direction is a row of length 1: F.normalize along the last axis, dim=-1.",
        ),
        Misconception(
            "the distance to the mean, not squared",
            lambda x: (_unit(x) - _unit(x).mean(0)).norm(dim=1).mean(),
            "That is the mean distance to the mean direction. The spread averages its square.",
        ),
        Misconception(
            "the angle to the mean",
            lambda x: 1 - F.cosine_similarity(x, x.mean(0, keepdim=True)).mean(),
            "One minus the mean cosine to the mean vector measures something similar; formula (4) is one"
            " minus the squared length of the mean of unit vectors.",
        ),
        Misconception(
            "the variance with n - 1",
            lambda x: _unit(x).var(0).sum(),
            "Nearly: yours is n / (n - 1) times as large. Formula (4) is the plain mean over the batch, where"
            " torch.var divides by n - 1. (Leaving out each row's pair with itself does the same.)",
        ),
        Misconception(
            "the variance of one coordinate",
            lambda x: _unit(x).var(0, unbiased=False).mean(),
            "Formula (4) adds the variances of all D coordinates; yours is their mean.",
        ),
        Misconception(
            "the variance of the raw rows",
            lambda x: x.var(0, unbiased=False).sum(),
            "That grows with the rows' lengths. Make them unit vectors first.",
        ),
    ),
    properties=(
        Property(
            "rows of one direction have none",
            _of_one_direction,
            "Rows that differ only in length point the same way: spread 0.",
        ),
        Property(
            "rows and their opposites have a spread of 1",
            _of_opposites,
            "Directions that cancel have a mean of length 0.",
        ),
    ),
    hints=(
        "If all rows point the same way, how long is their mean? And if they cancel?",
        "Formula (4): F.normalize(x, dim=-1), mean over the rows (dim 0), squares, sum, one minus.",
        "Rows (1, 0) and (0, 3): directions (1, 0) and (0, 1), mean (0.5, 0.5), squared length 0.5, spread"
        " 0.5.",
    ),
)
