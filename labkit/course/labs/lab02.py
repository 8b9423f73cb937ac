"""Checks of lab 02, what inference costs: percentiles here, the others in the files beside."""

from __future__ import annotations

import statistics

import torch

from ..checks import Check, Misconception, Property
from .lab02_bug import SPEEDUP
from .lab02_counting import CONV_MACS, MODEL_BYTES
from .lab02_pareto import PARETO
from .lab02_timing import TIMER


def _draw_times(seed: int) -> tuple[list[float], float]:
    """A dozen times with a long tail, out of order, and q; the position never falls on a whole number."""
    count, q = ((12, 95.0), (13, 90.0), (14, 70.0))[seed % 3]
    times = 20 + 3 * torch.randn(count).abs() + 40 * torch.rand(count) ** 6
    return [round(float(t), 3) for t in times], q


def percentile(times, q):
    """The q-th percentile by linear interpolation between the two nearest sorted times."""
    ordered = sorted(times)
    position = q / 100 * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def _neighbours(times, q) -> tuple[float, float, float]:
    """(lower neighbour, upper neighbour, how far from the lower)."""
    ordered = sorted(times)
    position = q / 100 * (len(ordered) - 1)
    low = int(position)
    return ordered[low], ordered[low + 1], position - low


def _unsorted(times, q):
    position = q / 100 * (len(times) - 1)
    low = int(position)
    return times[low] + (position - low) * (times[low + 1] - times[low])


def _swapped(times, q):
    low, high, part = _neighbours(times, q)
    return part * low + (1 - part) * high


def _ends(fn, seed: int) -> bool:
    """The percentiles 0, 50 and 100 are the smallest, the median and the largest."""
    times, _ = _draw_times(seed)
    want = (min(times), statistics.median(times), max(times))
    return all(abs(fn(list(times), q) - w) < 1e-9 for q, w in zip((0, 50, 100), want, strict=True))


def _keeps(fn, seed: int) -> bool:
    """The list of times stays as it was."""
    times, q = _draw_times(seed)
    given = list(times)
    fn(given, q)
    return given == times


PERCENTILE = Check(
    id="02-percentile",
    title="the q-th percentile of a list of times",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_times,
    reference=percentile,
    misconceptions=(
        Misconception(
            "the times not sorted",
            _unsorted,
            "You took the times in the order they were measured. A percentile is about the sorted times.",
        ),
        Misconception(
            "mean plus two standard deviations",
            lambda times, q: statistics.fmean(times) + 2 * statistics.stdev(times),
            "That would be close for a bell curve. Latencies have a floor and a long tail: take the times"
            " as they are, sort them and count.",
        ),
        Misconception(
            "mean plus 1.645 standard deviations",
            lambda times, q: statistics.fmean(times) + 1.645 * statistics.stdev(times),
            "1.645 belongs to the bell curve, and latencies don't follow it: sort the times and count.",
        ),
        Misconception(
            "counted from the slow end",
            lambda times, q: percentile(times, 100 - q),
            "q per cent of the times must lie *below* the result: sort from fast to slow.",
        ),
        Misconception(
            "position off by one",
            lambda times, q: sorted(times)[int(q / 100 * len(times))],
            "Positions go from 0 to n - 1, so the q-th percentile sits at q / 100 * (n - 1); and between"
            " two times formula (4) interpolates.",
        ),
        Misconception(
            "rounded down to a measured time",
            lambda times, q: _neighbours(times, q)[0],
            "The position is right; it falls between two times. Go the remaining part of the way to the"
            " next one.",
        ),
        Misconception(
            "rounded up to a measured time",
            lambda times, q: _neighbours(times, q)[1],
            "The position falls between two times: start from the lower one and go only a part of the way.",
        ),
        Misconception(
            "half-way between the neighbours",
            lambda times, q: sum(_neighbours(times, q)[:2]) / 2,
            "Right neighbours, wrong place between them: how far to go is the position's fraction.",
        ),
        Misconception(
            "the two weights swapped",
            _swapped,
            "A position just above the lower neighbour must give nearly that neighbour: swap the weights.",
        ),
        Misconception(
            "the slowest time",
            lambda times, q: max(times),
            "That is the 100th percentile. It grows with every run you add, because it is made by one bad"
            " moment.",
        ),
    ),
    properties=(
        Property(
            "percentiles 0, 50 and 100 are the smallest, the median and the largest",
            _ends,
            "At q = 100 the position is n - 1 and has no right neighbour: take the last time twice, with"
            " `min`.",
        ),
        Property(
            "the caller's list stays in its order",
            _keeps,
            "`times.sort()` changes the caller's list; `sorted(times)` makes a new one.",
        ),
    ),
    hints=(
        "Sort, find the position, interpolate.",
        "Formula (4): `int(position)` is the lower neighbour, `position - int(position)` the part of the"
        " way to the next one. Mind the last place, which has no next.",
        "The 25th percentile of 10, 20, 40: position 0.25 * 2 = 0.5, half-way from 10 to 20, so 15.",
    ),
)

CHECKS = [CONV_MACS, MODEL_BYTES, TIMER, PERCENTILE, PARETO, SPEEDUP]
