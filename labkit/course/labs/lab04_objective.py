"""The whole objective of lab 04: labels, hints at several layers, and the teacher's responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    hard: float = 1.0, divide: float = 1.0, take: slice = slice(None), shift: int = 0, loud: float = 1.0,
    pick: Callable = lambda position, layer: (position, layer), detach: Sequence[str] = ("teacher",),
    soft: Callable = lambda student, teacher, t: hinton_kd(student, teacher, t),
    read: Callable = lambda student, teacher: student,
) -> Tensor:  # fmt: skip
    """The objective with each of its parts switchable, for the wrong answers.

    Args:
        student, teacher, labels, connectors, layers, weight, kd_weight, temperature: see `objective`.
        hard, loud: factors of the labels and of the responses.
        divide: what the sum of the hints is divided by.
        take: which entries of `layers` count.
        shift: added to every layer.
        pick: (position, layer) -> (which connector, which layer).
        detach: which sides of the hints get no gradient.
        soft: (student's logits, teacher's, T) -> what the responses ask.
        read: (student's logits, teacher's) -> what the labels are compared with.
    """
    total = hard * F.cross_entropy(read(student.logits, teacher.logits), labels)
    hints = []
    for position, layer in list(enumerate(layers))[take]:
        link, layer = pick(position, layer)
        pair = {
            "student": connectors[link](student.maps[layer + shift]),
            "teacher": teacher.maps[layer + shift],
        }
        hints.append(F.mse_loss(*(x.detach() if side in detach else x for side, x in pair.items())))
    responses = soft(student.logits, teacher.logits, temperature)
    return total + loud * kd_weight * responses + weight * sum(hints) / divide


def _switched(**switches: Any) -> Any:
    return lambda *inputs: _variant(*inputs, **switches)


def _backwards(
    student: Output, teacher: Output, labels: Tensor, connectors: Sequence[nn.Module],
    layers: Sequence[int], *_: float,
) -> Tensor:  # fmt: skip
    (link, layer), *_ = zip(connectors, layers, strict=True)
    return hint_loss(student.maps[layer], link(teacher.maps[layer]))


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
            _switched(pick=lambda position, layer: (layer, layer)),
            "connectors[layer] is one too many: there is one connector for each *entry* of `layers`, so for"
            " layers (1, 3) they are numbers 0 and 1. Walk along both with zip.",
        ),
        Misconception(
            "maps picked by the connector's number",
            _switched(pick=lambda position, layer: (position, position)),
            "Connector 0 belongs to the layer that stands first in `layers`, which need not be layer 0:"
            " walk along both with zip, and take maps[layer].",
        ),
        Misconception(
            "one connector for all layers",
            _switched(pick=lambda position, layer: (0, layer)),
            "Every layer has a connector of its own: walk along connectors and layers with zip.",
        ),
        Misconception(
            "the connector on the teacher's map",
            _backwards,
            "The connector takes the *student's* map to the teacher's width; the teacher's map stays as it"
            " is.",
        ),
        Misconception(
            "student and teacher swapped in the hints",
            _switched(detach=("student",)),
            "hint_loss takes the student's connected map first, then the teacher's, which it detaches: yours"
            " teaches the teacher.",
        ),
        Misconception(
            "the hints forgotten",
            _switched(divide=float("inf")),
            "No map is compared: add weight times the sum of the hints.",
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
            "the teacher's logits with the labels",
            _switched(read=lambda student, teacher: teacher),
            "Your cross-entropy is the *teacher's*, which learns no more: it takes student.logits.",
        ),
        Misconception(
            "a softmax before the cross-entropy",
            _switched(read=lambda student, teacher: student.softmax(1)),
            "F.cross_entropy takes logits, it has the softmax in it: yours applies two.",
        ),
        Misconception(
            "the responses forgotten",
            _switched(loud=0.0),
            "The teacher's logits are not used: add kd_weight times hinton_kd.",
        ),
        Misconception(
            "the responses without their weight",
            _switched(loud=1 / KD_WEIGHT),
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
            _switched(loud=WEIGHT),
            "`weight` belongs to the sum of the hints alone; the responses have kd_weight.",
        ),
        Misconception(
            "the responses once for each layer",
            _switched(loud=float(len(LAYERS))),
            "The responses are added in every turn of the loop over layers: they belong behind it, once.",
        ),
        Misconception(
            "the two weights exchanged",
            lambda *inputs: _variant(*inputs[:5], inputs[6], inputs[5], inputs[7]),
            "`weight` belongs to the hints, `kd_weight` to the responses: yours are exchanged.",
        ),
        Misconception(
            "the temperature left out",
            _switched(soft=lambda s, t, T: hinton_kd(s, t)),
            "hinton_kd has a temperature of its own where it is given none: pass `temperature`.",
        ),
        Misconception(
            "a temperature of 1",
            _switched(soft=lambda s, t, T: hinton_kd(s, t, 1.0)),
            "The responses are not softened: pass `temperature` to hinton_kd.",
        ),
        Misconception(
            "a second T²",
            _switched(soft=lambda s, t, T: T**2 * hinton_kd(s, t, T)),
            "hinton_kd already contains T².",
        ),
        Misconception(
            "student and teacher swapped in the responses",
            _switched(soft=lambda s, t, T: hinton_kd(t, s, T)),
            "hinton_kd takes the student's logits first, then the teacher's.",
        ),
        Misconception(
            "a gradient into the teacher",
            _switched(detach=()),
            "The value is right, but the teacher's maps receive a gradient: call your hint_loss, or detach"
            " them.",
        ),
    ),
    hints=(
        "Three terms: one from the labels, one from the logits, one that runs over layers.",
        "Formula (7): zip(connectors, layers) walks along both; each turn gives one hint_loss of a connected"
        " student's map and a teacher's. `weight` multiplies their sum, `kd_weight` the responses.",
        "With cross-entropy 1.2, hints 0.03 and 0.05, weight 10, distillation loss 0.4 and kd_weight 0.5:"
        " 1.2 + 10 x 0.08 + 0.5 x 0.4 = 2.2.",
    ),
)
