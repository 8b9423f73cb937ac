"""The whole objective of lab 04: labels, hints at several layers, and the teacher's responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...losses import hinton_kd
from ...models import Output
from ..checks import Check, Misconception
from .lab04_hint import hint_loss

LAYERS, WEIGHT, KD_WEIGHT, TEMPERATURE = (1, 3), 3.0, 0.4, 2.0


def _draw_objective(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Logits and four maps of a student and of a teacher with other channels, and labels."""
    student = torch.randn(5, 7), torch.randn(4, 5, 3, 4, 4)
    teacher = 2 * torch.randn(5, 7), torch.randn(4, 5, 6, 4, 4) + 0.3
    return student[0], teacher[0], student[1], teacher[1], torch.randint(7, (5,))


def _observe_objective(
    answer: Any, student_logits: Tensor, teacher_logits: Tensor, student_maps: Tensor, teacher_maps: Tensor,
    labels: Tensor,
) -> Any:  # fmt: skip
    student, teacher = (
        Output(logits, maps[-1].mean((2, 3)), tuple(maps), maps[-1])
        for logits, maps in ((student_logits, student_maps), (teacher_logits, teacher_maps))
    )
    connectors = nn.ModuleList(nn.Conv2d(3, 6, 1) for _ in LAYERS)
    return answer(student, teacher, labels, connectors, LAYERS, WEIGHT, KD_WEIGHT, TEMPERATURE)


def objective(
    student: Output, teacher: Output, labels: Tensor, connectors: Sequence[nn.Module],
    layers: Sequence[int], weight: float, kd_weight: float, temperature: float,
) -> Tensor:  # fmt: skip
    """Cross-entropy, hints at some layers and softened responses, weighted; a scalar.

    Args:
        student, teacher: outputs on the same images.
        labels: (B,).
        connectors: one for each entry of `layers`, in that order.
        layers: positions among the four maps.
        weight: of the sum of the hints.
        kd_weight: of the distillation loss at this temperature.
        temperature: T.
    """
    hints = [
        hint_loss(connector(student.maps[layer]), teacher.maps[layer])
        for connector, layer in zip(connectors, layers, strict=True)
    ]
    responses = hinton_kd(student.logits, teacher.logits, temperature)
    return F.cross_entropy(student.logits, labels) + weight * sum(hints) + kd_weight * responses


def _variant(
    student: Output, teacher: Output, labels: Tensor, connectors: Sequence[nn.Module],
    layers: Sequence[int], weight: float, kd_weight: float, temperature: float, *,
    hard: float | None = None, divide: float = 1.0, take: slice = slice(None), shift: int = 0,
    by_id: bool = False, on_all: bool = False, soft: float | None = None, swap: bool = False,
    detach: bool = True, squared: bool = False,
) -> Tensor:  # fmt: skip
    """The objective with each of its parts switchable, for the wrong answers."""
    total = F.cross_entropy(student.logits, labels) * (1.0 if hard is None else hard)
    hints = []
    for position, layer in list(enumerate(layers))[take]:
        connected = connectors[layer if by_id else position](student.maps[layer + shift])
        target = teacher.maps[layer + shift]
        hints.append(F.mse_loss(connected, target.detach() if detach else target))
    first, second = (teacher, student) if swap else (student, teacher)
    responses = hinton_kd(first.logits, second.logits, temperature) * (temperature**2 if squared else 1)
    total = total + (kd_weight if soft is None else soft) * responses * (weight if on_all else 1)
    return total + weight * sum(hints) / divide


def _switched(**switches: Any) -> Any:
    return lambda *inputs: _variant(*inputs, **switches)


OBJECTIVE = Check(
    id="04-objective",
    title="hints at several layers, labels and responses together",
    points=3,
    minutes=10,
    difficulty=3,
    draw=_draw_objective,
    observe=_observe_objective,
    reference=objective,
    differentiable=(0, 1, 2, 3),
    misconceptions=(
        Misconception(
            "connectors picked by the layer's number",
            _switched(by_id=True),
            "connectors[layer] is one too many: there is one connector for each *entry* of `layers`, so for"
            " layers (1, 3) they are numbers 0 and 1. Walk along both with zip.",
        ),
        Misconception(
            "the mean over the layers",
            _switched(divide=len(LAYERS)),
            "Formula (7) sums over the layers. A mean would halve the weight with every second layer.",
        ),
        Misconception(
            "only the first layer",
            _switched(take=slice(1)),
            "The loop ends too early: every entry of `layers` has its term.",
        ),
        Misconception(
            "only the last layer",
            _switched(take=slice(-1, None)),
            "Each turn of your loop replaces the hint of the one before: add them up.",
        ),
        Misconception(
            "the layers counted from 1",
            _switched(shift=-1),
            "Layer 1 is maps[1]: the maps are numbered 0 to 3.",
        ),
        Misconception(
            "the labels forgotten",
            _switched(hard=0.0),
            "The cross-entropy with the labels is missing.",
        ),
        Misconception(
            "the responses forgotten",
            _switched(soft=0.0),
            "The teacher's logits are not used: add kd_weight times hinton_kd.",
        ),
        Misconception(
            "the responses without their weight",
            _switched(soft=1.0),
            "kd_weight is not used: multiply the distillation loss by it.",
        ),
        Misconception(
            "the weights of labels and responses add up to one",
            _switched(hard=1 - KD_WEIGHT),
            "That is lab 01's convention. In formula (7) the cross-entropy has no weight.",
        ),
        Misconception(
            "the hints without their weight",
            _switched(divide=WEIGHT),
            "`weight` is not used: the hints are small numbers and would hardly count.",
        ),
        Misconception(
            "the hints' weight on the responses too",
            _switched(on_all=True),
            "`weight` belongs to the sum of the hints alone; the responses have kd_weight.",
        ),
        Misconception(
            "a second T²",
            _switched(squared=True),
            "hinton_kd already contains T².",
        ),
        Misconception(
            "student and teacher swapped in the responses",
            _switched(swap=True),
            "hinton_kd takes the student's logits first, then the teacher's.",
        ),
        Misconception(
            "a gradient into the teacher",
            _switched(detach=False),
            "The value is right, but the teacher's maps receive a gradient: call your hint_loss, or detach"
            " them.",
        ),
    ),
    hints=(
        "Three terms: one from the labels, one from the logits, one that runs over layers.",
        "Formula (7): F.cross_entropy(student.logits, labels) + weight * (sum over zip(connectors, layers) of"
        " hint_loss(connector(student.maps[layer]), teacher.maps[layer])) + kd_weight * hinton_kd(...).",
        "With cross-entropy 1.2, hints 0.03 and 0.05, weight 10, distillation loss 0.4 and kd_weight 0.5:"
        " 1.2 + 10 x 0.08 + 0.5 x 0.4 = 2.2.",
    ),
)
