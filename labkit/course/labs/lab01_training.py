"""Checks of lab 01 on training: a step of distillation, and evaluation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception
from .lab01_toys import Toy, state

# --- one training step ----------------------------------------------------------------------------------


def _draw_step(seed: int) -> tuple[Tensor, Tensor]:
    return torch.rand(2, 6, 1, 3, 4), torch.randint(4, (2, 6))


def _observe_step(step: Any, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Two steps on one student, from the modes a lab leaves behind: student in eval, teacher in train."""
    student, teacher = Toy().eval(), Toy().train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    batches = zip(images, labels, strict=True)
    losses = [step(student, teacher, optimizer, x, y, 2.0, 0.3) for x, y in batches]
    return {
        "the student's modes (True: train)": student.modes[-1:],
        "the teacher's modes (True: train)": sorted(set(teacher.modes)),
        "the teacher has gradients": any(p.grad is not None for p in teacher.parameters()),
        "the teacher's state": state(teacher),
        "the student's state": state(student),
        "losses": losses,
    }


def train_step(
    student: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    temperature: float,
    hard_weight: float,
) -> float:
    """One step of distillation on a batch; returns the loss as a number."""
    return _step(student, teacher, optimizer, images, labels, temperature, hard_weight)


def _step(
    student: Any, teacher: Any, optimizer: Any, images: Tensor, labels: Tensor, temperature: float,
    hard_weight: float, *, zero: bool = True, update: bool = True, student_mode: bool | None = True,
    teacher_mode: bool | None = False, no_grad: bool = True,
) -> Any:  # fmt: skip
    """The step with each of its parts switchable: one place for the right answer and the wrong ones."""
    if student_mode is not None:
        student.train(student_mode)
    if teacher_mode is not None:
        teacher.train(teacher_mode)
    with torch.set_grad_enabled(not no_grad):
        targets = teacher(images).logits
    logits = student(images).logits
    log_p, q = F.log_softmax(logits / temperature, 1), torch.softmax(targets / temperature, 1)
    soft = temperature**2 * F.kl_div(log_p, q, reduction="batchmean")
    loss = hard_weight * F.cross_entropy(logits, labels) + (1 - hard_weight) * soft
    if zero:
        optimizer.zero_grad()
    loss.backward()
    if update:
        optimizer.step()
    return loss.item()


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _step(*inputs, **switches)


TRAIN_STEP = Check(
    id="01-train-step",
    title="one step of distillation",
    points=3,
    minutes=12,
    difficulty=3,
    draw=_draw_step,
    observe=_observe_step,
    reference=train_step,
    misconceptions=(
        Misconception(
            "gradients never set to zero",
            _variant(zero=False),
            "Gradients of earlier batches pile up: call optimizer.zero_grad() before loss.backward().",
        ),
        Misconception(
            "no optimizer step",
            _variant(update=False),
            "The student's weights don't change: optimizer.step() is missing, or the gradients are set to"
            " zero"
            " between backward() and step().",
        ),
        Misconception(
            "teacher left in train mode",
            _variant(teacher_mode=None),
            "Its dropout is on and its BatchNorm statistics drift with every batch: call teacher.eval().",
        ),
        Misconception(
            "student not put into train mode",
            _variant(student_mode=None),
            "The student comes out of evaluate() in eval mode. Call student.train() at every step.",
        ),
        Misconception(
            "a graph through the teacher",
            _variant(no_grad=False),
            "The teacher's parameters receive gradients: wasted memory, and a risk. Use torch.no_grad().",
        ),
        Misconception(
            "student and teacher modes swapped",
            _variant(student_mode=False, teacher_mode=True),
            "The one that learns is in train mode, the frozen one in eval mode: yours are the other way"
            " round.",
        ),
    ),
    hints=(
        "Six lines: modes, teacher, student, loss, gradient, update. In which mode is each network?",
        "student.train(); teacher.eval(); teacher(images).logits under torch.no_grad(); kd_objective; then"
        " zero_grad, backward, step; return loss.item().",
        "The same skeleton as for any classifier: modes, `with torch.no_grad(): targets = ...`, forward,"
        " loss,"
        " `optimizer.zero_grad(); loss.backward(); optimizer.step()`.",
    ),
)

# --- evaluation -----------------------------------------------------------------------------------------


def _draw_evaluate(seed: int) -> tuple[Tensor, Tensor]:
    return torch.rand(11, 1, 3, 4), torch.randint(4, (11,))


def _observe_evaluate(evaluate: Any, images: Tensor, labels: Tensor) -> dict[str, Any]:
    model = Toy().train()
    with torch.no_grad():
        # Labels the model mostly gets right, batch by batch differently, so that every mistake shows.
        model.norm.running_mean.add_(0.4)
        right = model.eval()(images).logits.argmax(1)
    model.train()
    labels = torch.where(torch.arange(11) < 6, right, labels)
    model.modes.clear(), model.grads.clear()
    batches = list(zip(images.split(4), labels.split(4), strict=True))
    return {
        "the accuracy": evaluate(model, batches),
        "the modes during evaluation (True: train)": sorted(set(model.modes)),
        "gradients are recorded": any(model.grads),
        "the model is in train mode afterwards": model.training,
        "the model's state": state(model),
    }


def evaluate(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Share of images classified correctly, in [0, 1]; leaves the model in the mode it came in."""
    return _evaluate(model, batches)


def _evaluate(
    model: Any, batches: Any, *, eval_mode: bool = True, no_grad: bool = True, restore: bool = True,
    of_batches: bool = False, scale: float = 1.0, count: bool = False,
) -> float:  # fmt: skip
    training = model.training
    if eval_mode:
        model.eval()
    hits, n, shares = 0, 0, []
    with torch.set_grad_enabled(not no_grad):
        for images, labels in batches:
            right = (model(images).logits.argmax(1) == labels).sum().item()
            hits, n = hits + right, n + len(labels)
            shares.append(right / len(labels))
    if restore:
        model.train(training)
    if count:
        return hits
    return scale * (sum(shares) / len(shares) if of_batches else hits / n)


def _evaluation(**switches: Any) -> Any:
    return lambda *inputs: _evaluate(*inputs, **switches)


EVALUATE = Check(
    id="01-evaluate",
    title="the accuracy over all batches",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_evaluate,
    observe=_observe_evaluate,
    reference=evaluate,
    misconceptions=(
        Misconception(
            "evaluation in train mode",
            _evaluation(eval_mode=False),
            "Dropout makes the answer random, and BatchNorm learns from the test images: call model.eval().",
        ),
        Misconception(
            "the mean of the batches' accuracies",
            _evaluation(of_batches=True),
            "The last batch is smaller and counts too much. Count hits and images, divide once at the end.",
        ),
        Misconception(
            "model left in eval mode",
            _evaluation(restore=False),
            "Whoever trains on after this evaluates a network without dropout and with frozen BatchNorm:"
            " remember model.training and put it back.",
        ),
        Misconception(
            "gradients recorded",
            _evaluation(no_grad=False),
            "Nothing is learned here: torch.no_grad() (or inference_mode) saves the memory of the graph.",
        ),
        Misconception("in per cent", _evaluation(scale=100.0), "Return the share, between 0 and 1."),
        Misconception(
            "the number of hits, not their share",
            _evaluation(count=True),
            "Divide the hits by the number of images.",
        ),
    ),
    hints=(
        "In which mode must the model be, and in which mode was it?",
        "Remember model.training; model.eval(); under torch.no_grad() add up hits and images; restore the"
        " mode.",
        "Hits 4 of 4, 3 of 4 and 0 of 1 are 7 of 9 = 0.778; the mean of the batches would be 0.583.",
    ),
)
