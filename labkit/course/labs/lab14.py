"""Checks of lab 14: finding neighbours; the others are beside it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property
from .lab14_bug import BUG
from .lab14_calibrate import CALIBRATE
from .lab14_js import DIVERGENCE
from .lab14_objective import OBJECTIVE
from .lab14_relation import RELATION

_TWINS = (2, 4, 6)  # equal rows


def _draw_neighbours(seed: int) -> tuple[Tensor, int]:
    """Logits with a common direction, three equal rows, and one that looks away from all others."""
    z = 1.5 * torch.randn(9, 5) + torch.tensor([2.0, 0.5, 0.0, -0.5, 1.0])
    z = z * (0.4 + 2 * torch.rand(9, 1))
    z[list(_TWINS)] = z[_TWINS[0]].clone()
    z[0] = -F.normalize(z[1:], dim=1).mean(0)
    return z, 3


def similarity(logits: Tensor) -> Tensor:
    """Cosines (B, B) of rows of logits (B, C)."""
    unit = F.normalize(logits, dim=1)
    return unit @ unit.T


def neighbours(teacher_logits: Tensor, k: int) -> Tensor:
    """Positions (B, k) of the k nearest rows of teacher_logits (B, C) by cosine, never the row itself."""
    cosines = similarity(teacher_logits).fill_diagonal_(-torch.inf)
    return cosines.topk(k, dim=1).indices


def _observe_neighbours(answer: Any, z: Tensor, k: int) -> Any:
    """The positions found; equal rows are as near as each other, so which of them is named says nothing."""
    found = answer(z, k)
    if not (isinstance(found, Tensor) and found.dtype == torch.long and found.shape == (len(z), k)):
        return found
    found = found.clone()
    for i, row in enumerate(found):
        twins = [j for j in _TWINS if j != i]
        places = [place for place, j in enumerate(row.tolist()) if j in twins]
        row[places] = torch.tensor(twins[: len(places)], dtype=torch.long)
    return found


def _without(cosines: Tensor, value: float) -> Tensor:
    return cosines.clone().fill_diagonal_(value)


def _distances(z: Tensor, k: int) -> Tensor:
    return _without(torch.cdist(z, z), torch.inf).topk(k, dim=1, largest=False).indices


def _never_itself(answer: Any, seed: int) -> bool:
    z = torch.randn(2, 6).repeat(3, 1)  # every row three times
    found = answer(z, 2)
    return not (found == torch.arange(6)[:, None]).any()


def _blind_to_length(answer: Any, seed: int) -> bool:
    z = torch.randn(7, 5)
    return torch.equal(answer(z, 3), answer(z * torch.linspace(0.2, 5, 7)[:, None], 3))


NEIGHBOURS = Check(
    id="14-neighbours",
    title="the nearest neighbours in a batch",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_neighbours,
    observe=_observe_neighbours,
    reference=neighbours,
    misconceptions=(
        Misconception(
            "everybody is their own nearest neighbour",
            lambda z, k: similarity(z).topk(k, dim=1).indices,
            "The cosine of a row with itself is 1, so every row finds itself first. Mask the diagonal.",
        ),
        Misconception(
            "the first rank dropped",
            lambda z, k: similarity(z).sort(dim=1, descending=True, stable=True).indices[:, 1 : k + 1],
            "Rank 0 is usually the row itself, but not always: of two equal images either may come first."
            " Mask the diagonal in place of dropping a rank.",
        ),
        Misconception(
            "the diagonal set to zero",
            lambda z, k: _without(similarity(z), 0.0).topk(k, dim=1).indices,
            "Zero is not the smallest cosine: a row that looks away from all others still finds itself. Use"
            " -torch.inf.",
        ),
        Misconception(
            "dot products",
            lambda z, k: _without(z @ z.T, -torch.inf).topk(k, dim=1).indices,
            "A row with large logits is then everybody's neighbour. Divide every row by its length first.",
        ),
        Misconception(
            "Euclidean distances",
            _distances,
            "By distance, a row and twice that row are far apart, though they rank the classes alike. Formula"
            " (3) compares directions.",
        ),
        Misconception(
            "cosines of probabilities",
            lambda z, k: _without(similarity(z.softmax(1)), -torch.inf).topk(k, dim=1).indices,
            "After a softmax only the likely classes count. Formula (3) takes the logits as they are.",
        ),
        Misconception(
            "the farthest",
            lambda z, k: _without(similarity(z), torch.inf).topk(k, dim=1, largest=False).indices,
            "These are the k least similar rows. A large cosine is near.",
        ),
        Misconception(
            "neighbours of the classes",
            lambda z, k: neighbours(z.T, k),
            "One row of k positions for every class: you compared columns. The matrix of cosines is (B, B).",
        ),
        Misconception(
            "normalised over the batch",
            lambda z, k: (
                _without(F.normalize(z, dim=0) @ F.normalize(z, dim=0).T, -torch.inf).topk(k, dim=1).indices
            ),
            "`F.normalize(z, dim=0)` divides columns. Every row is one image: dim=1.",
        ),
        Misconception(
            "the cosines themselves",
            lambda z, k: _without(similarity(z), -torch.inf).topk(k, dim=1).values,
            "topk gives two things: these are the values, and the positions are .indices.",
        ),
        Misconception(
            "one neighbour too few",
            lambda z, k: _without(similarity(z), -torch.inf).topk(k, dim=1).indices[:, 1:],
            "The diagonal is masked already: with rank 0 you drop the nearest neighbour.",
        ),
    ),
    properties=(
        Property(
            "nobody is their own neighbour",
            _never_itself,
            "Try a batch in which the same image occurs three times.",
        ),
        Property("a row's length doesn't matter", _blind_to_length, "Formula (3) compares directions."),
    ),
    hints=(
        "A (B, B) matrix of cosines, something on its diagonal, and the k largest of each row.",
        "`F.normalize(z, dim=1)`, a product, `.fill_diagonal_(-torch.inf)`, `.topk(k, dim=1).indices`.",
        "Rows (1, 0), (3, 4), (0, 2): cosines of the first with the others 0.6 and 0, so with k = 1 its"
        " neighbour is row 1.",
    ),
)

CHECKS = [CALIBRATE, NEIGHBOURS, DIVERGENCE, RELATION, OBJECTIVE, BUG]
