"""Check of lab 03 on one step of training, with a teacher or without."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import Batch
from ...losses import hinton_kd
from ..checks import Check, Misconception
from .lab03_toys import Toy, state


def _draw_step(seed: int) -> tuple[Tensor, Tensor]:
    return torch.rand(2, 7, 1, 3, 4), torch.randint(4, (2, 7))


def _batch(images: Tensor, labels: Tensor) -> Batch:
    rows = torch.arange(len(labels))
    return Batch(images, labels, rows, 0 * rows, {})


def _observe_step(step: Any, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Two steps with a teacher and two without, from the modes that an evaluation leaves behind."""
    student, teacher, alone = Toy().eval(), Toy().train(), Toy().eval()
    batches = [_batch(x, y) for x, y in zip(images, labels, strict=True)]
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.5) for net in (student, alone)]
    pairs = [step(student, teacher, optimizers[0], batch, 2.0, 0.3) for batch in batches]
    pairs += [step(alone, None, optimizers[1], batch, 2.0, 0.3) for batch in batches]
    losses, hits = zip(*pairs, strict=True)
    return {
        "the student's modes (True: train)": student.modes,
        "the teacher's modes (True: train)": sorted(set(teacher.modes)),
        "a graph through the teacher": any(teacher.graphs),
        "a graph behind the returned loss": any(isinstance(x, Tensor) and x.requires_grad for x in losses),
        "the losses, twice with the teacher and twice alone": [_number(x) for x in losses],
        "the hits": [_number(x) for x in hits],
        "the teacher's state": state(teacher),
        "the student's state": state(student),
        "the state of the student without a teacher": state(alone),
    }


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, Tensor) and x.numel() == 1 else x


def distill_step(
    student: nn.Module,
    teacher: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    temperature: float,
    hard_weight: float,
) -> tuple[float, int]:
    """One step on a batch; returns the loss and how many of its images the student got right."""
    student.train()
    logits = student(batch.image).logits
    loss = F.cross_entropy(logits, batch.label)
    if teacher is not None:
        teacher.eval()
        with torch.no_grad():
            targets = teacher(batch.image).logits
        loss = hard_weight * loss + (1 - hard_weight) * hinton_kd(logits, targets, temperature)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), (logits.argmax(1) == batch.label).sum().item()


def _step(
    student: Any, teacher: Any, optimizer: Any, batch: Batch, temperature: float, hard_weight: float, *,
    train: bool = True, evaluate: bool = True, no_grad: bool = True, zero: bool = True, update: bool = True,
    scaled: bool = False, graph: bool = False, after: bool = False, share: bool = False, swap: bool = False,
    add: bool = False,
) -> Any:  # fmt: skip
    """The step with each of its parts switchable."""
    student.train(train)
    logits = student(batch.image).logits
    hard = F.cross_entropy(logits, batch.label)
    w, loss = (1 - hard_weight if swap else hard_weight), hard
    if teacher is not None:
        if evaluate:
            teacher.eval()
        with torch.set_grad_enabled(not no_grad):
            targets = teacher(batch.image).logits
        loss = (1.0 if add else w) * hard + (1.0 if add else 1 - w) * hinton_kd(logits, targets, temperature)
    elif scaled:
        loss = hard_weight * hard
    if zero:
        optimizer.zero_grad()
    loss.backward()
    if update:
        optimizer.step()
    if after:
        with torch.no_grad():
            logits = student(batch.image).logits
    right = (logits.argmax(1) == batch.label).sum().item()
    return (loss if graph else loss.item()), (right / len(batch.label) if share else right)


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _step(*inputs, **switches)


def _no_student(student: Any, teacher: Any, optimizer: Any, batch: Batch, *rest: float) -> Any:
    with torch.no_grad():
        logits = student.train()(batch.image).logits
    F.cross_entropy(logits, batch.label).backward()


STEP = Check(
    id="03-distill-step",
    title="one step of training, with a teacher or without",
    points=3,
    minutes=10,
    difficulty=2,
    draw=_draw_step,
    observe=_observe_step,
    reference=distill_step,
    misconceptions=(
        Misconception(
            "the student in eval mode",
            _variant(train=False),
            "An evaluation has left the student in eval mode, and so it trains without dropout and with"
            " frozen"
            " BatchNorm: call student.train() at every step.",
        ),
        Misconception(
            "the teacher in train mode",
            _variant(evaluate=False),
            "The teacher's dropout is on, and every batch of the student changes its BatchNorm statistics:"
            " call"
            " teacher.eval().",
        ),
        Misconception(
            "a graph through the teacher",
            _variant(no_grad=False),
            "Ask the teacher under torch.no_grad(): else the graph through the larger network is recorded at"
            " every step, and its memory is paid for.",
        ),
        Misconception(
            "the student asked without gradients",
            _no_student,
            "The loss depends on no parameter: only the teacher belongs under torch.no_grad().",
        ),
        Misconception(
            "the hard weight without a teacher",
            _variant(scaled=True),
            "With teacher=None the loss is the plain cross-entropy; a weight before it would only be a"
            " smaller"
            " learning rate.",
        ),
        Misconception(
            "the weights swapped",
            _variant(swap=True),
            "hard_weight belongs to the labels and 1 - hard_weight to the teacher.",
        ),
        Misconception(
            "both terms with weight one",
            _variant(add=True),
            "The two terms share one unit of weight: hard_weight and 1 - hard_weight.",
        ),
        Misconception(
            "gradients never set to zero",
            _variant(zero=False),
            "Gradients of earlier batches pile up: call optimizer.zero_grad() before loss.backward().",
        ),
        Misconception(
            "no optimizer step",
            _variant(update=False),
            "The student's weights never change: optimizer.step() is missing, or the gradients are set to"
            " zero"
            " before it.",
        ),
        Misconception(
            "the loss returned with its graph",
            _variant(graph=True),
            "Return a number, loss.item(): a list of such tensors keeps the graph of every step alive.",
        ),
        Misconception(
            "the hits counted after the update",
            _variant(after=True),
            "You ask the student a second time. Count the hits with the logits that the loss was made of.",
        ),
        Misconception(
            "the share of hits",
            _variant(share=True),
            "Return the number of hits: batches may differ in size, so the caller adds up and divides once.",
        ),
    ),
    hints=(
        "First write the plain step: mode, logits, cross-entropy, gradient, update. Then add the teacher.",
        "With a teacher: teacher.eval(); targets under torch.no_grad(); loss = hard_weight * cross-entropy +"
        " (1 - hard_weight) * losses.hinton_kd(logits, targets, temperature).",
        "Hits: with logits [[2, 1], [0, 3]] and labels [0, 0] the predictions are [0, 1], so 1 hit:"
        " (logits.argmax(1) == labels).sum().item().",
    ),
)
