"""Check of lab 03 on the training loop that keeps the best epoch by validation."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ...data import Batch
from ..checks import Check, Misconception
from .lab03_loops import after_every_batch, measured_training, read_twice, variant, whole_answer

_EPOCHS = 5


class _Weights(nn.Module):
    """A network of one number, the count of the images it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Parameter(torch.zeros(()), requires_grad=False)


def _draw_loop(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Hits of each batch (5, 3), and validation and test accuracies (5,) with their best in other epochs."""
    while True:
        hits = torch.stack([torch.randint(size + 1, (_EPOCHS,)) for size in (4, 4, 1)], 1)
        train = hits.sum(1).argmax().item()
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
        return 1.25, next(script, 0)

    def measure(model: nn.Module, split: str) -> float:
        log.append(split)
        if split not in scores:
            raise ValueError(f"measure knows 'val' and 'test', not {split!r}")
        return scores[split][max(0, min(_EPOCHS, int(model.seen.item()) // 9) - 1)]

    epochs = [iter([_images(size) for size in (4, 4, 1)]) for _ in range(_EPOCHS)]
    curves = train(student, epochs, step, measure)
    return {
        "steps": log.count("step"),
        "measurements on validation and on test": [log.count("val"), log.count("test")],
        "the curves": curves if isinstance(curves, dict) else type(curves).__name__,
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
            variant(by="test"),
            "The weights you keep are those that the *test* images liked best. Then the test accuracy is no"
            ' longer an estimate for new images: choose by "val".',
        ),
        Misconception(
            "the epoch chosen on the training images",
            variant(by="train"),
            "The weights you keep are the best on the training images, usually the most overfitted. Choose"
            ' by "val".',
        ),
        Misconception(
            "the last epoch's weights",
            variant(keep="last"),
            "The student ends with the weights of its last epoch. Either nothing is loaded at the end, or"
            " you kept student.state_dict() itself: its tensors are the living weights, and go on changing"
            " with them. Keep copy.deepcopy(student.state_dict()). (Or the best value so far is never"
            " written down.)",
        ),
        Misconception(
            "the later of two equal epochs",
            variant(ties=True),
            "Two epochs are equal on validation, and you kept the later one. Keep the first: compare with"
            " >, not with >=.",
        ),
        Misconception(
            "the worst epoch",
            variant(sign=-1),
            "The comparison is the wrong way round: you kept the epoch with the lowest validation accuracy.",
        ),
        Misconception(
            "the mean of the batches' accuracies",
            variant(counts="of batches"),
            "The last batch has a single image and counts as much as a full one. Add up hits and images,"
            " and divide once per epoch.",
        ),
        Misconception(
            "the hits, not their share",
            variant(counts="number"),
            "Your training curve holds numbers of hits: divide by the number of images, the sum of"
            " len(batch.label).",
        ),
        Misconception(
            "divided by the number of batches",
            variant(counts="by batches"),
            "You divide the hits by the number of batches, and so get more than one per image: divide by"
            " the number of images, the sum of len(batch.label).",
        ),
        Misconception(
            "per cent",
            variant(counts="percent"),
            "Your training accuracies are a hundred times what `measure` gives for the others: leave them"
            " as shares between 0 and 1.",
        ),
        Misconception(
            "the loss in place of the accuracy",
            variant(counts="losses"),
            "Your training curve holds losses. step(batch) returns (loss, hits): it is the second of the"
            " two that makes the accuracy.",
        ),
        Misconception(
            "two steps for one batch",
            variant(counts="second call"),
            "Every call of `step` trains: you call it twice for each batch. Call it once and keep both"
            " results: loss, hits = step(batch).",
        ),
        Misconception(
            "both results of the step added up",
            whole_answer,
            "step(batch) returns a pair, (loss, hits): take its second item.",
        ),
        Misconception(
            "the batches read twice",
            read_twice,
            "An epoch can be read once: after the first loop over its batches nothing is left of it. Do the"
            " step and count the images in the same loop.",
        ),
        Misconception(
            "measured after every batch",
            after_every_batch,
            "You measure after every batch; the curves have one value per epoch. Move it out of the inner"
            " loop.",
        ),
        Misconception(
            "the training images measured",
            measured_training,
            "`measure` does not do training images: the hits of the steps, which you get anyway, make that"
            " accuracy.",
        ),
        Misconception(
            "stopped at the first worse epoch",
            variant(stop=True),
            "You stop at the first epoch that is no better. All epochs are run here; only the weights of"
            " the best are kept.",
        ),
        Misconception(
            "the best weights loaded after each epoch",
            variant(each=True),
            "You load the best weights after every epoch, so that training goes on from them: load them"
            " once, when all epochs are over.",
        ),
        Misconception(
            "nothing returned",
            variant(result=False),
            "Trained and chosen, but your function returns None: return the curves.",
        ),
        Misconception(
            "hits carried over from earlier epochs",
            variant(reset=False),
            "From the second epoch on your training accuracy is that of all epochs so far: set both"
            " counters to zero at the start of each.",
        ),
        Misconception(
            "measured before the epoch",
            variant(early=True),
            "Your curves begin with the untrained student, and each epoch is judged by the weights it"
            " started from. Measure after its last batch.",
        ),
    ),
    hints=(
        "Two loops, one inside the other. What starts anew in each epoch, and what is remembered over all?",
        "Inside: two counters, of hits and of images. After the batches: three accuracies to append, and"
        " one comparison, which may keep a copy of the weights. At the very end: load it.",
        "Validation 0.4, 0.6, 0.6, 0.5: best = 0.4 at epoch 1, 0.6 at epoch 2; epoch 3 is not greater, so"
        " the copy of epoch 2 is loaded.",
    ),
)
