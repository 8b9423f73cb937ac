"""Intervals over seeds against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from labkit import LabkitError
from labkit.bench import Interval, interval, paired

VALUES = [0.91, 0.94, 0.89, 0.93, 0.95]


def test_interval_is_students_t():
    found = interval(VALUES)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(VALUES), scale=stats.sem(VALUES))
    assert found.mean == pytest.approx(np.mean(VALUES))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))


def test_interval_by_hand():
    """Of 1, 2, 3: s = 1, t(2) = 4.3027."""
    assert interval([1, 2, 3]) == pytest.approx((2.0, 4.302652729911275 / math.sqrt(3)))


def test_paired_differences_cancel_what_seeds_share():
    easy = np.array([0.5, 0.7, 0.9])
    found = paired(easy + np.array([0.04, 0.05, 0.06]), easy)
    assert found == pytest.approx(interval([0.04, 0.05, 0.06]))
    assert found.excludes_zero
    assert not interval([0.3, -0.2, 0.1]).excludes_zero
    assert paired(easy, easy + 0.05).mean == pytest.approx(-0.05)
    low, high = stats.ttest_rel(easy + np.array([0.04, 0.05, 0.06]), easy).confidence_interval()
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))


def test_one_run_has_no_interval_and_excludes_nothing():
    found = interval([0.9])
    assert found.mean == 0.9
    assert math.isnan(found.half)
    assert not found.excludes_zero
    assert str(found) == "90.0"


def test_prints_per_cent():
    assert str(Interval(0.9412, 0.0081)) == "94.1 ± 0.8"
    assert str(interval([0.5, 0.5, 0.5])) == "50.0 ± 0.0"


def test_nothing_and_unequal_numbers_are_refused():
    with pytest.raises(LabkitError, match="no run to average"):
        interval([])
    with pytest.raises(LabkitError, match="same seeds, but there are 3 and 2"):
        paired([1, 2, 3], [1, 2])
