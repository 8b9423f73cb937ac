"""Lab 00, find the bug: a frozen teacher that was left in training mode.

`requires_grad_(False)` without `eval()` is what the CIFAR-100 script of ReviewKD does (arXiv 2104.09044).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..checks import Check, Misconception


def _draw_teacher(seed: int) -> tuple[nn.Module, Tensor]:
    """A small network with BatchNorm and Dropout, in training mode as training leaves it, and images."""
    from ...models import build

    teacher = build("digit_cnn", num_classes=4, widths=(3, 5), hidden=6, dropout=0.5).train()
    teacher(torch.rand(16, 1, 8, 8))  # statistics that no later batch has
    return teacher, torch.rand(6, 1, 8, 8) ** 2


def ask_teacher(teacher: nn.Module, images: Tensor) -> Tensor:
    """The logits of a frozen teacher: no gradient, and layers that behave as in use, not as in training."""
    teacher.requires_grad_(False)
    teacher.eval()
    return teacher(images).logits


def _ask_twice(answer, teacher: nn.Module, images: Tensor) -> dict:
    """Ask about all images, then about the first alone; what was learnt from the questions?"""
    together = answer(teacher, images)
    alone = answer(teacher, images[:1])
    moved = [b.float() for name, b in teacher.named_buffers() if "running" in name]
    return {"batch": together, "first image alone": alone, "BatchNorm statistics afterwards": moved}


def _as_given(teacher: nn.Module, images: Tensor) -> Tensor:
    teacher.requires_grad_(False)
    return teacher(images).logits


def _too_late(teacher: nn.Module, images: Tensor) -> Tensor:
    logits = _as_given(teacher, images)
    teacher.eval()
    return logits


def _only(kind: type[nn.Module]):
    def answer(teacher: nn.Module, images: Tensor) -> Tensor:
        for module in teacher.modules():
            if isinstance(module, kind):
                module.eval()
        return _as_given(teacher, images)

    return answer


FROZEN_TEACHER = Check(
    id="00-frozen-teacher",
    title="a teacher whose answer doesn't depend on the company",
    points=2,
    minutes=4,
    difficulty=2,
    draw=_draw_teacher,
    reference=ask_teacher,
    observe=_ask_twice,
    misconceptions=(
        Misconception(
            "the defect is still there",
            _as_given,
            "`requires_grad_(False)` and `no_grad()` stop gradients, and nothing else: what in a network acts"
            " or changes in training even without them?",
        ),
        Misconception(
            "evaluation mode switched on too late",
            _too_late,
            "You found it, but the first question has been answered by then: switch before the forward pass.",
        ),
        Misconception(
            "all that the teacher returns, not only its logits",
            lambda teacher, images: teacher.eval()(images),
            "A network of this course returns its logits, its embedding and its feature maps together: the"
            " first of them is `.logits`.",
        ),
        Misconception(
            "a copy is asked",
            lambda teacher, images: _as_given(copy.deepcopy(teacher), images),
            "Now the original's statistics stay as they were, but the copy still answers as in training:"
            " change its mode, not its identity.",
        ),
        Misconception(
            "every image asked alone",
            lambda teacher, images: torch.cat([_as_given(teacher, image[None]) for image in images]),
            "Alone, an image is compared with its own statistics instead of those of the training set: the"
            " answers agree with each other and are still wrong.",
        ),
        Misconception(
            "only BatchNorm put in evaluation mode",
            _only(nn.BatchNorm2d),
            "BatchNorm now keeps to its stored statistics, but Dropout still switches half of the hidden"
            " units off at random: switch the whole network.",
        ),
        Misconception(
            "only Dropout put in evaluation mode",
            _only(nn.Dropout),
            "Dropout is quiet now, but BatchNorm still uses the statistics of the batch: switch the whole"
            " network.",
        ),
    ),
    hints=(
        "Go through the kinds of layers you know, and ask of each whether it does the same in training as in"
        " use.",
        "BatchNorm uses the batch's own mean and variance while training, and Dropout draws at random;"
        " every `nn.Module` has one method that switches both.",
        "Before `model` is used on new data one writes `model.eval()`, and `model.train()` before"
        " training goes on. Where does such a line belong here?",
    ),
)
