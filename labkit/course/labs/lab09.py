"""Checks of lab 09: the layer with an adapter; the others are beside it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import Check, Misconception, Property
from .lab09_bug import BUG
from .lab09_merge import MERGE
from .lab09_network import ADD_ADAPTERS, COUNT
from .lab09_toys import LoRALinear, training_names
from .lab09_training import TRAIN_ADAPTERS

IN, OUT, RANK, ALPHA = 6, 4, 3, 2.0


def _draw_layer(seed: int) -> tuple[Tensor, ...]:
    """Weight, bias, tokens (B, N, in), and the values that A and B are given."""
    return (
        torch.randn(OUT, IN), torch.randn(OUT), torch.randn(2, 5, IN), torch.randn(RANK, IN),
        torch.randn(OUT, RANK),
    )  # fmt: skip


def _observe_layer(answer: Any, weight: Tensor, bias: Tensor, x: Tensor, a: Tensor, b: Tensor) -> Any:
    base = nn.Linear(IN, OUT)
    with torch.no_grad():
        base.weight.copy_(weight), base.bias.copy_(bias)
    layer = answer(base, RANK, ALPHA)
    if not isinstance(layer, nn.Module):
        return layer
    shapes = f"A {tuple(layer.A.shape)}, B {tuple(layer.B.shape)}"
    fits = layer.A.shape == a.shape and layer.B.shape == b.shape
    seen = {
        "the shapes": shapes,
        "what trains": training_names(layer),
        "A at the start": _start(layer.A),
        "B at the start": _start(layer.B),
        "the output at the start": layer(x) if fits else torch.zeros(2, 5, OUT),
    }
    with torch.no_grad():
        for parameter, value in ((layer.A, a), (layer.B, b)):
            if parameter.shape == value.shape:
                parameter.copy_(value)
    return seen | {"the output for other A and B": layer(x) if fits else torch.zeros(2, 5, OUT)}


def _start(parameter: Tensor) -> str:
    if not parameter.any():
        return "all zero"
    return "small random numbers" if parameter.abs().max() <= 1 / math.sqrt(IN) else "larger random numbers"


def _layer(
    scale: Any = lambda alpha, rank: alpha / rank, starts: str = "random, zero", freeze: bool = True,
    biased: bool = True, frozen_path: bool = True, all_scaled: bool = False,
) -> type[nn.Module]:  # fmt: skip
    """The layer with each of its parts switchable, for the wrong answers."""

    class Wrong(LoRALinear):
        def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
            super().__init__(base, rank, alpha)
            base.requires_grad_(not freeze)
            for parameter, start in zip((self.A, self.B), starts.split(", "), strict=True):
                if start == "zero":
                    nn.init.zeros_(parameter)
                else:
                    bound = {"random": 1 / math.sqrt(IN), "wide": 1.0}[start]
                    nn.init.uniform_(parameter, -bound, bound)

        def forward(self, x: Tensor) -> Tensor:
            update = scale(self.alpha, self.rank) * (x @ self.A.T @ self.B.T)
            path = self.base(x) if biased else x @ self.base.weight.T
            if all_scaled:
                return scale(self.alpha, self.rank) * (path + x @ self.A.T @ self.B.T)
            return path + update if frozen_path else update

    return Wrong


class _Transposed(nn.Module):
    """A and B in each other's place."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.A = nn.Parameter(torch.empty(base.out_features, rank))
        self.B = nn.Parameter(torch.zeros(rank, base.in_features))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * (x @ self.B.T @ self.A.T)


class _Plain(nn.Module):
    """A and B as plain tensors."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), alpha / rank
        self.A, self.B = torch.empty(rank, base.in_features), torch.zeros(base.out_features, rank)
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.scale * (x @ self.A.T @ self.B.T)


class _BiasTrains(LoRALinear):
    """Only the weight frozen."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(base, rank, alpha)
        base.bias.requires_grad_(True)


def _frozen_at_first(answer: Any, seed: int) -> bool:
    base, x = nn.Linear(9, 27), torch.randn(4, 9)
    before = base(x)
    return torch.allclose(answer(base, 5, 3.0)(x), before, atol=1e-5)


def _twice_alpha_twice_update(answer: Any, seed: int) -> bool:
    base, x = nn.Linear(4, 4), torch.randn(3, 7, 4)
    updates = []
    for alpha in (1.0, 2.0):
        layer = answer(base, 8, alpha)
        with torch.no_grad():
            layer.A.fill_(0.5), layer.B.fill_(0.25)
            updates.append(layer(x) - base(x))
    return torch.allclose(2 * updates[0], updates[1], atol=1e-5)


LAYER = Check(
    id="09-lora-layer",
    title="a Linear with a low-rank update",
    points=3,
    minutes=12,
    difficulty=3,
    draw=_draw_layer,
    observe=_observe_layer,
    reference=LoRALinear,
    misconceptions=(
        Misconception(
            "no factor alpha / rank",
            _layer(scale=lambda alpha, rank: 1.0),
            "Your update is B A x alone. Formula (1) scales it by alpha / rank, so that a rank can be changed"
            " without looking for a new learning rate.",
        ),
        Misconception(
            "alpha times rank",
            _layer(scale=lambda alpha, rank: alpha * rank),
            "Your update grows with the rank twice: once through the longer sum, once through your factor."
            " Formula (1) divides alpha by the rank.",
        ),
        Misconception(
            "alpha without the rank",
            _layer(scale=lambda alpha, rank: alpha),
            "The update is scaled by alpha alone. Formula (1) divides alpha by the rank.",
        ),
        Misconception(
            "the factor upside down",
            _layer(scale=lambda alpha, rank: rank / alpha),
            "Yours is rank / alpha; formula (1) has alpha on top.",
        ),
        Misconception(
            "alpha over the square root of the rank",
            _layer(scale=lambda alpha, rank: alpha / math.sqrt(rank)),
            "That is rsLoRA (arXiv 2312.03732), a later variant with its reasons. Formula (1) is the"
            " original:"
            " alpha / rank.",
        ),
        Misconception(
            "A and B both random",
            _layer(starts="random, random"),
            "Then B A is not zero and the network no longer is the pretrained one before the first step."
            " One of"
            " the two starts at zero: B.",
        ),
        Misconception(
            "A and B both zero",
            _layer(starts="zero, zero"),
            "The gradient of A contains B and the gradient of B contains A: with both at zero neither ever"
            " moves. Draw A at random.",
        ),
        Misconception(
            "A zero and B random",
            _layer(starts="zero, random"),
            "That starts from the frozen network as well, but the layer here (and peft's, and the paper's)"
            " draws"
            " A and sets B to zero.",
        ),
        Misconception(
            "A drawn too wide",
            _layer(starts="wide, zero"),
            "A's entries should lie within 1 / sqrt(in): nn.init.kaiming_uniform_(self.A, a=math.sqrt(5)),"
            " the start of every nn.Linear.",
        ),
        Misconception(
            "A and B swapped",
            _Transposed,
            "A comes first on the way of x, from in down to rank, so its shape is (rank, in); B goes up"
            " again,"
            " (out, rank).",
        ),
        Misconception(
            "W trained too",
            _layer(freeze=False),
            "The pretrained weight and bias still ask for gradients, so nothing is saved:"
            " base.requires_grad_(False).",
        ),
        Misconception(
            "the bias trained too",
            _BiasTrains,
            "The pretrained bias still asks for gradients: freeze the whole layer,"
            " base.requires_grad_(False).",
        ),
        Misconception(
            "A and B no parameters",
            _Plain,
            "A and B are plain tensors, which no optimizer will ever see: make each an nn.Parameter.",
        ),
        Misconception(
            "the bias lost",
            _layer(biased=False),
            "You multiplied by W but left the pretrained bias out: call self.base(x).",
        ),
        Misconception(
            "the frozen path lost",
            _layer(frozen_path=False),
            "The update is added to what the pretrained layer says; yours replaces it.",
        ),
        Misconception(
            "everything scaled",
            _layer(all_scaled=True),
            "alpha / rank belongs to the update alone; your pretrained output is scaled as well.",
        ),
    ),
    properties=(
        Property(
            "at first the layer is the pretrained one",
            _frozen_at_first,
            "For any sizes, the output before training is that of the pretrained layer: B starts at zero.",
        ),
        Property(
            "twice the alpha is twice the update",
            _twice_alpha_twice_update,
            "The update must be proportional to alpha for any rank and any number of leading axes.",
        ),
    ),
    hints=(
        "Two paths that are added: the layer as it was, and a detour through a bottleneck of width rank.",
        "A is (rank, in), B is (out, rank); for rows x the detour is x @ A.T @ B.T, times alpha / rank."
        " Freeze"
        " base, draw A, leave B at zero.",
        "With A = [[1, 0, 1]], B = [[2], [0]], x = [1, 2, 3], alpha = 2 and rank = 1: A x = 4, B A x = [8,"
        " 0],"
        " times 2 is [16, 0], added to W x + b.",
    ),
)

CHECKS = [LAYER, ADD_ADAPTERS, COUNT, TRAIN_ADAPTERS, MERGE, BUG]
