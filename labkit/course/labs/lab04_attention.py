"""The attention map of lab 04."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property


def _draw_attention(seed: int) -> tuple[Tensor, int, float]:
    """Features of both signs and unlike strength, a side to pool to, and an odd power."""
    return torch.randn(3, 5, 6, 6) * (0.5 + torch.rand(3, 5, 1, 1)), 2, 3.0


def attention_map(features: Tensor, size: int, p: float = 2) -> Tensor:
    """Where features (B, C, H, W) are strong: (B, size * size), rows of length 1."""
    features = _pooled(features, size)
    return F.normalize(features.abs().pow(p).mean(1).flatten(1), dim=1)


def _pooled(x: Tensor, size: int) -> Tensor:
    return F.adaptive_avg_pool2d(x, size) if x.shape[-1] > size else x


def _strength(x: Tensor, p: float) -> Tensor:
    """(B, C, H, W) -> (B, H, W)."""
    return x.abs().pow(p).mean(1)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.flatten(1), dim=1)


def _pool_last(x: Tensor, size: int, p: float) -> Tensor:
    return _unit(F.adaptive_avg_pool2d(_strength(x, p), size))


def _resized(x: Tensor, size: int, p: float) -> Tensor:
    return _unit(_strength(F.interpolate(x, (size, size), mode="nearest"), p))


def _ignores_scale(answer: Any, seed: int) -> bool:
    x = torch.randn(2, 3, 4, 4)
    return torch.allclose(answer(x, 2, 2), answer(7 * x, 2, 2), atol=1e-5)


def _ignores_the_order_of_channels(answer: Any, seed: int) -> bool:
    x = torch.randn(2, 5, 4, 4)
    return torch.allclose(answer(x, 4, 2), answer(x.flip(1), 4, 2), atol=1e-5)


def _survives_zeros(answer: Any, seed: int) -> bool:
    return bool(torch.isfinite(answer(torch.zeros(2, 3, 4, 4), 4, 2)).all())


ATTENTION_MAP = Check(
    id="04-attention-map",
    title="the attention map",
    points=3,
    minutes=10,
    difficulty=3,
    draw=_draw_attention,
    reference=attention_map,
    differentiable=(0,),
    misconceptions=(
        Misconception(
            "normalised over the batch",
            lambda x, n, p: F.normalize(_strength(_pooled(x, n), p).flatten(1), dim=0),
            "Each of your *columns* has length 1: an image's map then depends on its neighbours in the batch."
            " Formula (4) normalises every image over its positions.",
        ),
        Misconception(
            "normalised before flattening",
            lambda x, n, p: F.normalize(_strength(_pooled(x, n), p), dim=1).flatten(1),
            "You normalised while the map still had rows and columns: dim=1 is its height there. Flatten"
            " first, so that a row holds all positions of an image.",
        ),
        Misconception(
            "each row of the map normalised",
            lambda x, n, p: F.normalize(_strength(_pooled(x, n), p), dim=-1).flatten(1),
            "You normalised while the map still had rows and columns: dim=-1 is its width there. Flatten"
            " first, so that a row holds all positions of an image.",
        ),
        Misconception(
            "channels normalised before their mean",
            lambda x, n, p: F.normalize(_pooled(x, n).abs().pow(p), dim=1).mean(1).flatten(1),
            "You normalised over the channels, at every position by itself: how strong a place is got lost."
            " First the mean over channels, then length 1 over the positions.",
        ),
        Misconception(
            "normalised as one whole",
            lambda x, n, p: F.normalize(_strength(_pooled(x, n), p).flatten(), dim=0).view(len(x), -1),
            "You divided the whole batch by one length. Each image has its own.",
        ),
        Misconception(
            "the power after the mean over channels",
            lambda x, n, p: _unit(_pooled(x, n).abs().mean(1).pow(p)),
            "You took the mean first and the power of it. Formula (4) raises every activation to the power p,"
            " then takes the mean over channels.",
        ),
        Misconception(
            "no absolute value",
            lambda x, n, p: _unit(_pooled(x, n).pow(p).mean(1)),
            "With an odd p negative activations count against positive ones. Formula (4) has |F|.",
        ),
        Misconception(
            "the absolute value of the mean",
            lambda x, n, p: _unit(_pooled(x, n).mean(1).abs().pow(p)),
            "The channels cancel before you take the absolute value: it belongs to every activation.",
        ),
        Misconception(
            "p = 2, whatever was asked for",
            lambda x, n, p: _unit(_strength(_pooled(x, n), 2)),
            "p is an argument. Your map is that of p = 2.",
        ),
        Misconception(
            "no power",
            lambda x, n, p: _unit(_strength(_pooled(x, n), 1)),
            "The power p is missing: see formula (4).",
        ),
        Misconception(
            "the attention map pooled instead of the features",
            _pool_last,
            "Pooling and the power don't commute: average the *features* to the smaller size first, then look"
            " where they are strong.",
        ),
        Misconception(
            "the absolute value before pooling",
            lambda x, n, p: _unit(_strength(_pooled(x.abs(), n), p)),
            "You pooled absolute values. Formula (4) takes features as they are: pool first, so that"
            " opposite signs cancel, then |F|.",
        ),
        Misconception(
            "resized by interpolation",
            lambda x, n, p: _unit(_strength(F.interpolate(x, (n, n), mode="bilinear"), p)),
            "Interpolation looks at a few neighbours of each new position and at no others. Average-pool:"
            " F.adaptive_avg_pool2d.",
        ),
        Misconception(
            "resized without averaging",
            _resized,
            "You picked single positions out of the larger map. Average-pool it: F.adaptive_avg_pool2d.",
        ),
        Misconception(
            "pooled by the maximum",
            lambda x, n, p: _unit(_strength(F.adaptive_max_pool2d(x, n), p)),
            "The features are pooled by their mean: F.adaptive_avg_pool2d.",
        ),
        Misconception(
            "not pooled",
            lambda x, n, p: _unit(_strength(x, p)),
            "The map has to fit one of `size` x `size`: average-pool features that are larger.",
        ),
        Misconception(
            "not normalised",
            lambda x, n, p: _strength(_pooled(x, n), p).flatten(1),
            "Divide each image's map by its length: teacher and student have activations of different size.",
        ),
        Misconception(
            "divided by the sum",
            lambda x, n, p: F.normalize(_strength(_pooled(x, n), p).flatten(1), p=1, dim=1),
            "Your rows add up to 1. Formula (4) gives them length 1: the root of the sum of squares.",
        ),
        Misconception(
            "divided by the sum of squares",
            lambda x, n, p: (lambda m: m / m.square().sum(1, keepdim=True))(
                _strength(_pooled(x, n), p).flatten(1)
            ),
            "The root is missing: formula (4) divides by the length, the *root* of the sum of squares.",
        ),
        Misconception(
            "divided by the largest",
            lambda x, n, p: F.normalize(_strength(_pooled(x, n), p).flatten(1), p=float("inf"), dim=1),
            "Your largest position is 1. Formula (4) gives the whole row length 1.",
        ),
        Misconception(
            "the power as the kind of length",
            lambda x, n, p: F.normalize(_strength(_pooled(x, n), p).flatten(1), p=p, dim=1),
            "The power p belongs to the activations. The length is always the usual one: leave out p= in"
            " F.normalize.",
        ),
        Misconception(
            "a softmax over positions",
            lambda x, n, p: torch.softmax(_strength(_pooled(x, n), p).flatten(1), 1),
            "Activations aren't logits: no exponential here. Divide by the length of the row.",
        ),
        Misconception(
            "the mean over positions",
            lambda x, n, p: F.normalize(_pooled(x, n).abs().pow(p).mean((2, 3)), dim=1),
            "You averaged over space, so that one number per channel is left. The mean goes over the"
            " channels, dim=1.",
        ),
        Misconception(
            "the largest channel",
            lambda x, n, p: _unit(_pooled(x, n).abs().pow(p).amax(1)),
            "That is another kind of attention map (the maximum over channels). Formula (4) takes the mean.",
        ),
        Misconception(
            "not flattened",
            lambda x, n, p: _unit(_strength(_pooled(x, n), p)).view(len(x), n, n),
            "The numbers are right; the shape should be (B, size * size): flatten height and width.",
        ),
    ),
    properties=(
        Property(
            "the same for features of another scale",
            _ignores_scale,
            "Features seven times as large look at the same place.",
        ),
        Property(
            "the same for channels in another order",
            _ignores_the_order_of_channels,
            "Channels have no order: teacher and student number theirs as they like.",
        ),
        Property(
            "finite for a map of zeros",
            _survives_zeros,
            "A dead map has length 0: F.normalize guards the division.",
        ),
    ),
    hints=(
        "Four steps: pool if need be, power, mean over one axis, length 1 over another.",
        "Formula (4) from the inside out: the power comes before the mean over the channels; flatten(1) makes"
        " rows of positions; F.normalize divides by a length, over which axis? Features that are larger are"
        " pooled first (F.adaptive_avg_pool2d).",
        "By hand: channels (3, 0, 1) and (1, 2, 1) at p = 2 give the means (5, 2, 1); their length is"
        " the root of 30, 5.48, so the map is (0.91, 0.37, 0.18).",
    ),
)
