"""The bug of lab 12: a frozen CLIP that its parent's `.train()` wakes up at every epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception
from .lab12_toys import Distiller, state

EPOCHS, RATE = 3, 0.2


def _draw_bug(seed: int) -> tuple[Tensor]:
    return (torch.randn(2, 8, 6),)


def _observe_bug(distil: Any, images: Tensor) -> dict[str, Any]:
    """Three epochs of two batches; validation asks the student, as it finds it, for the first batch."""
    module = Distiller()
    frozen = state(module.clip)
    validated: list[bool] = []

    def validate(student: nn.Module) -> float:
        validated.append(student.training)
        with torch.no_grad():
            return nn.Sequential.forward(student, images[0]).square().mean().item()

    scores = distil(module, list(images), EPOCHS, RATE, validate)
    return {
        "the student's mode at each step (True: train)": list(module.student.modes),
        "the student's mode at each validation": validated,
        "a graph through CLIP": any(module.clip.graphs),
        "CLIP's state": state(module.clip),
        "CLIP is as it was": torch.equal(state(module.clip), frozen),
        "the student's state": state(module.student),
        "the layer's state": state(module.layer),
        "the scores": [float(x) for x in scores],
    }


def distil(
    module: Any, batches: list[Tensor], epochs: int, lr: float, validate: Callable[[nn.Module], float]
) -> list[float]:
    """Train `module.student` and `module.layer` on what the frozen `module.clip` says; a score per epoch."""
    module.clip.eval().requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=lr)
    scores = []
    for _ in range(epochs):
        module.train()
        module.clip.eval()
        for images in batches:
            with torch.no_grad():
                v = module.clip(images)
            loss = F.l1_loss(F.normalize(module.student(images)), F.normalize(module.layer(v)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        module.eval()
        scores.append(validate(module.student))
    return scores


def _loop(
    start: Callable[[Any, int], Any], *, after: Callable[[Any], Any] = nn.Module.eval,
    no_grad: bool = True, frozen: bool = True,
) -> Any:  # fmt: skip
    """The loop with other modes: set at the `start` of an epoch and `after` it."""

    def answer(module: Any, batches: Any, epochs: int, lr: float, validate: Any) -> list[float]:
        module.clip.eval().requires_grad_(not frozen)
        optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=lr)
        scores = []
        for epoch in range(epochs):
            start(module, epoch)
            for images in batches:
                with torch.set_grad_enabled(not no_grad):
                    v = module.clip(images)
                loss = F.l1_loss(F.normalize(module.student(images)), F.normalize(module.layer(v)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            after(module)
            scores.append(validate(module.student))
        return scores

    return answer


def _right(module: Any, epoch: int) -> None:
    module.train()
    module.clip.eval()


def _only_first(module: Any, epoch: int) -> None:
    if epoch == 0:
        _right(module, epoch)


def _then_woken(module: Any, epoch: int) -> None:
    module.train()
    if epoch == 0:
        module.clip.eval()


BUG = Check(
    id="12-bug",
    title="the loop, mended",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_bug,
    observe=_observe_bug,
    reference=distil,
    misconceptions=(
        Misconception(
            "the loop as it was",
            _loop(lambda module, epoch: module.train()),
            "Print module.clip.training inside the inner loop. `module.train()` reaches every part of the"
            " module, CLIP too: an eval() that was called before it no longer counts.",
        ),
        Misconception(
            "nobody in train mode",
            _loop(lambda module, epoch: module.eval()),
            "CLIP is quiet now, but the student trains in eval mode, with BatchNorm statistics that never"
            " move. Only CLIP belongs in eval mode.",
        ),
        Misconception(
            "train mode in the first epoch only",
            _loop(_only_first),
            "Validation leaves everything in eval mode, and from the second epoch on the student trains like"
            " that. Set the student's mode at every epoch, and CLIP's after it.",
        ),
        Misconception(
            "CLIP put to rest in the first epoch only",
            _loop(_then_woken),
            "The first epoch is right. `module.train()` comes back with every epoch, and so must"
            " module.clip.eval().",
        ),
        Misconception(
            "validated in train mode",
            _loop(_right, after=lambda module: None),
            "The training is right. But module.eval() before the validation has gone: a student in train mode"
            " is judged with the statistics of the batch.",
        ),
        Misconception(
            "CLIP asked with its graph",
            _loop(_right, no_grad=False),
            "The modes are right. CLIP still belongs under torch.no_grad(): eval() changes what it computes,"
            " not whether its graph is recorded.",
        ),
        Misconception(
            "CLIP trained as well",
            _loop(_right, no_grad=False, frozen=False),
            "Now CLIP's weights move with the student's: it must stay frozen, requires_grad_(False).",
        ),
    ),
    hints=(
        "Every weight of CLIP is frozen. What else decides what a network answers?",
        "In which mode is module.clip when the first batch of an epoch arrives, and who put it there?",
        "nn.Module.train() walks through all children: after `a.train()`, `a.b.training` is True. Either set"
        " only the parts that learn, or put the frozen one back with .eval() afterwards.",
    ),
)
