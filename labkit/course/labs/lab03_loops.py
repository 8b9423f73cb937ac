"""Training loops that go wrong, for the check of lab 03."""

from __future__ import annotations

import copy
from typing import Any


def _train(
    student: Any, epochs: Any, step: Any, measure: Any, *, by: str = "val", keep: str = "best",
    counts: str = "hits", reset: bool = True, ties: bool = False, sign: int = 1, early: bool = False,
    stop: bool = False, each: bool = False, result: bool = True,
) -> Any:  # fmt: skip
    """The loop with each of its parts switchable."""
    curves: dict[str, list[float]] = {"train": [], "val": [], "test": []}
    best, kept = -2.0, copy.deepcopy(student.state_dict())
    rights: list[int] = []
    sizes: list[int] = []
    for batches in epochs:
        if early:
            _measured(curves, student, measure)
        rights, sizes = ([], []) if reset else (rights, sizes)
        for batch in batches:
            if counts == "second call":
                step(batch)
            rights.append(step(batch)[1])
            sizes.append(len(batch.label))
        curves["train"].append(_accuracy(rights, sizes, counts))
        if not early:
            _measured(curves, student, measure)
        score = sign * curves[by][-1]
        if score > best or (ties and score == best):
            best, kept = score, copy.deepcopy(student.state_dict())
        elif stop:
            break
        if each:
            student.load_state_dict(kept)
    if keep == "best":
        student.load_state_dict(kept)
    return curves if result else None


def _accuracy(rights: list[int], sizes: list[int], counts: str) -> float:
    shares = [right / size for right, size in zip(rights, sizes, strict=True)]
    return {
        "of batches": sum(shares) / len(shares),
        "number": sum(rights),
        "by batches": sum(rights) / len(rights),
        "percent": 100 * sum(rights) / sum(sizes),
        "losses": 1.25,
    }.get(counts, sum(rights) / sum(sizes))


def _measured(curves: dict[str, list[float]], student: Any, measure: Any) -> None:
    for split in ("val", "test"):
        curves[split].append(measure(student, split))


def after_every_batch(student: Any, epochs: Any, step: Any, measure: Any) -> Any:
    """Measures within the epoch."""
    curves: dict[str, list[float]] = {"train": [], "val": [], "test": []}
    best, kept = -2.0, None
    for batches in epochs:
        hits = images = 0
        for batch in batches:
            hits += step(batch)[1]
            images += len(batch.label)
            _measured(curves, student, measure)
        curves["train"].append(hits / images)
        if curves["val"][-1] > best:
            best, kept = curves["val"][-1], copy.deepcopy(student.state_dict())
    student.load_state_dict(kept)
    return curves


def measured_training(student: Any, epochs: Any, step: Any, measure: Any) -> Any:
    """Asks for the accuracy on a split that is not measured."""
    for batches in epochs:
        for batch in batches:
            step(batch)
        measure(student, "train")


def whole_answer(student: Any, epochs: Any, step: Any, measure: Any) -> Any:
    """Adds up the pair that a step returns."""
    hits = 0
    for batches in epochs:
        for batch in batches:
            hits += step(batch)


def read_twice(student: Any, epochs: Any, step: Any, measure: Any) -> Any:
    """Goes through an epoch's batches a second time, when they are spent."""
    for batches in epochs:
        hits = sum(step(batch)[1] for batch in batches)
        hits / sum(len(batch.label) for batch in batches)


def variant(**switches: Any) -> Any:
    """A loop with these switches."""
    return lambda *inputs: _train(*inputs, **switches)
