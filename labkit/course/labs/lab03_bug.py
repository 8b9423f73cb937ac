"""The bug of lab 03: a pretrained teacher with a fresh head, frozen before anybody trained it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception
from .lab03_toys import Toy, state, trainable

# --- find the bug ---------------------------------------------------------------------------------------


def _draw_bug(seed: int) -> tuple[Tensor, Tensor]:
    return torch.rand(8, 1, 3, 4), torch.randint(3, (8,))


def _observe_bug(distil: Any, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """A teacher with a head for seven classes, a student with one for three, and what happens to them."""
    teacher, student = Toy(classes=7), Toy(classes=3)
    log: list[Any] = []

    def train(network: nn.Module) -> None:
        log.append(["train", "teacher" if network is teacher else "student", trainable(network)])
        parameters = [p for p in network.parameters() if p.requires_grad]
        if parameters:
            network.train()
            F.cross_entropy(network(images).logits[:, :3], labels).backward()
            with torch.no_grad():
                for p in parameters:
                    p -= 0.5 * p.grad

    def distill(learner: nn.Module, guide: nn.Module) -> None:
        log.append(["distill", "teacher" if guide is teacher else "student", trainable(guide)])
        log.append(state(guide))
        log.append([guide.head.out_features, guide.training, trainable(learner)])

    result = distil(teacher, student, 3, train, distill)
    return {
        "what happened, in order (with the number of trainable tensors)": _words(log),
        "the teacher's weights while it teaches": next((x for x in log if isinstance(x, Tensor)), "none"),
        "its classes, its mode, and the student's trainable tensors then": log[-1] if log else [],
        "the student comes back": result is student,
    }


def _words(log: list[Any]) -> str:
    return ", ".join(" ".join(map(str, entry)) for entry in log if isinstance(entry, list))


def distil_from(teacher: Any, student: nn.Module, num_classes: int, train: Any, distill: Any) -> nn.Module:
    """A pretrained teacher, adapted to `num_classes` classes and frozen, teaches the student."""
    teacher.reset_head(num_classes)
    train(teacher)
    teacher.requires_grad_(False)
    teacher.eval()
    distill(student, teacher)
    return student


def _in_order(*order: str, who: str = "teacher") -> Any:
    """The steps in any order; what is left out does not happen."""

    def answer(teacher: Any, student: Any, num_classes: int, train: Any, distill: Any) -> Any:
        acts = {
            "head": lambda: teacher.reset_head(num_classes),
            "train": lambda: train(teacher if who == "teacher" else student),
            "freeze": lambda: teacher.requires_grad_(False),
            "eval": lambda: teacher.eval(),
            "distill": lambda: distill(student, teacher),
            "distill back": lambda: distill(teacher, student),
            "train mode": lambda: teacher.train(),
            "train both": lambda: (train(teacher), train(student)),
            "free the head": lambda: teacher.head.requires_grad_(True),
        }
        for act in order:
            acts[act]()
        return student

    return answer


BUG = Check(
    id="03-bug",
    title="the teacher, mended",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_bug,
    observe=_observe_bug,
    reference=distil_from,
    misconceptions=(
        Misconception(
            "the function as it was",
            _in_order("head", "freeze", "eval", "distill"),
            "Print the teacher's test accuracy before it teaches: with a new head that nobody trained it"
            " can only guess. What has to happen to it first? (teacher.train() only switches its mode.)",
        ),
        Misconception(
            "train mode in place of training",
            _in_order("head", "freeze", "eval", "train mode", "distill"),
            "teacher.train() only switches the mode, and to the wrong one for teaching. train(teacher), the"
            " function that you are given, fits its weights.",
        ),
        Misconception(
            "the head alone",
            _in_order("head", "freeze", "free the head", "train", "freeze", "eval", "distill"),
            "A teacher whose head alone was trained, which is most of the way (section 1). Here let all of"
            " it learn: freeze after the training, not before.",
        ),
        Misconception(
            "a head that stays trainable",
            _in_order("head", "freeze", "free the head", "eval", "train", "distill"),
            "Only the head learns, and it stays trainable while the teacher teaches, in train mode: train"
            " all of it first, then freeze it and switch to eval mode.",
        ),
        Misconception(
            "the student trained as well",
            _in_order("head", "train both", "freeze", "eval", "distill"),
            "The teacher is right now. But the student learns from `distill`; training it on the labels"
            " before is another method.",
        ),
        Misconception(
            "the student teaches",
            _in_order("head", "train", "freeze", "eval", "distill back"),
            "distill(student, teacher) takes the student first: yours trains the teacher on the student's"
            " answers.",
        ),
        Misconception(
            "trained after it was frozen",
            _in_order("head", "freeze", "eval", "train", "distill"),
            "`train` finds nothing to train: every parameter is frozen already. Swap the two.",
        ),
        Misconception(
            "trained before the new head",
            _in_order("train", "head", "freeze", "eval", "distill"),
            "You train the old head, and throw it away in the next line. The new one is as random as before.",
        ),
        Misconception(
            "trained after it has taught",
            _in_order("head", "distill", "train", "freeze", "eval"),
            "By the time the teacher learns, the student has already learned from it.",
        ),
        Misconception(
            "frozen before the new head",
            _in_order("freeze", "head", "train", "eval", "distill"),
            "The new head comes after the freezing, so it alone is trainable: it is all that `train` can"
            " adapt, and it is still trainable while the teacher teaches. Freeze last.",
        ),
        Misconception(
            "the student trained instead",
            _in_order("head", "train", "freeze", "eval", "distill", who="student"),
            "You train the student. It is the teacher whose head is random.",
        ),
        Misconception(
            "no new head",
            _in_order("train", "freeze", "eval", "distill"),
            "Without a new head the teacher speaks of other classes than the student.",
        ),
        Misconception(
            "not frozen",
            _in_order("head", "train", "eval", "distill"),
            "Trained, but now an optimiser may change it while it teaches: freeze it after the training.",
        ),
        Misconception(
            "neither frozen nor in eval mode",
            _in_order("head", "train", "distill"),
            "Trained, but it teaches in train mode, and an optimiser may still change it: keep the two"
            " lines that freeze it.",
        ),
        Misconception(
            "nothing distilled",
            _in_order("head", "train", "freeze", "eval"),
            "A good teacher, who never teaches: the last call, distill(student, teacher), is gone.",
        ),
        Misconception(
            "left in train mode",
            _in_order("head", "train", "freeze", "distill"),
            "`train` leaves the teacher in train mode, and in that mode it now teaches: eval() has to come"
            " after it.",
        ),
    ),
    hints=(
        "No line is wrong; one is missing. What would the teacher's test accuracy be, if somebody printed"
        " it?",
        "Look at what the function is given and never calls, and at what each line leaves behind for the"
        " next.",
        "A pianist takes up the organ and teaches it the same day. What has to come in between?",
    ),
)
