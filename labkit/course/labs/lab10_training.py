"""Check of lab 10 on CoOp's training step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception
from .lab10_toys import ToyLearner


def _draw_step(seed: int) -> tuple[Tensor, Tensor]:
    return F.normalize(torch.randn(3, 7, 6), dim=-1), torch.randint(4, (3, 7))


def _observe_step(step: Any, features: Tensor, labels: Tensor) -> dict[str, Any]:
    """Three steps on one learner with the optimiser of the paper, at a rate that shows."""
    learner = ToyLearner()
    frozen = [p.clone() for p in (learner.names, *learner.tower.parameters())]
    optimizer = torch.optim.SGD([learner.context], lr=0.3, momentum=0.9)
    losses = [step(learner, optimizer, v, y, 2.5) for v, y in zip(features, labels, strict=True)]
    after = (learner.names, *learner.tower.parameters())
    return {
        "a graph behind the returned loss": any(isinstance(x, Tensor) and x.requires_grad for x in losses),
        "the losses": [x.item() if isinstance(x, Tensor) and x.numel() == 1 else x for x in losses],
        "the context": learner.context.detach(),
        "the frozen weights are untouched": all(
            torch.equal(a, b) for a, b in zip(frozen, after, strict=True)
        ),
    }


def coop_step(
    learner: nn.Module, optimizer: torch.optim.Optimizer, features: Tensor, labels: Tensor, scale: float
) -> float:
    """One step on cached unit features (B, E) and labels (B,); returns the loss as a number."""
    text_features = learner()
    loss = F.cross_entropy(scale * features @ text_features.T, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step(
    learner: Any, optimizer: Any, features: Tensor, labels: Tensor, scale: float, *, zero: bool = True,
    update: bool = True, gradient: bool = True, graph: bool = False, power: int = 1, softmax: bool = False,
    reduction: str = "mean", after: bool = False,
) -> Any:  # fmt: skip
    """The step with each of its parts switchable."""
    with torch.set_grad_enabled(gradient):
        head = learner()
    logits = scale**power * features @ head.T
    logits = logits.softmax(1) if softmax else logits
    loss = F.cross_entropy(logits, labels, reduction=reduction)
    if zero:
        optimizer.zero_grad()
    loss.backward()
    if update:
        optimizer.step()
    if after:
        with torch.no_grad():
            loss = F.cross_entropy(scale * features @ learner().T, labels)
    return loss if graph else loss.item()


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _step(*inputs, **switches)


STEP = Check(
    id="10-coop-step",
    title="one step of training the context",
    points=3,
    minutes=8,
    difficulty=2,
    draw=_draw_step,
    observe=_observe_step,
    reference=coop_step,
    misconceptions=(
        Misconception(
            "the text tower asked without gradients",
            _variant(gradient=False),
            "Nothing in the loss depends on a parameter any more: `learner()` ran under torch.no_grad(), or"
            " its result was detached. The tower is frozen, but the gradient must pass through it to V.",
        ),
        Misconception(
            "gradients never set to zero",
            _variant(zero=False),
            "Gradients of earlier batches pile up: call optimizer.zero_grad() before loss.backward().",
        ),
        Misconception(
            "no optimizer step",
            _variant(update=False),
            "The context never changes: optimizer.step() is missing, or the gradients are set to zero between"
            " backward() and step().",
        ),
        Misconception(
            "no logit scale",
            _variant(power=0),
            "Cosines alone can't make a confident prediction: the loss can hardly fall, and the gradient is"
            " small. Multiply by the scale.",
        ),
        Misconception(
            "divided by the scale",
            _variant(power=-1),
            "The scale multiplies the cosines; dividing flattens them further.",
        ),
        Misconception(
            "softmax before the cross-entropy",
            _variant(softmax=True),
            "F.cross_entropy applies the softmax itself: give it logits.",
        ),
        Misconception(
            "summed over the batch",
            _variant(reduction="sum"),
            "Then the learning rate means something else for every batch size: take the mean, the default.",
        ),
        Misconception(
            "the loss returned with its graph",
            _variant(graph=True),
            "Return a number, loss.item(): a list of such tensors keeps every step's graph alive.",
        ),
        Misconception(
            "the loss after the step",
            _variant(after=True),
            "Return the loss this step was taken on; computing it again costs a second pass of the tower.",
        ),
    ),
    hints=(
        "The same skeleton as for any classifier, only that the head is computed by `learner()`.",
        "Head, logits with formula (1) (both sides are unit vectors already), F.cross_entropy, zero_grad,"
        " backward, step, loss.item().",
        "For a linear head: `logits = x @ head.weight.T`. Here: `logits = scale * x @ learner().T`.",
    ),
)
