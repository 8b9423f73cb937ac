"""The check of lab 08 on a draw of few labels that others can repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..checks import Check, Misconception


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


def _labels_in_place(labels: Tensor, per_class: int, seed: int) -> Tensor:
    order = _order(len(labels), seed)
    return torch.cat([order[labels == c][:per_class] for c in labels.unique()])


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
            "the labels not shuffled with the images",
            _labels_in_place,
            "labels == c marks places in the set, and you index the *shuffled* order with it. Take the labels"
            " in that order too: labels[order] == c.",
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
