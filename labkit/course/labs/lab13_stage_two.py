"""Check of lab 13 on a training step of stage 2."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models import Output
from ..checks import Check, Misconception
from .lab13_sra import sra, variant

_SHARE, _WEIGHT = 0.35, 2.5


class _Student(nn.Module):
    """A classifier with one convolution and a BatchNorm, whose map has as many channels as the target."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Output:
        final = torch.tanh(self.norm(self.conv(x)))
        embedding = final.mean((2, 3))
        return Output(self.head(embedding), embedding, (final,) * 4, final)


def _draw_step(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.rand(2, 6, 2, 4, 4), torch.randint(4, (2, 6)), torch.randn(2, 6, 3, 2, 2)


def _observe_step(step: Any, images: Tensor, labels: Tensor, targets: Tensor) -> dict[str, Any]:
    """Two steps, from the eval mode that an evaluation leaves behind; the optimiser holds both modules."""
    student, adapter = _Student().eval(), nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()
    optimizer = torch.optim.SGD([*student.parameters(), *adapter.parameters()], lr=0.4)
    batches = zip(images, labels, targets, strict=True)
    losses = [step(student, adapter, optimizer, x, y, m, _SHARE, _WEIGHT) for x, y, m in batches]
    return {
        "a graph behind the returned loss": any(isinstance(x, Tensor) and x.requires_grad for x in losses),
        "the losses": [x.item() if isinstance(x, Tensor) and x.numel() == 1 else x for x in losses],
        "the student's state": {k: v for k, v in student.state_dict().items() if v.is_floating_point()},
        "the adapter's state": {k: v for k, v in adapter.state_dict().items() if v.is_floating_point()},
    }


def stage_two_step(
    student: nn.Module, adapter: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor,
    labels: Tensor, target: Tensor, share: float, weight: float = 1.0,
) -> float:  # fmt: skip
    """One step of DAIT-F's second stage; returns the loss as a number."""
    student.train()
    adapter.train()
    out = student(images)
    loss = share * F.cross_entropy(out.logits, labels)
    loss = loss + (1 - share) * weight * sra(adapter(out.final_map), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step(
    student: Any, adapter: Any, optimizer: Any, images: Tensor, labels: Tensor, target: Tensor, share: float,
    weight: float = 1.0, *, hard: Any = lambda s, w: s, soft: Any = lambda s, w: (1 - s) * w,
    modes: tuple[bool, bool] = (True, True), zero: bool = True, update: bool = True,
    graph: bool = False, adapted: str = "student", gradient: bool = True, twice: bool = False,
) -> Any:  # fmt: skip
    """The step with each of its parts switchable, for the wrong answers."""
    for net, mode in zip((student, adapter), modes, strict=True):
        if mode:
            net.train()
    with torch.set_grad_enabled(gradient):
        out = student(images)
        if twice:
            student(images)
        seen = adapter(out.final_map) if adapted == "student" else out.final_map
        goal = adapter(target) if adapted == "teacher" else target
    aligned = variant(seen, goal, detach=(False, adapted != "teacher"))
    ce = F.cross_entropy(out.logits, labels)
    loss = hard(share, weight) * ce + soft(share, weight) * aligned
    if zero:
        optimizer.zero_grad()
    loss.backward()
    if update:
        optimizer.step()
    return loss if graph else loss.item()


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _step(*inputs, **switches)


STAGE_TWO = Check(
    id="13-stage-two",
    title="one step of stage 2",
    points=3,
    minutes=9,
    difficulty=3,
    draw=_draw_step,
    observe=_observe_step,
    reference=stage_two_step,
    misconceptions=(
        Misconception(
            "the shares exchanged",
            _variant(hard=lambda s, w: 1 - s, soft=lambda s, w: s * w),
            "lambda weighs the labels, 1 - lambda the maps: yours are the other way round.",
        ),
        Misconception(
            "halved as in stage 1",
            _variant(soft=lambda s, w: (1 - s) / 2 * w),
            "The half belongs to stage 1, where two terms share the weight. Here SRA has all of it.",
        ),
        Misconception(
            "the labels without their weight",
            _variant(hard=lambda s, w: 1.0),
            "`share` does not weigh the cross-entropy.",
        ),
        Misconception(
            "the maps without their weight",
            _variant(soft=lambda s, w: w),
            "1 - share does not weigh SRA.",
        ),
        Misconception(
            "the weight left out",
            _variant(soft=lambda s, w: 1 - s),
            "`weight` is not used: it turns the mean over channels into the explainer's sum, say.",
        ),
        Misconception(
            "the weight on the labels, too",
            _variant(hard=lambda s, w: s * w),
            "`weight` belongs to SRA alone.",
        ),
        Misconception(
            "the maps forgotten",
            _variant(soft=lambda s, w: 0.0),
            "Nothing comes from the intermediate: add (1 - share) * weight * sra(...).",
        ),
        Misconception(
            "the labels forgotten",
            _variant(hard=lambda s, w: 0.0),
            "The cross-entropy is missing: the student's head would never learn anything.",
        ),
        Misconception(
            "no adapter",
            _variant(adapted="nobody"),
            "The student's map must go through the adapter before it is compared. (Here both maps have as"
            " many channels by chance.)",
        ),
        Misconception(
            "the adapter on the intermediate's side",
            _variant(adapted="teacher"),
            "The adapter translates the *student's* map. On the other side it could map the target to a"
            " constant, and the loss would fall with nothing learned.",
        ),
        Misconception(
            "the student left in eval mode",
            _variant(modes=(False, True)),
            "The student comes out of an evaluation in eval mode: call student.train() in every step.",
        ),
        Misconception(
            "the adapter left in eval mode",
            _variant(modes=(True, False)),
            "The adapter has a BatchNorm as well: adapter.train().",
        ),
        Misconception(
            "both left in eval mode",
            _variant(modes=(False, False)),
            "Both networks come in eval mode, where BatchNorm uses old statistics: student.train() and"
            " adapter.train().",
        ),
        Misconception(
            "the student asked twice",
            _variant(twice=True),
            "The weights are right, but the student ran twice, which doubles the time and moves its"
            " BatchNorm statistics twice: take logits and map from one output.",
        ),
        Misconception(
            "gradients never set to zero",
            _variant(zero=False),
            "Gradients of earlier batches pile up: call optimizer.zero_grad() before loss.backward().",
        ),
        Misconception(
            "no optimizer step",
            _variant(update=False),
            "The weights don't change: optimizer.step() is missing, or the gradients are set to zero between"
            " backward() and step().",
        ),
        Misconception(
            "the loss returned with its graph",
            _variant(graph=True),
            "Return a number, loss.item(): whoever keeps this tensor keeps the whole step's graph alive.",
        ),
        Misconception(
            "a loss that doesn't depend on the student",
            _variant(gradient=False),
            "The student was asked under torch.no_grad(). Only the intermediate is frozen, and its map"
            " comes ready-made.",
        ),
    ),
    hints=(
        "Who learns in this step, and in which mode must both be?",
        "student.train(); adapter.train(); out = student(images); formula (6) with your sra; zero_grad,"
        " backward, step; return loss.item().",
        "With lambda 0.2, cross-entropy 2.0, SRA 0.5 and weight 3: 0.2 x 2.0 + 0.8 x 3 x 0.5 = 1.6.",
    ),
)
