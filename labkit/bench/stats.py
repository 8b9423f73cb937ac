"""Means with 95 % intervals over seeds, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import LabkitError


class Interval(NamedTuple):
    """A mean and the half width of its 95 % interval; prints as '94.1 ± 0.8' in per cent."""

    mean: float
    half: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return abs(self.mean) > self.half

    def __str__(self) -> str:
        half = "" if math.isnan(self.half) else f" ± {100 * self.half:.1f}"
        return f"{100 * self.mean:.1f}{half}"


def interval(values: Sequence[float]) -> Interval:
    """Mean ± t(n - 1) s / sqrt(n) over runs; the half width is nan for a single run.

    Raises:
        LabkitError: no values.
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 0:
        raise LabkitError("There is no run to average: run the seeds first.")
    if n == 1:
        return Interval(float(values[0]), math.nan)
    half = t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return Interval(float(values.mean()), float(half))


def paired(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Interval of the difference first - second, seed by seed: what the seeds share cancels.

    Raises:
        LabkitError: different numbers of runs.
    """
    if len(first) != len(second):
        raise LabkitError(f"Paired runs need the same seeds, but there are {len(first)} and {len(second)}.")
    return interval(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))
