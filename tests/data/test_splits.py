"""Stratified, seeded, nested draws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import LabkitError
from labkit.data.splits import budget, class_rank, hold_out

NAMES = tuple("abc")


def labelled(counts: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Shuffled labels with so many of each class, and ids."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(sum(counts)))
    return labels[order], 5 * torch.arange(len(labels)) + 2


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(2, 30), min_size=3, max_size=3), st.integers(0, 2**40), st.randoms())
def test_ranks_number_each_class_and_belong_to_the_ids(counts: list[int], seed: int, random) -> None:
    labels, ids = labelled(counts)
    rank = class_rank(labels, ids, seed, 1)
    for c, n in enumerate(counts):
        assert sorted(rank[labels == c].tolist()) == list(range(n))
    order = random.sample(range(len(labels)), len(labels))
    assert torch.equal(class_rank(labels[order], ids[order], seed, 1), rank[order])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(3, 40), min_size=3, max_size=3),
    st.one_of(st.integers(1, 2), st.floats(0.01, 0.6)),
    st.integers(0, 1000),
)
def test_holding_out_partitions_each_class(counts: list[int], size: float, seed: int) -> None:
    labels, ids = labelled(counts)
    kept, held = hold_out(labels, ids, NAMES, size, seed)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(labels)))
    for c, n in enumerate(counts):
        wanted = size if isinstance(size, int) else max(1, round(n * size))
        assert abs(int((labels[held] == c).sum()) - wanted) <= (not isinstance(size, int))
        assert (labels[kept] == c).any()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, 100))
def test_budgets_of_one_seed_are_nested(a: int, b: int, seed: int) -> None:
    labels, ids = labelled([10, 15, 20])
    small, large = (set(budget(labels, ids, NAMES, k, None, seed).tolist()) for k in sorted((a, b)))
    assert small <= large
    assert len(small) == 3 * min(a, b)
    few, more = (set(budget(labels, ids, NAMES, None, k / 10, seed).tolist()) for k in sorted((a, b)))
    assert few <= more


def test_seeds_draw_different_images() -> None:
    labels, ids = labelled([40, 40, 40])
    draws = {tuple(budget(labels, ids, NAMES, 5, None, seed).tolist()) for seed in range(10)}
    assert len(draws) == 10


@pytest.mark.parametrize("size", [0, 0.0, 1.0, -0.1, True, 1.5])
def test_a_held_out_size_out_of_range_is_refused(size: float) -> None:
    with pytest.raises(LabkitError, match="share between 0 and 1 or a whole number"):
        hold_out(*labelled([5, 5, 5]), NAMES, size, 0)


def test_a_class_may_not_be_held_out_completely() -> None:
    with pytest.raises(LabkitError, match=r"Class 'b' has 2 images to draw from: holding out 2"):
        hold_out(*labelled([9, 2, 9]), NAMES, 2, 0)


@pytest.mark.parametrize(
    ("per_class", "fraction", "message"),
    [
        (None, None, "either per_class"),
        (3, 0.5, "either per_class"),
        (8, None, "whole number between 1 and 7, the number of images of class 'b'"),
        (0, None, "whole number between"),
        (2.5, None, "whole number between"),
        (None, 0.0, r"share in \(0, 1\]"),
        (None, 1.1, r"share in \(0, 1\]"),
    ],
)
def test_an_impossible_budget_is_refused(per_class: int, fraction: float, message: str) -> None:
    with pytest.raises(LabkitError, match=message):
        budget(*labelled([10, 7, 9]), NAMES, per_class, fraction, 0)
