"""The check of lab 08 on accuracy over the number of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import Check, Misconception
from .lab08_labels import few_labels


def _draw_curve(seed: int) -> tuple[Tensor, ...]:
    """Features and labels of 24 training, 10 validation and 14 test images; two budgets; three seeds."""
    labels = [torch.arange(n) % 4 for n in (24, 10, 14)]
    sets = [t for y in labels for t in (torch.rand(len(y), 3), y)]
    return (*sets, torch.tensor([1, 3]), torch.tensor([2, 5, 7]) + seed)


class _Probe:
    """Stands for a fitted probe: its accuracy tells which images it was fitted, tuned and scored on."""

    def __init__(self, *tensors: Tensor) -> None:
        self.memory = sum((i + 1) * t.double().cos().sum() / len(t) for i, t in enumerate(tensors))

    def score(self, x: Tensor, y: Tensor) -> float:
        seen = x.double().sum() + 0.3 * (y.double() * torch.arange(len(y))).sum()
        return float(torch.sigmoid(self.memory - 0.1 * seen))


def _observe_curve(label_efficiency: Any, *inputs: Tensor) -> Any:
    train, val, test = inputs[:2], inputs[2:4], inputs[4:6]

    def fit(train_x: Tensor, train_y: Tensor, val_x: Tensor, val_y: Tensor) -> tuple[float, _Probe]:
        if len(train_x) != len(train_y) or len(val_x) != len(val_y):
            raise ValueError(
                f"{len(train_x)} training features with {len(train_y)} labels, {len(val_x)} validation"
                f" features with {len(val_y)} labels"
            )
        return 1.0, _Probe(train_x, train_y, val_x, val_y)

    budgets, seeds = inputs[6].tolist(), inputs[7].tolist()
    return label_efficiency(train, val, test, budgets, seeds, few_labels, fit)


Pair = tuple[Tensor, Tensor]


def label_efficiency(
    train: Pair, val: Pair, test: Pair, budgets: Sequence[int], seeds: Sequence[int], draw: Any, fit: Any
) -> Tensor:
    """Test accuracy (len(budgets), len(seeds)) of probes fitted on so many labels per class."""
    accuracy = torch.zeros(len(budgets), len(seeds))
    for i, per_class in enumerate(budgets):
        for j, seed in enumerate(seeds):
            few = draw(train[1], per_class, seed)
            _, probe = fit(train[0][few], train[1][few], *val)
            accuracy[i, j] = probe.score(*test)
    return accuracy


def _curve(
    *, draw_from: str = "train", fit_on: str = "few", score_on: str = "test", one_seed: bool = False,
    few_val: bool = False, scale: float = 1.0,
) -> Any:  # fmt: skip
    def answer(train, val, test, budgets, seeds, draw, fit) -> Tensor:
        rows = []
        for per_class in budgets:
            row = []
            for seed in seeds:
                few = draw(train[1], per_class, seeds[0] if one_seed else seed)
                mine = (train[0][few], train[1][few]) if fit_on == "few" else train
                if fit_on == "few and val":
                    mine = tuple(torch.cat([t[few], v]) for t, v in zip(train, val, strict=True))
                tune = val
                if few_val:
                    kept = draw(val[1], min(per_class, 2), seed)
                    tune = (val[0][kept], val[1][kept])
                _, probe = fit(*mine, *(test if draw_from == "test" else tune))
                row.append(scale * probe.score(*{"test": test, "val": val, "few": mine}[score_on]))
            rows.append(row)
        return torch.tensor(rows)

    return answer


EFFICIENCY = Check(
    id="08-label-efficiency",
    title="accuracy over the number of labels",
    points=2,
    minutes=10,
    difficulty=2,
    draw=_draw_curve,
    observe=_observe_curve,
    reference=label_efficiency,
    misconceptions=(
        Misconception(
            "all labels used at every budget",
            _curve(fit_on="all"),
            "Every probe saw the whole training set. Index features *and* labels with the drawn positions.",
        ),
        Misconception(
            "scored on validation images",
            _curve(score_on="val"),
            "The validation images chose C, so the probe looks too good on them. Score on the test images.",
        ),
        Misconception(
            "scored on the images it was fitted on",
            _curve(score_on="few"),
            "That is the training accuracy, which says nothing about new images. Score on the test images.",
        ),
        Misconception(
            "C chosen on the test images",
            _curve(draw_from="test"),
            "fit() got the test images where the validation images belong: then the test accuracy has been"
            " tuned for.",
        ),
        Misconception(
            "the same draw for every seed",
            _curve(one_seed=True),
            "All columns are equal: the seed of the loop never reaches draw().",
        ),
        Misconception(
            "few validation images as well",
            _curve(few_val=True),
            "Here the validation split is the same at every budget (the lab says so openly). Pass all of it.",
        ),
        Misconception(
            "fitted on the few and the validation images",
            _curve(fit_on="few and val"),
            "The validation images bring their labels along: the budget is no longer what it says.",
        ),
        Misconception("in per cent", _curve(scale=100.0), "Return shares between 0 and 1."),
        Misconception(
            "budgets and seeds swapped",
            lambda *inputs: label_efficiency(*inputs).T,
            "One row per budget, one column per seed: yours is the transpose.",
        ),
        Misconception(
            "the mean over the seeds",
            lambda *inputs: label_efficiency(*inputs).mean(1),
            "Keep the seeds apart: their spread is the luck of the draw, and the interval needs it.",
        ),
        Misconception(
            "the best seed",
            lambda *inputs: label_efficiency(*inputs).amax(1),
            "The best of several draws is not what one draw gives. Return all of them.",
        ),
    ),
    hints=(
        "Two loops. What happens inside them, in order: draw, fit, score. On which images each?",
        "few = draw(train[1], per_class, seed); _, probe = fit(train[0][few], train[1][few], *val);"
        " probe.score(*test).",
        "Budgets (1, 3) and seeds (0, 1): four probes, fitted on 1 or 3 images of every class, all of them"
        " tuned on the same validation and scored on the same test images; the result is 2 x 2.",
    ),
)
