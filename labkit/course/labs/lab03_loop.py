"""Check of lab 03 on the training loop that keeps the best epoch by validation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ...data import Batch
from ..checks import Check, Misconception

_EPOCHS = 5


class _Weights(nn.Module):
    """A network of one number, the count of the images it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Parameter(torch.zeros(()), requires_grad=False)


def _draw_loop(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Hits of each batch (5, 3), and validation and test accuracies (5,) with their best in other epochs."""
    hits = torch.stack([torch.randint(size + 1, (_EPOCHS,)) for size in (4, 4, 1)], 1)
    train = hits.sum(1).argmax().item()
    while True:
        val = torch.randint(20, 80, (_EPOCHS,))
        test = torch.randint(20, 80, (_EPOCHS,))
        first = int(val.argmax())
        later = int((first + 1 + torch.randint(_EPOCHS - 1, ())) % _EPOCHS)
        if first < later < _EPOCHS - 1:
            val[later] = val[first]  # a tie: the earlier epoch counts
            best = {first, later, int(test.argmax()), int(val.argmin()), _EPOCHS - 1, train}
            if len(best) >= 5 and train not in (first, later) and train != _EPOCHS - 1:
                return hits, val / 100, test / 100


def _observe_loop(train: Any, hits: Tensor, val: Tensor, test: Tensor) -> dict[str, Any]:
    """Five epochs of three batches with 4, 4 and 1 images; steps and measurements follow a script."""
    student, log = _Weights(), []
    script, scores = iter(hits.flatten().tolist()), {"val": val.tolist(), "test": test.tolist()}

    def step(batch: Batch) -> tuple[float, int]:
        student.seen += len(batch.label)
        log.append("step")
        return 1.0, next(script)

    def measure(model: nn.Module, split: str) -> float:
        log.append(split)
        return scores[split][max(0, min(_EPOCHS, int(model.seen.item()) // 9) - 1)]

    epochs = [iter([_images(size) for size in (4, 4, 1)]) for _ in range(_EPOCHS)]
    curves = train(student, epochs, step, measure)
    return {
        "steps": log.count("step"),
        "measurements on validation and on test": [log.count("val"), log.count("test")],
        "the curves": {name: list(values) for name, values in curves.items()},
        "images that the kept weights were trained on": student.seen.item(),
    }


def _images(size: int) -> Batch:
    rows = torch.arange(size)
    return Batch(torch.zeros(size, 1, 2, 2), rows, rows, rows, {})


def train(student: nn.Module, epochs: list, step: Any, measure: Any) -> dict[str, list[float]]:
    """Train epoch by epoch, keep the curves, and leave the student with its best weights on validation."""
    curves: dict[str, list[float]] = {"train": [], "val": [], "test": []}
    best, kept = -1.0, None
    for batches in epochs:
        hits = images = 0
        for batch in batches:
            hits += step(batch)[1]
            images += len(batch.label)
        curves["train"].append(hits / images)
        for split in ("val", "test"):
            curves[split].append(measure(student, split))
        if curves["val"][-1] > best:
            best, kept = curves["val"][-1], copy.deepcopy(student.state_dict())
    student.load_state_dict(kept)
    return curves


def _train(
    student: Any, epochs: Any, step: Any, measure: Any, *, by: str = "val", keep: str = "best",
    of_batches: bool = False, reset: bool = True, ties: bool = False, sign: int = 1, early: bool = False,
) -> Any:  # fmt: skip
    """The loop with each of its parts switchable."""
    curves: dict[str, list[float]] = {"train": [], "val": [], "test": []}
    best, kept = -2.0, copy.deepcopy(student.state_dict())
    hits = images = 0
    for batches in epochs:
        if early:
            for split in ("val", "test"):
                curves[split].append(measure(student, split))
        shares = []
        hits, images = (0, 0) if reset else (hits, images)
        for batch in batches:
            right = step(batch)[1]
            hits, images = hits + right, images + len(batch.label)
            shares.append(right / len(batch.label))
        curves["train"].append(sum(shares) / len(shares) if of_batches else hits / images)
        if not early:
            for split in ("val", "test"):
                curves[split].append(measure(student, split))
        score = sign * curves[by][-1]
        if score > best or (ties and score == best):
            best, kept = score, copy.deepcopy(student.state_dict())
    if keep == "best":
        student.load_state_dict(kept)
    return curves


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _train(*inputs, **switches)


LOOP = Check(
    id="03-train-loop",
    title="the training loop",
    points=4,
    minutes=14,
    difficulty=3,
    draw=_draw_loop,
    observe=_observe_loop,
    reference=train,
    misconceptions=(
        Misconception(
            "the epoch chosen on the test images",
            _variant(by="test"),
            "The weights you keep are those that the *test* images liked best. Then the test accuracy is no"
            ' longer an estimate for new images: choose by "val".',
        ),
        Misconception(
            "the epoch chosen on the training images",
            _variant(by="train"),
            "The weights you keep are the best on the training images, usually the most overfitted. Choose by"
            ' "val".',
        ),
        Misconception(
            "the last epoch's weights",
            _variant(keep="last"),
            "The student ends with the weights of its last epoch. Either nothing is loaded at the end, or you"
            " kept student.state_dict() itself: its tensors are the living weights, and go on changing with"
            " them. Keep copy.deepcopy(student.state_dict()).",
        ),
        Misconception(
            "the later of two equal epochs",
            _variant(ties=True),
            "Two epochs are equal on validation, and you kept the later one. Keep the first: compare with >,"
            " not"
            " with >=.",
        ),
        Misconception(
            "the worst epoch",
            _variant(sign=-1),
            "The comparison is the wrong way round: you kept the epoch with the lowest validation accuracy.",
        ),
        Misconception(
            "the mean of the batches' accuracies",
            _variant(of_batches=True),
            "The last batch has a single image and counts as much as a full one. Add up hits and images, and"
            " divide once per epoch.",
        ),
        Misconception(
            "hits carried over from earlier epochs",
            _variant(reset=False),
            "From the second epoch on your training accuracy is that of all epochs so far: set both counters"
            " to"
            " zero at the start of each.",
        ),
        Misconception(
            "measured before the epoch",
            _variant(early=True),
            "Your curves begin with the untrained student, and each epoch is judged by the weights it started"
            " from. Measure after its last batch.",
        ),
    ),
    hints=(
        "Two loops, one inside the other. What starts anew in each epoch, and what is remembered over all?",
        "Inside: add up step(batch)[1] and len(batch.label). After the batches: append three accuracies; if"
        " the"
        " validation accuracy is the best so far, keep a deep copy of student.state_dict(). At the end: load"
        " it.",
        "Validation 0.4, 0.6, 0.6, 0.5: best = 0.4 at epoch 1, 0.6 at epoch 2; epoch 3 is not greater, so the"
        " copy of epoch 2 is loaded.",
    ),
)
