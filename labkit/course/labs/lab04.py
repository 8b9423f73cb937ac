"""Checks of lab 04: the connector; the others are beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import Check, Misconception
from ..values import kind
from .lab04_attention import ATTENTION_MAP
from .lab04_bug import BUG
from .lab04_hcl import HCL
from .lab04_hint import HINT_LOSS
from .lab04_objective import OBJECTIVE

# --- connector ------------------------------------------------------------------------------------------


def _draw_connector(seed: int) -> tuple[Tensor, int]:
    """A student's map and the teacher's number of channels."""
    return torch.randn(4, 3, 5, 5) + 0.5, 6


def _observe_connector(make: Any, student_map: Tensor, teacher_channels: int) -> Any:
    """What the module does with weights that don't depend on how it was initialised.

    A convolution's bias is set to 0: before a BatchNorm it changes nothing but the running mean.
    """
    module = make(student_map.shape[1], teacher_channels)
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"connector returned {kind(module)}, not a module: put the parts into one nn.Sequential"
        )
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                part.weight.copy_(_numbers(part.weight))
                if part.bias is not None:
                    part.bias.zero_()
            elif getattr(part, "weight", None) is not None:  # a norm's factor and shift
                part.weight.copy_(_numbers(part.weight))
                part.bias.copy_(_numbers(part.bias) + 1)
    module.train()
    return {
        "the output in training": module(student_map),
        "every parameter trains": all(p.requires_grad for p in module.parameters()),
        "the output in evaluation": module.eval()(student_map),
    }


def _numbers(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(7))


def connector(student_channels: int, teacher_channels: int) -> nn.Module:
    """A 1x1 convolution and a BatchNorm: (B, student_channels, H, W) -> (B, teacher_channels, H, W)."""
    return nn.Sequential(
        nn.Conv2d(student_channels, teacher_channels, kernel_size=1, bias=False),
        nn.BatchNorm2d(teacher_channels),
    )


def _conv(before: int, after: int, kernel: int = 1, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False, **options)


def _frozen(s: int, t: int) -> nn.Module:
    return connector(s, t).requires_grad_(False)


def _chain(*parts: Callable[[int, int], nn.Module]) -> Callable[[int, int], nn.Module]:
    return lambda s, t: nn.Sequential(*(part(s, t) for part in parts))


def _norm(s: int, t: int) -> nn.Module:
    return nn.BatchNorm2d(t)


def _entry(s: int, t: int) -> nn.Module:
    return _conv(s, t)


CONNECTOR = Check(
    id="04-connector",
    title="the connector",
    points=2,
    minutes=6,
    difficulty=1,
    draw=_draw_connector,
    observe=_observe_connector,
    reference=connector,
    misconceptions=(
        Misconception(
            "a ReLU at the end",
            _chain(_entry, _norm, lambda s, t: nn.ReLU()),
            "Where the ReLU clips, the connector gets no gradient, and no value below zero can ever be"
            " reached: formula (2) ends with the norm.",
        ),
        Misconception(
            "no norm",
            _entry,
            "Without the BatchNorm the connector first has to learn the scale of the teacher's map: formula"
            " (2) has two parts.",
        ),
        Misconception(
            "a 3x3 convolution",
            _chain(lambda s, t: _conv(s, t, 3), _norm),
            "Yours mixes neighbouring positions. The connector only translates channels, position by"
            " position: kernel size 1.",
        ),
        Misconception(
            "from the teacher to the student",
            _chain(lambda s, t: _conv(t, s), lambda s, t: nn.BatchNorm2d(s)),
            "The connector takes the student's map to the teacher's width: student_channels in,"
            " teacher_channels out.",
        ),
        Misconception(
            "the norm before the convolution",
            _chain(lambda s, t: nn.BatchNorm2d(s), _entry),
            "The norm comes after the convolution: it is the output that needs the teacher's scale.",
        ),
        Misconception(
            "a hidden layer with a ReLU",
            _chain(_entry, lambda s, t: nn.ReLU(), lambda s, t: _conv(t, t), _norm),
            "So strong a connector could solve the task alone, and the student would learn little. One"
            " convolution, one norm.",
        ),
        Misconception(
            "a ReLU before the norm",
            _chain(_entry, lambda s, t: nn.ReLU(), _norm),
            "A ReLU between the two clips the translation, and where it clips no gradient flows: formula (2)"
            " has a convolution and a norm, nothing else.",
        ),
        Misconception(
            "a norm at the student's width",
            _chain(_entry, lambda s, t: nn.BatchNorm2d(s)),
            "The norm stands behind the convolution: its channels are the teacher's.",
        ),
        Misconception(
            "a norm without its factor and shift",
            _chain(_entry, lambda s, t: nn.BatchNorm2d(t, affine=False)),
            "With affine=False every channel stays at mean 0 and deviation 1, whatever the teacher's has:"
            " the norm must be able to learn its factor and shift.",
        ),
        Misconception(
            "a norm over all channels of an image",
            _chain(_entry, lambda s, t: nn.GroupNorm(1, t)),
            "That norm ties the channels of an image together. BatchNorm2d gives each channel its own mean"
            " and deviation, shared over the batch.",
        ),
        Misconception(
            "a norm of each image by itself",
            _chain(_entry, lambda s, t: nn.InstanceNorm2d(t, affine=True)),
            "That removes from every image how strongly each channel answers, which is information:"
            " BatchNorm2d shares its statistics over the batch.",
        ),
        Misconception(
            "a connector that can't learn",
            _frozen,
            "The connector is learned together with the student: leave its parameters trainable.",
        ),
    ),
    hints=(
        "The channels differ, the positions don't: which layer maps one number of channels to another?",
        "Formula (2) from the inside out: a sum over the student's channels at one position, for each of the"
        " teacher's channels (a convolution: of which kernel size?), then a norm (of which width?), both in"
        " one nn.Sequential.",
        "From 16 channels to 32: nn.Conv2d(16, 32, kernel_size=1, bias=False) has a weight of shape"
        " (32, 16, 1, 1), one row for each of the teacher's channels, and nn.BatchNorm2d(32) follows it.",
    ),
)

CHECKS = [CONNECTOR, HINT_LOSS, ATTENTION_MAP, HCL, OBJECTIVE, BUG]
