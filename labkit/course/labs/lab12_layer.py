"""Checks of lab 12 on the condensation layer and the visual loss that uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception, Property

WIDE, NARROW = 7, 4

# --- condensation layer -----------------------------------------------------------------------------------


def _draw_condense(seed: int) -> tuple[Tensor]:
    return (F.normalize(torch.randn(5, WIDE), dim=-1),)


def _observe_condense(make: Any, features: Tensor) -> Any:
    """What the module does with weights that don't depend on how it was initialised."""
    module = make(WIDE, NARROW)
    if not isinstance(module, nn.Module):
        return module
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                for weight in part.parameters():
                    weight.copy_(torch.randn(weight.shape, generator=generator))
    return {
        "how many numbers it learns": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "the output": module.train()(features),
    }


class Condensation(nn.Module):
    """From CLIP's width to the student's: Linear, ReLU, Linear, then unit length."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, narrow))

    def forward(self, x: Tensor) -> Tensor:
        """Rows (N, wide) -> unit vectors (N, narrow)."""
        return F.normalize(self.layers(x), dim=-1)


class _Chain(nn.Module):
    """Some layers, then what is done at the end."""

    def __init__(self, *layers: nn.Module, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers, self.end = nn.Sequential(*layers), end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.layers(x))


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _two(middle: nn.Module | None, *, hidden: int | None = None, bias: bool = True, end: Any = _unit) -> Any:
    """Two linear layers with something between and something at the end."""

    def make(wide: int, narrow: int) -> nn.Module:
        inner = narrow if hidden is None else hidden
        between = [middle] if middle is not None else []
        layers = [nn.Linear(wide, inner, bias=bias), *between, nn.Linear(inner, narrow, bias=bias)]
        return _Chain(*layers, end=end)

    return make


def _of_one_length(answer: Any, seed: int) -> bool:
    out = answer(WIDE, NARROW)(*_draw_condense(seed))
    return torch.allclose(out.norm(dim=-1), torch.ones(len(out)), atol=1e-5)


CONDENSE = Check(
    id="12-condense",
    title="the condensation layer",
    points=2,
    minutes=6,
    difficulty=2,
    draw=_draw_condense,
    observe=_observe_condense,
    reference=Condensation,
    misconceptions=(
        Misconception(
            "not normalised",
            _two(nn.ReLU(), end=lambda x: x),
            "The outputs have any length, and the student's embeddings will be of length 1: normalise each"
            " row at the end.",
        ),
        Misconception(
            "normalised over the batch",
            _two(nn.ReLU(), end=lambda x: F.normalize(x, dim=0)),
            "Yours makes the columns unit vectors: a row is an image, so its length is a norm along the last"
            " axis, dim=-1.",
        ),
        Misconception(
            "divided by the norm of the whole batch",
            _two(nn.ReLU(), end=lambda x: x / x.norm()),
            "x.norm() is one number for the whole batch. Every row has a length of its own.",
        ),
        Misconception(
            "no ReLU",
            _two(None),
            "Two linear layers without anything between are one linear layer: the ReLU is missing.",
        ),
        Misconception(
            "a GELU in place of the ReLU",
            _two(nn.GELU()),
            "VL2Lite has a ReLU between its two linear layers.",
        ),
        Misconception(
            "a second ReLU",
            _two(nn.ReLU(), end=lambda x: F.normalize(F.relu(x), dim=-1)),
            "After a ReLU no coordinate is negative, so that only one corner of the sphere is left to point"
            " at: formula (2) ends with a linear layer.",
        ),
        Misconception(
            "one linear layer",
            lambda wide, narrow: _Chain(nn.Linear(wide, narrow), end=_unit),
            "Formula (2) has two linear layers and a ReLU between them.",
        ),
        Misconception(
            "the hidden layer as wide as CLIP",
            _two(nn.ReLU(), hidden=WIDE),
            "The first layer already goes down to the student's width D: D numbers between the layers, not"
            " E.",
        ),
        Misconception(
            "no biases",
            _two(nn.ReLU(), bias=False),
            "Leave the linear layers their biases, as formula (2) has them.",
        ),
        Misconception(
            "a layer that can't learn",
            lambda wide, narrow: Condensation(wide, narrow).requires_grad_(False),
            "CLIP is frozen; this layer is not a part of CLIP: it is trained with the student.",
        ),
    ),
    properties=(
        Property(
            "every output has length 1",
            _of_one_length,
            "The last operation of formula (2) divides each row by its own length.",
        ),
    ),
    hints=(
        "A small network with one hidden layer; what is done to its output before it leaves?",
        "In __init__ an nn.Sequential of nn.Linear(wide, narrow), nn.ReLU() and nn.Linear(narrow, narrow); in"
        " forward F.normalize(..., dim=-1) around it.",
        "From 128 to 48: 128 x 48 + 48 numbers in the first layer, 48 x 48 + 48 in the second, and (3, 4)"
        " leaves as (0.6, 0.8).",
    ),
)

# --- the visual loss --------------------------------------------------------------------------------------


def _draw_visual(seed: int) -> tuple[Tensor, Tensor]:
    return 3 * torch.randn(5, NARROW) + 0.5, _unit(torch.randn(5, NARROW))


def visual_loss(student_emb: Tensor, condensed: Tensor) -> Tensor:
    """Mean absolute difference of the student's directions (B, D) and condensed images (B, D); a scalar."""
    return (F.normalize(student_emb, dim=-1) - condensed).abs().mean()


def _lengths_dont_matter(answer: Any, seed: int) -> bool:
    h, a = _draw_visual(seed)
    return torch.allclose(answer(h, a), answer(7 * h, a), rtol=1e-4)


VISUAL = Check(
    id="12-visual-loss",
    title="the visual loss",
    points=1,
    minutes=4,
    difficulty=1,
    draw=_draw_visual,
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
