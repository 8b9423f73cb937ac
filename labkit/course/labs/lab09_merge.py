"""Check of lab 09: folding an adapter into the weight that it adapts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..checks import Check, Misconception, Property
from .lab09_toys import LoRALinear

SIDE, RANK, ALPHA = 5, 3, 2.0  # square, so that a transposed update shows as wrong values


def _draw_adapter(seed: int) -> tuple[Tensor, ...]:
    """Weight, bias, A, B, and inputs."""
    return (
        torch.randn(SIDE, SIDE), torch.randn(SIDE), torch.randn(RANK, SIDE), torch.randn(SIDE, RANK),
        torch.randn(4, SIDE),
    )  # fmt: skip


def _filled(weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, alpha: float = ALPHA) -> LoRALinear:
    base = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer = LoRALinear(base, len(a), alpha)
    with torch.no_grad():
        base.weight.copy_(weight), layer.A.copy_(a), layer.B.copy_(b)
        if bias is not None:
            base.bias.copy_(bias)
    return layer


def _observe_merge(answer: Any, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, x: Tensor) -> Any:
    layer = _filled(weight, bias, a, b)
    merged = answer(layer)
    if not isinstance(merged, nn.Linear):
        return merged
    first = (merged.weight.detach().clone(), None if merged.bias is None else merged.bias.detach().clone())
    again = answer(layer)
    return {
        "the merged weight": first[0],
        "the merged bias": first[1],
        "the merged weight when merged a second time": again.weight
        if isinstance(again, nn.Linear)
        else again,
        "the layer's own output afterwards": layer(x),
    }


def merge(layer: LoRALinear) -> nn.Linear:
    """A plain Linear that gives what `layer` gives; `layer` is left as it is."""
    base = layer.base
    merged = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None)
    with torch.no_grad():
        merged.weight.copy_(base.weight + layer.alpha / layer.rank * layer.B @ layer.A)
        if base.bias is not None:
            merged.bias.copy_(base.bias)
    return merged


def _wrong(update: Any, *, base: bool = True, bias: bool = True, in_place: bool = False) -> Any:
    def answer(layer: LoRALinear) -> nn.Linear:
        target = layer.base if in_place else nn.Linear(SIDE, SIDE, bias=bias)
        with torch.no_grad():
            weight = update(layer) + (layer.base.weight if base else 0)
            target.weight.copy_(weight)
            if bias:
                target.bias.copy_(layer.base.bias)
        return target

    return answer


def _scaled(layer: LoRALinear) -> Tensor:
    return layer.alpha / layer.rank * layer.B @ layer.A


def _new_bias(layer: LoRALinear) -> nn.Linear:
    merged = nn.Linear(SIDE, SIDE)
    with torch.no_grad():
        merged.weight.copy_(layer.base.weight + _scaled(layer))
        merged.bias.zero_()
    return merged


def _any_shape(answer: Any, seed: int) -> bool:
    layer = _filled(torch.randn(9, 4), None, torch.randn(2, 4), torch.randn(9, 2), alpha=5.0)
    x = torch.randn(3, 6, 4)
    return (answer(layer)(x) - layer(x)).abs().max() < 1e-5


MERGE = Check(
    id="09-merge",
    title="an adapter folded into its weight",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_adapter,
    observe=_observe_merge,
    reference=merge,
    rtol=1e-5,
    misconceptions=(
        Misconception(
            "the factor alpha / rank forgotten",
            _wrong(lambda layer: layer.B @ layer.A),
            "You added B A; the layer adds alpha / rank times that.",
        ),
        Misconception(
            "alpha without the rank",
            _wrong(lambda layer: layer.alpha * layer.B @ layer.A),
            "The factor is alpha / rank, as in the layer's own forward.",
        ),
        Misconception(
            "the update transposed",
            _wrong(lambda layer: _scaled(layer).T),
            "Your update is the transpose of the right one: for columns it is B A, for rows x @ A.T @ B.T,"
            " and"
            " nn.Linear stores the weight as (out, in).",
        ),
        Misconception(
            "the pretrained weight lost",
            _wrong(_scaled, base=False),
            "That is the update alone. The merged weight is W plus the update.",
        ),
        Misconception(
            "the update subtracted",
            _wrong(lambda layer: -_scaled(layer)),
            "You subtracted the update: that is how an adapter is taken out again.",
        ),
        Misconception(
            "the bias lost",
            _wrong(_scaled, bias=False),
            "The pretrained layer has a bias that the merged one needs too.",
        ),
        Misconception(
            "the bias not copied",
            _new_bias,
            "The merged layer has a bias of its own, but not the pretrained one's values.",
        ),
        Misconception(
            "merged into the pretrained layer itself",
            _wrong(_scaled, in_place=True),
            "You changed layer.base in place: the layer now applies its update twice, and merging again"
            " adds it"
            " a third time. Write into a new nn.Linear.",
        ),
    ),
    properties=(
        Property(
            "any shape, with and without bias",
            _any_shape,
            "Take in_features, out_features and the question whether there is a bias from layer.base.",
        ),
    ),
    hints=(
        "Two matrices applied to the same x and added are one matrix applied to x.",
        "A new nn.Linear of base's sizes; under torch.no_grad() copy W + (alpha / rank) B A into its"
        " weight, and"
        " the bias.",
        "With W = [[1, 0], [0, 1]], B = [[2], [0]], A = [[1, 3]], alpha = 1, rank = 2: the update is 0.5 *"
        " [[2, 6], [0, 0]], so the merged weight is [[2, 3], [0, 1]].",
    ),
)
