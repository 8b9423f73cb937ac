"""Checks of lab 13: lambda; the losses, the two stages and the review are beside it."""

from __future__ import annotations

from typing import Any

import torch

from ..checks import Check, Misconception, Property
from .lab13_ira import IRA
from .lab13_review import REVIEW
from .lab13_sia import SIA
from .lab13_sra import SRA
from .lab13_stage_one import STAGE_ONE
from .lab13_stage_two import STAGE_TWO

# --- lambda ---------------------------------------------------------------------------------------------

_LINES = ((0.5, 0.0), (0.5, 0.5), (0.0, 0.3), (1.6, -0.2), (-0.9, 0.6))  # (k, b); the last two are clipped


def _draw_lambda(seed: int) -> tuple[int, int, int, int]:
    """An epoch and a step of it, in a stage of so many epochs of so many steps."""
    epochs, steps = (int(torch.randint(low, high, ())) for low, high in ((11, 17), (5, 10)))
    return int(torch.randint(2, epochs - 2, ())), int(torch.randint(1, steps, ())), steps, epochs


def _observe_lambda(answer: Any, epoch: int, step: int, steps: int, epochs: int) -> dict[str, Any]:
    """Every line at the drawn step, and at the first and the last one of the stage."""
    times = {"the first step": (0, 0), "some step": (epoch, step), "the last step": (epochs - 1, steps - 1)}
    return {
        f"k = {k}, b = {b}, {name}": float(answer(*when, steps, epochs, k, b))
        for k, b in _LINES
        for name, when in times.items()
    }


def labels_share(epoch: int, step: int, steps: int, epochs: int, k: float = 0.5, b: float = 0.0) -> float:
    """lambda = clip(k e + b, 0, 1), with e the share of the stage that is done."""
    e = (epoch + step / steps) / epochs
    return min(1.0, max(0.0, k * e + b))


def _line(e: Any, *, low: float = 0.0, high: float = 1.0, swap: bool = False, rest: bool = False) -> Any:
    """lambda with another e(epoch, step, steps, epochs), other limits, or k and b exchanged."""

    def answer(epoch: int, step: int, steps: int, epochs: int, k: float = 0.5, b: float = 0.0) -> float:
        first, second = (b, k) if swap else (k, b)
        share = min(high, max(low, first * e(epoch, step, steps, epochs) + second))
        return 1 - share if rest else share

    return answer


def _e(epoch: int, step: int, steps: int, epochs: int) -> float:
    return (epoch + step / steps) / epochs


def _starts_at_b(answer: Any, seed: int) -> bool:
    return all(abs(float(answer(0, 0, 9, 20, k, 0.4)) - 0.4) < 1e-6 for k in (0.0, 0.3, 5.0))


LAMBDA = Check(
    id="13-lambda",
    title="the labels' share",
    points=2,
    minutes=6,
    difficulty=1,
    draw=_draw_lambda,
    observe=_observe_lambda,
    reference=labels_share,
    misconceptions=(
        Misconception(
            "the number of the epoch as e",
            _line(lambda epoch, step, steps, epochs: epoch),
            "With the bare epoch, lambda is 1 after a few of them and nothing is distilled for the rest of"
            " the stage. e is a share of the stage, in [0, 1).",
        ),
        Misconception(
            "the number of the epoch as e, clipped above only",
            _line(lambda epoch, step, steps, epochs: epoch, low=-1e9),
            "That is a public code's line: with the bare epoch, lambda is 1 after a few of them, and nothing"
            " is distilled for the rest of the stage. e is a share of the stage, in [0, 1).",
        ),
        Misconception(
            "whole epochs counted, nothing clipped",
            _line(lambda epoch, step, steps, epochs: epoch / epochs, low=-1e9, high=1e9),
            "Two things are missing: the step, as a share of its epoch, and the clip to [0, 1].",
        ),
        Misconception(
            "the step's share not divided by the epochs",
            _line(lambda epoch, step, steps, epochs: epoch / epochs + step / steps),
            "A step's share of its *epoch* is a much smaller share of the stage: add it to the epochs first,"
            " then divide.",
        ),
        Misconception(
            "epochs counted, whatever the step",
            _line(lambda epoch, step, steps, epochs: epoch / epochs),
            "Yours stands still within an epoch: with few, long epochs lambda would jump. The step counts"
            " as a share of its epoch.",
        ),
        Misconception(
            "the step alone",
            _line(lambda epoch, step, steps, epochs: step / steps),
            "That is the share of the *epoch* that is done: lambda would start again with each of them.",
        ),
        Misconception(
            "divided by one epoch less",
            _line(lambda epoch, step, steps, epochs: (epoch + step / steps) / (epochs - 1)),
            "Epochs run from 0 to E - 1 and each has its steps: divide by E.",
        ),
        Misconception(
            "epochs counted from one",
            _line(lambda epoch, step, steps, epochs: (epoch + 1 + step / steps) / epochs),
            "At the very first step nothing is done yet: e is 0 there. The epochs come numbered from 0.",
        ),
        Misconception(
            "the step not divided by the steps",
            _line(lambda epoch, step, steps, epochs: (epoch + step) / epochs),
            "A step is a small part of an epoch: divide it by the number of steps before adding it.",
        ),
        Misconception(
            "nothing clipped",
            _line(_e, low=-1e9, high=1e9),
            "For some k and b the line leaves [0, 1], and a weight below zero rewards mistakes: clip it.",
        ),
        Misconception(
            "clipped above only",
            _line(_e, low=-1e9),
            "With a negative k, or a negative b, the line falls below 0: clip on both sides.",
        ),
        Misconception(
            "clipped below only",
            _line(_e, high=1e9),
            "With a steep k the line passes 1, and 1 - lambda would push the student away: clip on both"
            " sides.",
        ),
        Misconception(
            "k and b exchanged",
            _line(_e, swap=True),
            "k is the slope, b where the line starts.",
        ),
        Misconception(
            "the distillation's share",
            _line(_e, rest=True),
            "That is 1 - lambda. lambda is the share of the labels, which grows for k > 0.",
        ),
    ),
    properties=(
        Property("at the first step lambda is b", _starts_at_b, "At e = 0 only b is left, whatever k is."),
    ),
    hints=(
        "How much of the stage is done after `epoch` whole epochs and `step` steps of the next one?",
        "e = (epoch + step / steps) / epochs, then formula (1); min and max clip a number.",
        "10 epochs of 20 steps: at epoch 4, step 5, e = (4 + 0.25) / 10 = 0.425; with k = 0.5 and b = 0.1"
        " lambda is 0.3125.",
    ),
)

CHECKS = [LAMBDA, SIA, IRA, STAGE_ONE, SRA, STAGE_TWO, REVIEW]
