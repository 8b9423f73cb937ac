"""Checks of lab 08: a draw of few labels that others can repeat, and the accuracy over their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import Check, Misconception

# --- few labels of every class --------------------------------------------------------------------------


def _draw_labels(seed: int) -> tuple[Tensor, int]:
    """Labels sorted by class, as folders are read, of classes of several sizes; and a budget."""
    sizes = torch.randint(9, 15, (3 + seed % 3,))
    return torch.arange(len(sizes)).repeat_interleave(sizes), 2 + seed % 2


def _observe_few(few_labels: Any, labels: Tensor, per_class: int) -> dict[str, Any]:
    def draw(k: int, seed: int) -> Tensor:
        return torch.as_tensor(few_labels(labels.clone(), k, seed))

    before = torch.random.get_rng_state()
    first = draw(per_class, 5)
    untouched = torch.equal(before, torch.random.get_rng_state())
    again, more = draw(per_class, 5), draw(per_class + 3, 5)
    others = [draw(per_class, seed) for seed in (6, 7, 8)]
    return {
        "the positions are whole numbers": not (first.is_floating_point() or first.dtype == torch.bool),
        "images drawn of each class": torch.bincount(labels[first], minlength=int(labels.max()) + 1),
        "no image is drawn twice": all(len(p.unique()) == len(p) for p in (first, more)),
        "the same seed draws the same images": set(first.tolist()) == set(again.tolist()),
        "another seed draws other images": any(set(first.tolist()) != set(p.tolist()) for p in others),
        "a larger budget contains the smaller one": set(first.tolist()) <= set(more.tolist()),
        "torch's own random numbers are left alone": untouched,
    }


def few_labels(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Positions of `per_class` images of every class, the same for equal seeds; budgets are nested."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    chosen = [order[labels[order] == c][:per_class] for c in labels.unique()]
    return torch.cat(chosen)


def _by_class(
    order: Callable[[int, int, int], Tensor], pick: Callable[[Tensor, int], Tensor] | None = None
) -> Any:
    """A draw class by class from `order(n, per_class, seed)`."""

    def answer(labels: Tensor, per_class: int, seed: int) -> Tensor:
        lot = order(len(labels), per_class, seed)
        mine = (lot[labels[lot] == c] for c in labels.unique())
        return torch.cat([pick(m, per_class) if pick else m[:per_class] for m in mine])

    return answer


def _order(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def _globally_seeded(n: int, per_class: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return torch.randperm(n)


def _twice(own: Tensor, per_class: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(own[0]))
    return own[torch.randint(len(own), (per_class,), generator=generator)]


def _within_class(labels: Tensor, per_class: int, seed: int) -> Tensor:
    counts = torch.bincount(labels)
    return torch.cat([_order(int(n), seed)[:per_class] for n in counts])


def _mask(labels: Tensor, per_class: int, seed: int) -> Tensor:
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[few_labels(labels, per_class, seed)] = True
    return mask


FEW_LABELS = Check(
    id="08-few-labels",
    title="a few labels of every class",
    points=2,
    minutes=10,
    difficulty=3,
    draw=_draw_labels,
    observe=_observe_few,
    reference=few_labels,
    misconceptions=(
        Misconception(
            "the first images of the set",
            lambda labels, k, seed: torch.arange(k * len(labels.unique())),
            "Image files come sorted by class, so the first N images are of the first classes alone. Public"
            " lab sheets do this. Draw inside every class.",
        ),
        Misconception(
            "drawn from all classes together",
            lambda labels, k, seed: _order(len(labels), seed)[: k * len(labels.unique())],
            "Some classes get more than their share and some fewer, by chance. Draw inside every class.",
        ),
        Misconception(
            "the first images of every class",
            _by_class(lambda n, k, seed: torch.arange(n)),
            "Every seed gives the same images: then five seeds tell nothing about the luck of the draw.",
        ),
        Misconception(
            "no generator",
            _by_class(lambda n, k, seed: torch.randperm(n)),
            "The same seed gives other images each time. Make torch.Generator().manual_seed(seed) and hand it"
            " to torch.randperm.",
        ),
        Misconception(
            "torch's global seed set",
            _by_class(_globally_seeded),
            "The draw is right, but torch.manual_seed changes the random numbers of all that runs after it."
            " Use a generator of your own.",
        ),
        Misconception(
            "drawn with replacement",
            _by_class(lambda n, k, seed: _order(n, seed), _twice),
            "An image may be drawn twice, so that the budget is smaller than it says. Take the first of a"
            " permutation.",
        ),
        Misconception(
            "budgets that are not nested",
            _by_class(lambda n, k, seed: _order(n, seed + k)),
            "With three more labels per class you get quite other images. The order must depend on the seed"
            " alone, and the budget cut it off.",
        ),
        Misconception(
            "positions within the class",
            _within_class,
            "A permutation of the class's own images counts from 0 in every class. Translate it into"
            " positions in the whole set.",
        ),
        Misconception(
            "one image too many",
            lambda labels, k, seed: few_labels(labels, k + 1, seed),
            "per_class images of every class, no more: where does your slice end?",
        ),
        Misconception(
            "a mask",
            _mask,
            "The draw is right, but return positions (whole numbers), not True and False:"
            " mask.nonzero()[:, 0].",
        ),
    ),
    hints=(
        "Shuffle all images once, by the seed. Then what does each class take of that order?",
        "order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed));"
        " order[labels[order] == c][:per_class] are the first of class c.",
        "Order 4, 0, 3, 1, 2 and labels 0, 0, 1, 1, 1: class 0 meets the images 0, 1, class 1 the images"
        " 4, 3, 2. One per class: 0 and 4. Two per class: 0, 1 and 4, 3, which contain the former.",
    ),
)

# --- accuracy over the number of labels -----------------------------------------------------------------


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
