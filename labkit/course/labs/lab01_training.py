"""Checks of lab 01 on training: a step of distillation, and evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...losses import kd_objective
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
        "a graph through the teacher": any(teacher.graphs),
        "a graph behind the returned loss": any(isinstance(x, Tensor) and x.requires_grad for x in losses),
        "the losses": [x.item() if isinstance(x, Tensor) and x.numel() == 1 else x for x in losses],
        "the teacher's state": state(teacher),
        "the student's state": state(student),
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
    student.train()
    teacher.eval()
    with torch.no_grad():
        teacher_logits = teacher(images).logits
    student_logits = student(images).logits
    loss = kd_objective(student_logits, teacher_logits, labels, temperature, hard_weight)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step(
    student: Any, teacher: Any, optimizer: Any, images: Tensor, labels: Tensor, temperature: float,
    hard_weight: float, *, zero: bool = True, update: bool = True, student_mode: bool | None = True,
    teacher_mode: bool | None = False, no_grad: bool = True, with_graph: bool = False,
) -> Any:  # fmt: skip
    """The step with each of its parts switchable, for the wrong answers."""
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
    return loss if with_graph else loss.item()


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
            "Ask the teacher under torch.no_grad(). Detaching its logits afterwards is too late: the graph,"
            " and"
            " the memory for it, is there already.",
        ),
        Misconception(
            "the loss returned with its graph",
            _variant(with_graph=True),
            "Return a number, loss.item(): whoever keeps this tensor keeps the whole graph of the step"
            " alive.",
        ),
        Misconception(
            "temperature and hard_weight swapped",
            lambda *inputs: _step(*inputs[:5], inputs[6], inputs[5]),
            "Look at the order of kd_objective's arguments: temperature, then hard_weight.",
        ),
        Misconception(
            "a loss that doesn't depend on the student",
            lambda student, *rest: student(rest[2]).logits.detach().sum().backward(),
            "Either the student was asked under torch.no_grad() as well, or student and teacher are swapped"
            " in"
            " the call of kd_objective.",
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
    """One model that comes in train mode and one in eval mode; the batches come one by one."""
    model, other = Toy(), Toy().eval()
    with torch.no_grad():
        # Labels the model mostly gets right, batch by batch differently, so that every mistake shows.
        model.norm.running_mean.add_(0.4)
        right = model.eval()(images).logits.argmax(1)
    labels = torch.where(torch.arange(11) < 6, right, labels)
    model.train()
    model.modes.clear(), model.grads.clear()
    accuracies = [evaluate(net, zip(images.split(4), labels.split(4), strict=True)) for net in (model, other)]
    return {
        "the modes during evaluation (True: train)": sorted(set(model.modes)),
        "gradients are recorded": any(model.grads),
        "the modes afterwards of a model in train and one in eval mode": [model.training, other.training],
        "the accuracies": accuracies,
        "the model's state": state(model),
    }


def evaluate(model: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Share of images classified correctly, in [0, 1]; leaves the model in the mode it came in."""
    was_training = model.training
    model.eval()
    hits = images_seen = 0
    with torch.no_grad():
        for images, labels in pairs:
            hits += (model(images).logits.argmax(1) == labels).sum().item()
            images_seen += len(labels)
    model.train(was_training)
    return hits / images_seen


def _evaluate(
    model: Any, batches: Any, *, eval_mode: bool = True, no_grad: bool = True, restore: bool = True,
    always_train: bool = False, of_batches: bool = False, scale: float = 1.0, count: bool = False,
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
        model.train(training or always_train)
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
            "model always put into train mode",
            _evaluation(always_train=True),
            "A model that came in eval mode leaves in train mode: remember model.training and put that back.",
        ),
        Misconception(
            "the number of batches asked for",
            lambda model, pairs: len(pairs),
            "`pairs` may be a generator, which has no length: add up len(labels) as the batches come.",
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
