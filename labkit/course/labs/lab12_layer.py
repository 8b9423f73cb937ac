"""Check of lab 12 on the condensation layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception, Property

WIDE, NARROW = 7, 4


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


class _Listed(nn.Module):
    """The layers in a plain list, where nobody finds their weights."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.layers = [nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, narrow)]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return F.normalize(x, dim=-1)


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
            "a LayerNorm in place of the unit length",
            _two(nn.ReLU(), end=lambda x: F.layer_norm(x, x.shape[-1:])),
            "A LayerNorm also takes away the mean, and leaves rows of length sqrt(D): formula (2) divides by"
            " the row's length, no more.",
        ),
        Misconception(
            "the layers in a plain list",
            _Listed,
            "An nn.Module finds weights only in attributes that are modules themselves: a Python list hides"
            " them, and no optimizer will ever see them. nn.Sequential, please.",
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
