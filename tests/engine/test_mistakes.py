"""Where the errors go: against a slow loop, at the extremes, and at chance."""

from __future__ import annotations

import math

import pytest
import torch

from labkit import LabkitError
from labkit.data.aviary import BENCHMARK
from labkit.engine import Mistakes, families, mistakes

KIN = torch.tensor([0, 0, 1, 1, 1, 2])


def some_logits(n: int = 200, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 6, generator=generator), torch.randint(6, (n,), generator=generator)


def slowly(logits, labels):
    """Both shares, one image at a time."""
    errors = hits = 0
    near = off = 0.0
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        total = sum(math.exp(v) for v in z)
        kin = [c for c in range(6) if c != y and KIN[c] == KIN[y]]
        near += sum(math.exp(z[c]) / total for c in kin)
        off += 1 - math.exp(z[y]) / total
        guess = max(range(6), key=lambda c: z[c])
        errors, hits = errors + (guess != y), hits + (guess in kin)
    return errors, hits / errors, near / off


@pytest.mark.parametrize("seed", [0, 1])
def test_both_shares_are_those_of_a_slow_loop(seed: int):
    logits, labels = some_logits(seed=seed)
    found = mistakes(logits, labels, KIN)
    errors, inside, mass = slowly(logits, labels)
    assert found.errors == errors
    assert (found.inside, found.mass) == pytest.approx((inside, mass), abs=1e-9)
    assert found.interval[0] < inside < found.interval[1]


def test_errors_that_ignore_the_family_are_at_chance():
    logits, labels = some_logits(20_000)
    found = mistakes(logits, labels, KIN)
    mean = sum((family == KIN).sum().item() - 1 for family in KIN[labels].tolist()) / 5 / len(labels)
    assert found.chance == pytest.approx(mean)
    assert found.inside == pytest.approx(found.chance, abs=0.015)
    assert found.mass == pytest.approx(found.chance, abs=0.015)
    assert found.chance_prior == pytest.approx(found.chance, abs=0.015)


def test_a_favourite_class_has_a_chance_level_of_its_own():
    labels = torch.tensor([0, 2, 3, 4, 5] * 40)
    logits = torch.zeros(200, 6)
    logits[:, 2] = 5.0  # names class 2 whatever it sees
    found = mistakes(logits, labels, KIN)
    assert found.inside == pytest.approx(0.5)  # right by luck for 3 and 4, which are its kin
    assert found.chance_prior == pytest.approx(0.5)
    assert found.chance < 0.4


def test_the_extremes():
    labels = torch.tensor([0, 1, 2, 3])
    swapped = torch.full((4, 6), -20.0)
    swapped[torch.arange(4), torch.tensor([1, 0, 3, 4])] = 20.0
    within = mistakes(swapped, labels, KIN)
    assert (within.inside, within.mass) == pytest.approx((1.0, 1.0), abs=1e-9)
    without = mistakes(swapped.roll(3, dims=1), labels, KIN)
    assert without.inside == 0.0
    perfect = torch.full((4, 6), -1e4)
    perfect[torch.arange(4), labels] = 1e4
    found = mistakes(perfect, labels, KIN)
    assert found.errors == 0
    assert math.isnan(found.inside)
    assert found.interval == (0.0, 1.0)


def test_a_shift_of_the_logits_changes_nothing():
    logits, labels = some_logits()
    shifted = mistakes(logits + torch.linspace(-50, 50, 200)[:, None], labels, KIN)
    same = mistakes(logits, labels, KIN)
    assert shifted.mass == pytest.approx(same.mass, abs=1e-5)
    assert shifted.inside == same.inside


def test_families_of_the_birds_are_their_last_words():
    classes = [species.name for species in BENCHMARK]
    found = families(classes)
    assert torch.bincount(found).tolist() == [4] * 15
    for i, j in ((0, 3), (0, 4), (57, 59)):
        assert (found[i] == found[j]) == (BENCHMARK[i].family == BENCHMARK[j].family)


def test_families_from_groups():
    assert families(["cat", "car", "dog"], [["car"], ["dog", "cat"]]).tolist() == [0, 1, 0]
    with pytest.raises(LabkitError, match="'cat' must be in one family, but it is in 0"):
        families(["cat", "car"], [["car"]])
    with pytest.raises(LabkitError, match="in 2"):
        families(["car"], [["car"], ["car"]])


@pytest.mark.parametrize(
    ("logits", "labels", "kin", "words"),
    [
        ((0, 6), (0,), KIN, r"\(0, 6\)"),
        ((4, 6), (3,), KIN, "belong together"),
        ((4, 5), (4,), KIN, "5 classes need as many families"),
        ((4, 6), (4,), torch.arange(6), "none has a look-alike"),
    ],
)
def test_what_does_not_fit_is_named(logits, labels, kin, words):
    with pytest.raises(LabkitError, match=words):
        mistakes(torch.zeros(logits), torch.zeros(labels, dtype=torch.int64), kin)


def test_printed_in_one_line():
    text = str(Mistakes(40, 0.25, (0.1, 0.4), 0.2, 0.05, 0.06))
    assert text.startswith("25.0% of 40 errors")
    assert "\n" not in text
