"""Check of lab 14 on PAND's first stage: class texts that are learned on cached image features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...methods.calibration import clipped_step
from ...methods.coop import coop_rate
from ..checks import Check, Misconception
from .lab10_toys import ToyLearner

Pairs = Iterable[tuple[Tensor, Tensor]]
_EPOCHS, _RATE, _SCALE = 5, 3.0, 4.0


@cache  # a check draws anew for every answer
def _draw_calibrate(seed: int) -> tuple[int, Tensor, Tensor, Tensor, Tensor]:
    """A learner's seed, its training batches, and validation images on which two middle epochs are the best.

    Training images and the validation loss prefer others: only then do all ways to choose an epoch differ.
    """
    for key in range(1000 * seed, 1000 * seed + 100):
        torch.manual_seed(key)
        features, labels = F.normalize(torch.randn(2, 8, 6), dim=-1), torch.randint(4, (2, 8))
        seen: list[Tensor] = []
        none = torch.zeros(1, 6), torch.zeros(1, dtype=torch.long)
        watched = partial(_calibrate, watch=seen.append)
        _observe_calibrate(watched, key, features, labels, *none)
        train = [accuracy(anchors, features.flatten(0, 1), labels.flatten()) for anchors in seen]
        pool = F.normalize(torch.randn(400, 6), dim=-1)
        guesses = torch.stack([(pool @ anchors.T).argmax(1) for anchors in seen])  # (epochs, 400)
        for first, second in combinations(range(1, _EPOCHS - 1), 2):
            told = (guesses[first] == guesses[second]) & (guesses[first] != guesses[-1])
            val = pool[told], guesses[first, told]
            hits = [accuracy(anchors, *val) for anchors in seen] if told.any() else []
            losses = [F.cross_entropy(_SCALE * val[0] @ anchors.T, val[1]).item() for anchors in seen]
            others = {losses.index(min(losses)), train.index(max(train))}
            if hits.count(1.0) == 2 and others.isdisjoint({first, second}):
                return key, features, labels, *val
    raise AssertionError("no draw on which the ways to choose an epoch differ")  # a test tries several seeds


def _observe_calibrate(
    calibrate: Any, key: int, features: Tensor, labels: Tensor, held: Tensor, held_labels: Tensor
) -> dict[str, Any]:
    torch.manual_seed(key)
    learner = ToyLearner()
    asked: list[int] = []

    def batches(epoch: int) -> Pairs:
        asked.append(epoch)
        order = [(i + epoch) % len(features) for i in range(len(features))]
        return [(features[i], labels[i]) for i in order]

    anchors = calibrate(learner, batches, (held, held_labels), _EPOCHS, _RATE, _SCALE)
    return {
        "a graph behind the anchors": bool(isinstance(anchors, Tensor) and anchors.requires_grad),
        "the epochs asked for": asked,
        "the anchors": anchors.detach() if isinstance(anchors, Tensor) else anchors,
        "the context at the end": learner.context.detach(),
    }


def accuracy(anchors: Tensor, features: Tensor, labels: Tensor) -> float:
    """Share of images (N, E) whose nearest anchor (C, E) is that of their class (N,)."""
    return ((features @ anchors.T).argmax(1) == labels).float().mean().item()


def calibrate(
    learner: nn.Module, batches: Callable[[int], Pairs], val: tuple[Tensor, Tensor], epochs: int, lr: float,
    scale: float,
) -> Tensor:  # fmt: skip
    """Learn a context on cached features; the anchors (C, E) of the epoch that is best on validation images.

    Args:
        learner: called without arguments it gives the anchors as they are now, with gradient.
        batches: epoch -> pairs of features (B, E) and labels (B,).
        val: features (N, E) and labels (N,).
        epochs: how many, counted from 0.
        lr: the first epoch's rate, on a cosine to zero.
        scale: what cosines are multiplied by.
    """
    optimizer = torch.optim.SGD(learner.parameters(), lr=lr, momentum=0.9)
    best, kept = -1.0, None
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = coop_rate(epoch, epochs, lr, warmup=0)
        for features, labels in batches(epoch):
            clipped_step(learner, optimizer, features, labels, scale)
        anchors = learner().detach()
        if accuracy(anchors, *val) > best:
            best, kept = accuracy(anchors, *val), anchors
    return kept


def _calibrate(
    learner: Any, batches: Any, val: Any, epochs: int, lr: float, scale: float, *, momentum: float = 0.9,
    rate: Any = lambda e, n, lr: coop_rate(e, n, lr, warmup=0), chosen: str = "first", graph: bool = False,
    first_epoch: int = 0, watch: Any = None, factor: float = 1.0,
) -> Any:  # fmt: skip
    """The calibration with each of its parts switchable."""
    optimizer = torch.optim.SGD(learner.parameters(), lr=lr, momentum=momentum)
    best, kept = -float("inf"), None
    for epoch in range(first_epoch, epochs + first_epoch):
        optimizer.param_groups[0]["lr"] = rate(epoch - first_epoch, epochs, lr)
        seen = list(batches(epoch))
        for features, labels in seen:
            clipped_step(learner, optimizer, features, labels, factor * scale)
        anchors = learner()
        anchors = anchors if graph else anchors.detach()
        if watch:
            watch(anchors.detach())
        judged = tuple(map(torch.cat, zip(*seen, strict=True))) if chosen == "train" else val
        score = accuracy(anchors, *judged)
        if chosen == "loss":
            score = -F.cross_entropy(scale * val[0] @ anchors.T, val[1]).item()
        if score > best or (score == best and chosen == "last of equals") or chosen == "last":
            best, kept = score, anchors
    return learner().detach() if chosen == "none" else kept


def _wrong(**switches: Any) -> Any:
    return lambda *inputs: _calibrate(*inputs, **switches)


CALIBRATE = Check(
    id="14-calibrate",
    title="anchors from a learned context",
    points=4,
    minutes=15,
    difficulty=3,
    draw=_draw_calibrate,
    observe=_observe_calibrate,
    reference=calibrate,
    misconceptions=(
        Misconception(
            "the last epoch's anchors",
            _wrong(chosen="last"),
            "The last epoch need not be the best: keep the anchors whenever the validation accuracy is higher"
            " than it ever was.",
        ),
        Misconception(
            "chosen on the training images",
            _wrong(chosen="train"),
            "On the images that it was trained on, a later epoch nearly always looks better. Measure on val.",
        ),
        Misconception(
            "the last of equally good epochs",
            _wrong(chosen="last of equals"),
            "Of equally good epochs the first counts: keep new anchors only where the accuracy is *higher*"
            " (>, not >=).",
        ),
        Misconception(
            "chosen by the validation loss",
            _wrong(chosen="loss"),
            "The epoch with the least loss need not be the one with the most hits. Choose by accuracy.",
        ),
        Misconception(
            "one rate all along",
            _wrong(rate=lambda e, n, lr: lr),
            "The rate never falls: set optimizer.param_groups[0]['lr'] at the start of every epoch.",
        ),
        Misconception(
            "the rate of the next epoch",
            _wrong(rate=lambda e, n, lr: coop_rate(e + 1, n, lr, warmup=0)),
            "The rate is one epoch ahead: formula (2) starts at lr, with n = 0.",
        ),
        Misconception(
            "a first epoch at a tiny rate",
            _wrong(rate=lambda e, n, lr: coop_rate(e, n, lr)),
            "That is lab 10's warm-up, the default of coop_rate. PAND has none: warmup=0.",
        ),
        Misconception(
            "no momentum",
            _wrong(momentum=0.0),
            "SGD without momentum creeps: the recipe says momentum=0.9.",
        ),
        Misconception(
            "epochs counted from one",
            _wrong(first_epoch=1),
            "batches(epoch) draws another order for every epoch; the first epoch is number 0.",
        ),
        Misconception(
            "the anchors kept with their graph",
            _wrong(graph=True),
            "The anchors still carry the graph through the text tower: the student's gradient would go on"
            " into it, and its memory is never freed. Detach them.",
        ),
        Misconception(
            "trained on bare cosines",
            _wrong(factor=1 / _SCALE),
            "The step was taken with a scale of 1: hand it the scale.",
        ),
    ),
    hints=(
        "One loop over epochs: set the rate, take the steps, measure on val, remember the best anchors.",
        "`coop_rate(epoch, epochs, lr, warmup=0)` is formula (2); `clipped_step` does formula (1) for one"
        " batch; after the steps `learner().detach()` are the anchors, (C, E).",
        "The skeleton of every early stopping: `best, kept = -1.0, None`, and after each epoch `if score >"
        " best: best, kept = score, what_you_have_now`.",
    ),
)
