"""The bug of lab 04: a connector that belongs to the loss, and so to no optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models import Output
from ..checks import Check, Misconception

LAYER, RATE = 1, 0.2


class _Net(nn.Module):
    """A classifier of four convolutions, without BatchNorm, whose statistics would move by themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = [2] + [width] * 4
        self.convs = nn.ModuleList(nn.Conv2d(channels[i], width, 1) for i in range(4))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Output:
        maps = []
        for conv in self.convs:
            x = torch.tanh(conv(x))
            maps.append(x)
        embedding = x.mean((2, 3))
        return Output(self.head(embedding), embedding, tuple(maps), x)


class Hint(nn.Module):
    """The hint loss with its connector inside, as public code builds it."""

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.connector = nn.Conv2d(student_channels, teacher_channels, 1)

    def forward(self, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        return F.mse_loss(self.connector(student_map), teacher_map.detach())


def _draw_bug(seed: int) -> tuple[Tensor, Tensor]:
    return torch.randn(4, 3, 2, 4, 4), torch.randint(3, (4, 3))


def _observe_bug(phase_one: Any, images: Tensor, labels: Tensor) -> dict[str, Any]:
    student, teacher, hint = _Net(3), _Net(5).requires_grad_(False).eval(), Hint(3, 5)
    losses = phase_one(student, teacher, hint, list(zip(images, labels, strict=True)), LAYER, RATE)
    upper = [*student.convs[LAYER + 1 :].parameters(), *student.head.parameters()]
    return {
        "the losses": [float(x) for x in losses],
        "the student up to the hint": _flat(student.convs[: LAYER + 1].parameters()),
        "the student above the hint": _flat(upper),
        "the connector": _flat(hint.parameters()),
        "the teacher": _flat(teacher.parameters()),
    }


def _flat(parameters: Iterable[Tensor]) -> Tensor:
    return torch.cat([p.detach().flatten() for p in parameters])


def phase_one(
    student: nn.Module, teacher: nn.Module, hint: nn.Module, pairs: Iterable, layer: int, lr: float
) -> list[float]:
    """FitNet's first phase over `pairs` of (images, labels): hints alone. The loss of each step."""
    optimizer = torch.optim.SGD([*student.parameters(), *hint.parameters()], lr=lr)
    losses = []
    for images, _ in pairs:
        with torch.no_grad():
            target = teacher(images).maps[layer]
        loss = hint(student(images).maps[layer], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


Trained = Callable[[nn.Module, nn.Module], Iterator[nn.Parameter] | list[nn.Parameter]]


def _phase(trained: Trained, *, at: int = 0, labels_too: bool = False) -> Any:
    """The phase with other parameters in the optimiser, another layer, or the labels' loss as well."""

    def answer(
        student: nn.Module, teacher: nn.Module, hint: nn.Module, pairs: Iterable, layer: int, lr: float
    ) -> list[float]:
        optimizer = torch.optim.SGD(list(trained(student, hint)), lr=lr)
        losses = []
        for images, y in pairs:
            with torch.no_grad():
                target = teacher(images).maps[layer + at]
            out = student(images)
            loss = hint(out.maps[layer + at], target)
            if labels_too:
                loss = loss + F.cross_entropy(out.logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return answer


def _both(student: nn.Module, hint: nn.Module) -> list[nn.Parameter]:
    return [*student.parameters(), *hint.parameters()]


def _second_connector(
    student: nn.Module, teacher: nn.Module, hint: nn.Module, pairs: Iterable, layer: int, lr: float
) -> list[float]:
    """A connector of the answer's own, between two networks' maps, trained in place of the hint's."""
    link = nn.Conv2d(student.convs[layer].out_channels, teacher.convs[layer].out_channels, 1)
    return phase_one(student, teacher, _Bare(link), pairs, layer, lr)


class _Bare(nn.Module):
    def __init__(self, link: nn.Module) -> None:
        super().__init__()
        self.link = link

    def forward(self, student_map: Tensor, teacher_map: Tensor) -> Tensor:
        return F.mse_loss(self.link(student_map), teacher_map)


BUG = Check(
    id="04-bug",
    title="the first phase, mended",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_bug,
    observe=_observe_bug,
    reference=phase_one,
    misconceptions=(
        Misconception(
            "the phase as it was",
            _phase(lambda student, hint: student.parameters()),
            "Compare the connector's weights before and after: they never move. Which parameters has the"
            " optimiser been given?",
        ),
        Misconception(
            "only the connector",
            _phase(lambda student, hint: hint.parameters()),
            "Now the connector learns and the student doesn't. Both belong in the optimiser.",
        ),
        Misconception(
            "the labels' loss added",
            _phase(_both, labels_too=True),
            "The connector learns now, but the cross-entropy moves the later layers as well: in FitNet's"
            " first phase they rest, and the labels are not used.",
        ),
        Misconception(
            "the labels' loss added instead of the connector",
            _phase(lambda student, hint: student.parameters(), labels_too=True),
            "The first phase needs no labels; and the connector still doesn't move. Look at what the"
            " optimiser was given.",
        ),
        Misconception(
            "a second connector",
            _second_connector,
            "`hint` has its connector inside already: no new one is needed, the old one must reach the"
            " optimiser.",
        ),
        Misconception(
            "another layer",
            _phase(_both, at=1),
            "The layer was right: maps[layer] of both networks. What was missing is in the optimiser, and"
            " nothing else.",
        ),
    ),
    hints=(
        "The loss falls, since the student bends towards a random translation. What should have moved"
        " as well?",
        "Compare the weights of `student`, `teacher` and `hint` before and after a phase: which should have"
        " moved, and did not?",
        "An optimiser updates what it was handed, no more: torch.optim.SGD([*a.parameters(),"
        " *b.parameters()], lr=...) trains two modules.",
    ),
)
