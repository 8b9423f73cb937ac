"""The bug of lab 14: a cosine whose length has nothing to do with the training's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from ..checks import Check, Misconception

_LR, _FLOOR = 0.02, 1e-3


def _draw_bug(seed: int) -> tuple[Tensor, Tensor, int]:
    """Three batches, and a number of epochs."""
    return torch.randn(3, 5, 3), torch.randint(4, (3, 5)), 5 + seed % 5


def _observe_bug(train: Any, features: Tensor, labels: Tensor, epochs: int) -> dict[str, Any]:
    student = nn.Linear(3, 4)
    pairs = list(zip(features, labels, strict=True))
    rates = train(student, pairs, epochs, _LR, _FLOOR)
    return {
        "the rates": [float(rate) for rate in rates],
        "the student": torch.cat([p.detach().flatten() for p in student.parameters()]),
    }


def train_student(
    student: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]], epochs: int, lr: float, floor: float
) -> list[float]:
    """Train over `pairs` of (features, labels) in every epoch, the rate on one cosine; each epoch's rate.

    Args:
        student: gives logits.
        pairs: the batches.
        epochs: how many.
        lr: the first epoch's rate.
        floor: what the rate comes down to after the last one.
    """
    optimizer = torch.optim.AdamW(student.parameters(), lr=lr)
    schedule = CosineAnnealingLR(optimizer, T_max=epochs, eta_min=floor)
    rates = []
    for _ in range(epochs):
        rates.append(schedule.get_last_lr()[0])
        for features, labels in pairs:
            loss = F.cross_entropy(student(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return rates


Made = Callable[[torch.optim.Optimizer, int, float, int], Any]


def _train(made: Made, *, every_step: bool = False, before: bool = False) -> Any:
    """The loop with another schedule, or another place to step it."""

    def answer(student: nn.Module, pairs: list, epochs: int, lr: float, floor: float) -> list[float]:
        optimizer = torch.optim.AdamW(student.parameters(), lr=lr)
        schedule = made(optimizer, epochs, floor, len(pairs))
        rates = []
        for _ in range(epochs):
            if before:
                schedule.step()
            rates.append(schedule.get_last_lr()[0])
            for features, labels in pairs:
                loss = F.cross_entropy(student(features), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if every_step:
                    schedule.step()
            if not (every_step or before):
                schedule.step()
        return rates

    return answer


def _cosine(length: Callable[[int, int], int], floor: float | None = None) -> Made:
    return lambda optimizer, epochs, low, batches: CosineAnnealingLR(
        optimizer, T_max=length(epochs, batches), eta_min=low if floor is None else floor
    )


def _constant(optimizer: torch.optim.Optimizer, epochs: int, floor: float, batches: int) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)


BUG = Check(
    id="14-bug",
    title="the second stage's schedule, mended",
    points=2,
    minutes=6,
    difficulty=2,
    draw=_draw_bug,
    observe=_observe_bug,
    reference=train_student,
    misconceptions=(
        Misconception(
            "the training as it was",
            _train(_cosine(lambda epochs, batches: 100)),
            "Print the rates of 220 epochs: they fall for a while, and then? T_max is half a period of the"
            " cosine.",
        ),
        Misconception(
            "the length of one training",
            _train(_cosine(lambda epochs, batches: 300)),
            "That suits 300 epochs and no other number: the function is told how many there are.",
        ),
        Misconception(
            "the length in batches",
            _train(_cosine(lambda epochs, batches: epochs * batches)),
            "The schedule advances once an epoch, so its length counts epochs. Measured in batches it stops"
            " half-way.",
        ),
        Misconception(
            "advanced with every batch",
            _train(_cosine(lambda epochs, batches: epochs), every_step=True),
            "T_max counts calls of schedule.step(). With one for every batch the cosine is through too soon,"
            " and rises again.",
        ),
        Misconception(
            "no schedule",
            _train(_constant),
            "The rate doesn't fall at all any more.",
        ),
        Misconception(
            "down to zero",
            _train(_cosine(lambda epochs, batches: epochs, floor=0.0)),
            "The length is right. The floor was, too: eta_min=floor.",
        ),
        Misconception(
            "at the floor an epoch early",
            _train(_cosine(lambda epochs, batches: epochs - 1)),
            "Nearly: now the last epoch is spent at the floor. It is to be reached *after* the last epoch.",
        ),
        Misconception(
            "half of the cosine",
            _train(_cosine(lambda epochs, batches: 2 * epochs)),
            "T_max is the time from the top to the floor, not a whole period: now the rate ends half-way.",
        ),
        Misconception(
            "the schedule ahead of its epoch",
            _train(_cosine(lambda epochs, batches: epochs), before=True),
            "The length is right, but the schedule now advances before the epoch, so that the first rate is"
            " never used. It stood at the right place.",
        ),
    ),
    hints=(
        "Draw what the function returns for 50, 100, 200 and 300 epochs.",
        "A cosine that is not told the number of epochs can't know when to be at its floor. See T_max in the"
        " documentation of CosineAnnealingLR.",
        "T_max is the number of calls of schedule.step() from lr down to eta_min. With 12 epochs and one call"
        " each that is 12.",
    ),
)
