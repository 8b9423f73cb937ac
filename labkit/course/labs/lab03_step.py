"""Check of lab 03 on one step of training, with a teacher or without."""

from __future__ import annotations

from collections.abc import Callable
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


Loss = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]  # (hard, logits, targets, T, w)


def _right_loss(hard: Tensor, z: Tensor, t: Tensor, heat: float, w: float) -> Tensor:
    return w * hard + (1 - w) * hinton_kd(z, t, heat)


def _step(
    student: Any, teacher: Any, optimizer: Any, batch: Batch, temperature: float, hard_weight: float, *,
    train: bool = True, evaluate: bool = True, no_grad: bool = True, zero: bool = True, update: bool = True,
    scaled: bool = False, graph: bool = False, after: bool = False, hits: str = "count",
    mixed: Loss = _right_loss,
) -> Any:  # fmt: skip
    """The step with each of its parts switchable."""
    student.train(train)
    logits = student(batch.image).logits
    loss = F.cross_entropy(logits, batch.label)
    if teacher is not None:
        if evaluate:
            teacher.eval()
        with torch.set_grad_enabled(not no_grad):
            targets = teacher(batch.image).logits
        loss = mixed(loss, logits, targets, temperature, hard_weight)
    elif scaled:
        loss = hard_weight * loss
    if zero:
        optimizer.zero_grad()
    loss.backward()
    if update:
        optimizer.step()
    if after:
        with torch.no_grad():
            logits = student(batch.image).logits
    right = (logits.argmax(1) == batch.label).sum().item()
    if hits == "one place":  # the largest logit of the whole batch
        right = (logits.argmax() == batch.label).sum().item()
    return (loss if graph else loss.item()), (right / len(batch.label) if hits == "share" else right)


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _step(*inputs, **switches)


def _mixed(mixed: Loss) -> Any:
    return _variant(mixed=mixed)


def _teacher_first(student: Any, teacher: Any, *rest: Any) -> Any:
    teacher.eval()
    return distill_step(student, teacher, *rest)


def _teacher_asked(student: Any, teacher: Any, optimizer: Any, batch: Batch, *rest: float) -> Any:
    teacher(batch.image)
    return distill_step(student, teacher, optimizer, batch, *rest)


def _whole_output(student: Any, teacher: Any, optimizer: Any, batch: Batch, *rest: float) -> Any:
    return F.cross_entropy(student(batch.image), batch.label)


def _no_student(student: Any, teacher: Any, optimizer: Any, batch: Batch, *rest: float) -> Any:
    with torch.no_grad():
        logits = student.train()(batch.image).logits
    F.cross_entropy(logits, batch.label).backward()


_NO_TEACHER = (
    "Your function asks the teacher although there is none: with teacher=None the step is the plain one. Put"
    " all that concerns the teacher under `if teacher is not None:`."
)
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
            " frozen BatchNorm: call student.train() at every step.",
        ),
        Misconception(
            "the teacher in train mode",
            _variant(evaluate=False),
            "The teacher's dropout is on, and every batch of the student changes its BatchNorm statistics:"
            " call teacher.eval().",
        ),
        Misconception(
            "a graph through the teacher",
            _variant(no_grad=False),
            "Ask the teacher under torch.no_grad(): else the graph through the larger network is recorded"
            " at every step, and its memory is paid for.",
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
            " smaller learning rate.",
        ),
        Misconception(
            "the weights swapped",
            _mixed(lambda hard, z, t, heat, w: (1 - w) * hard + w * hinton_kd(z, t, heat)),
            "hard_weight belongs to the labels and 1 - hard_weight to the teacher.",
        ),
        Misconception(
            "both terms with weight one",
            _mixed(lambda hard, z, t, heat, w: hard + hinton_kd(z, t, heat)),
            "The two terms share one unit of weight: hard_weight and 1 - hard_weight.",
        ),
        Misconception(
            "the labels at full weight",
            _mixed(lambda hard, z, t, heat, w: hard + (1 - w) * hinton_kd(z, t, heat)),
            "With a teacher the cross-entropy is multiplied by hard_weight; yours still has weight one.",
        ),
        Misconception(
            "the teacher at full weight",
            _mixed(lambda hard, z, t, heat, w: w * hard + hinton_kd(z, t, heat)),
            "The teacher's term is multiplied by 1 - hard_weight; yours has weight one.",
        ),
        Misconception(
            "the labels left out",
            _mixed(lambda hard, z, t, heat, w: (1 - w) * hinton_kd(z, t, heat)),
            "With a teacher your loss has lost its first term, hard_weight times the cross-entropy.",
        ),
        Misconception(
            "the teacher's term alone",
            _mixed(lambda hard, z, t, heat, w: hinton_kd(z, t, heat)),
            "With a teacher your loss is the soft term alone: formula (1) has both terms, weighted by"
            " hard_weight and 1 - hard_weight.",
        ),
        Misconception(
            "student and teacher swapped",
            _mixed(lambda hard, z, t, heat, w: w * hard + (1 - w) * hinton_kd(t, z, heat)),
            "You pass the logits in the wrong order: it is losses.hinton_kd(student's, teacher's,"
            " temperature). The divergence is not symmetric, so the value differs.",
        ),
        Misconception(
            "the factor of T squared twice",
            _mixed(lambda hard, z, t, heat, w: w * hard + (1 - w) * heat**2 * hinton_kd(z, t, heat)),
            "losses.hinton_kd contains the factor of T squared already: leave yours out.",
        ),
        Misconception(
            "softened before the loss",
            _mixed(lambda hard, z, t, heat, w: w * hard + (1 - w) * hinton_kd(z / heat, t / heat, heat)),
            "losses.hinton_kd divides by the temperature itself: pass the logits as they are.",
        ),
        Misconception(
            "probabilities in place of logits",
            _mixed(
                lambda hard, z, t, heat, w: w * hard + (1 - w) * hinton_kd(z.softmax(1), t.softmax(1), heat)
            ),
            "losses.hinton_kd takes logits and does the softmax itself.",
        ),
        Misconception(
            "the teacher's probabilities in place of its logits",
            _mixed(lambda hard, z, t, heat, w: w * hard + (1 - w) * hinton_kd(z, t.softmax(1), heat)),
            "losses.hinton_kd takes the teacher's logits, too, and does the softmax itself.",
        ),
        Misconception(
            "the temperature not used",
            _mixed(lambda hard, z, t, heat, w: w * hard + (1 - w) * hinton_kd(z, t, 1.0)),
            "Your soft term has temperature 1: pass `temperature` on to losses.hinton_kd.",
        ),
        Misconception("the mode of a teacher that is not there", _teacher_first, _NO_TEACHER),
        Misconception("a teacher that is not there asked", _teacher_asked, _NO_TEACHER),
        Misconception(
            "the output in place of its logits",
            _whole_output,
            "A network of labkit returns several things: take network(images).logits.",
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
            " zero before it.",
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
            "one prediction for the whole batch",
            _variant(hits="one place"),
            "logits.argmax() is one number for the whole batch: each image has its own prediction,"
            " logits.argmax(1).",
        ),
        Misconception(
            "the share of hits",
            _variant(hits="share"),
            "Return the number of hits: batches may differ in size, so the caller adds up and divides once.",
        ),
    ),
    hints=(
        "First write the plain step: mode, logits, cross-entropy, gradient, update. Then add the teacher.",
        "With a teacher three things are added: its mode, its logits for the same images without a graph,"
        " and the second term of formula (1), which losses.hinton_kd gives you.",
        "Hits: with logits [[2, 1], [0, 3]] and labels [0, 0] the predictions are [0, 1], so 1 hit:"
        " (logits.argmax(1) == labels).sum().item().",
    ),
)
