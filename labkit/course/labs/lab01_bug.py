"""The bug of lab 01: a loop that trains in eval mode from its second epoch on."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception
from .lab01_toys import Toy, state

# --- find the bug ---------------------------------------------------------------------------------------


def _draw_bug(seed: int) -> tuple[Tensor, Tensor]:
    return torch.rand(3, 4, 1, 3, 4), torch.randint(4, (3, 4))


def _observe_bug(distil: Any, images: Tensor, labels: Tensor) -> dict[str, Any]:
    student = Toy().eval()  # as whoever looked at it last has left it
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        F.cross_entropy(student(x).logits, y).backward()
        optimizer.step()

    def measure(model: nn.Module) -> float:
        model.eval()
        with torch.no_grad():
            logits = model.head(model.norm(images[0].flatten(1)))
        return (logits.argmax(1) == labels[0]).double().mean().item()

    accuracies = distil(student, list(zip(images, labels, strict=True)), 3, step, measure)
    return {
        "the student's mode at each step (True: train)": list(student.modes),
        "the student's state": state(student),
        "the accuracies": list(accuracies),
    }


def distil(student: nn.Module, batches: list, epochs: int, step: Any, measure: Any) -> list[float]:
    """Train for some epochs, measuring after each; `measure` leaves the student in eval mode."""
    accuracies = []
    for _ in range(epochs):
        student.train()
        for images, labels in batches:
            step(images, labels)
        accuracies.append(measure(student))
    return accuracies


def _distil_once(student: nn.Module, batches: list, epochs: int, step: Any, measure: Any) -> list[float]:
    accuracies = []
    student.train()
    for _ in range(epochs):
        for images, labels in batches:
            step(images, labels)
        accuracies.append(measure(student))
    return accuracies


def _distil_without_measuring(
    student: nn.Module, batches: list, epochs: int, step: Any, measure: Any
) -> list:
    student.train()
    for _ in range(epochs):
        for images, labels in batches:
            step(images, labels)
    return [measure(student)]


BUG = Check(
    id="01-bug",
    title="the epoch loop, mended",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_bug,
    observe=_observe_bug,
    reference=distil,
    misconceptions=(
        Misconception(
            "the loop as it was",
            _distil_once,
            "Print student.training at each step: True in the first epoch, False ever after. Who switched it"
            " off, and who should switch it on again?",
        ),
        Misconception(
            "the measurement removed",
            _distil_without_measuring,
            "That hides the symptom, and each epoch's accuracy with it. Keep measuring; restore the mode.",
        ),
    ),
    hints=(
        "The first epoch is fine. What is different when the second one begins?",
        "measure() leaves the student in eval mode. The call that undoes it must run once per epoch.",
        "KD-Lib's training loop had this defect: dropout off and BatchNorm frozen from the second epoch on."
        " One line moves.",
    ),
)
