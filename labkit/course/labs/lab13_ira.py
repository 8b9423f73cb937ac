"""Check of lab 13 on image-representation alignment, the second loss of stage 1."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property


def _draw_ira(seed: int) -> tuple[Tensor, Tensor]:
    return 3 * torch.randn(5, 7) + 0.2, 0.5 * torch.randn(5, 7)


def ira(u: Tensor, v: Tensor) -> Tensor:
    """Mean absolute difference of the directions of (B, D) and (B, D); no gradient into the second."""
    return (F.normalize(u, dim=1) - F.normalize(v, dim=1).detach()).abs().mean()


def _ira(
    u: Tensor, v: Tensor, *, unit: tuple[bool, bool] = (True, True), axis: int = 1, power: int = 1,
    detach: tuple[bool, bool] = (False, True), divide: str = "all",
) -> Tensor:  # fmt: skip
    sides = [
        (F.normalize(x, dim=axis) if normalise else x).detach()
        if still
        else (F.normalize(x, dim=axis) if normalise else x)
        for x, normalise, still in zip((u, v), unit, detach, strict=True)
    ]
    difference = (sides[0] - sides[1]).abs() ** power
    count = {"all": difference.numel(), "batch": len(u), "width": u.shape[1], "nothing": 1}[divide]
    return difference.sum() / count


def _form(**switches: Any) -> Any:
    return lambda *inputs: _ira(*inputs, **switches)


def _only_directions(answer: Any, seed: int) -> bool:
    u, v = torch.randn(3, 8), torch.randn(3, 8)
    lengths = torch.tensor([[0.1], [1.0], [50.0]])
    return abs(float(answer(u, v)) - float(answer(lengths * u, v / lengths))) < 1e-5


IRA = Check(
    id="13-ira",
    title="image-representation alignment",
    points=2,
    minutes=6,
    difficulty=2,
    draw=_draw_ira,
    reference=ira,
    differentiable=(0, 1),
    misconceptions=(
        Misconception(
            "nothing normalised",
            _form(unit=(False, False)),
            "The two sides come from different layers and have different lengths; without normalising, the"
            " loss is mostly about these. Divide each row by its length.",
        ),
        Misconception(
            "only the trained side normalised",
            _form(unit=(True, False)),
            "The model's side has a length of its own, which a unit vector can't reach: normalise both.",
        ),
        Misconception(
            "only the model's side normalised",
            _form(unit=(False, True)),
            "u is still free to be long or short, and the loss measures that: normalise both.",
        ),
        Misconception(
            "normalised over the batch",
            _form(axis=0),
            "You divided each *column* by its length. An image's direction is a row: dim=1.",
        ),
        Misconception(
            "squared differences",
            _form(power=2),
            "Formula (3) has absolute differences, and squares of such small numbers would be tiny.",
        ),
        Misconception(
            "the sum over the width",
            _form(divide="batch"),
            "Formula (3) divides by B and by D.",
        ),
        Misconception(
            "the sum over the batch",
            _form(divide="width"),
            "Then the loss grows with the batch: formula (3) divides by B and by D.",
        ),
        Misconception(
            "the sum over everything",
            _form(divide="nothing"),
            "Formula (3) divides by B and by D: take the mean over all elements.",
        ),
        Misconception(
            "one minus the cosine",
            lambda u, v: (1 - F.cosine_similarity(u, v.detach())).mean(),
            "That measures the angle as well, but formula (3) adds absolute differences.",
        ),
        Misconception(
            "a gradient into the condensed side",
            _form(detach=(False, False)),
            "The value is right, but both sides move towards each other, and one constant for all images"
            " would satisfy them: detach the model's side.",
        ),
        Misconception(
            "the trained side detached",
            _form(detach=(True, False)),
            "The value is right, but the intermediate learns nothing, and the target moves instead: detach"
            " v, not u.",
        ),
    ),
    properties=(
        Property(
            "only directions count",
            _only_directions,
            "Multiplying any row by a positive number leaves its direction, and so the loss, as it was.",
        ),
    ),
    hints=(
        "Two matrices of one shape. What should not count, and who should not move?",
        "F.normalize(x, dim=1) on both, .detach() on v, then the mean of the absolute difference.",
        "u = (3, 4) and v = (0, 2): directions (0.6, 0.8) and (0, 1), differences 0.6 and 0.2, mean 0.4.",
    ),
)
