"""What is tried for each row of a comparison, on validation images, and what is chosen of it.

A preset names the tried configurations under `tried`, at the budget `tuned_at`, and what was chosen under
`methods`; `tried_at` and `methods_at` hold those of rows that are chosen again at budgets of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from statistics import fmean
from types import SimpleNamespace
from typing import Any

from .grid import Job
from .matrix_rows import REFERENCES, first_stages, job_of
from .results import Results


def chosen(s: SimpleNamespace, method: str, per_class: int | None) -> dict[str, Any]:
    """The options that were chosen for a method, at a budget that has choices of its own or for all."""
    return getattr(s, "methods_at", {}).get(per_class, {}).get(method, s.methods[method])


def tuning_jobs(s: SimpleNamespace) -> Iterator[Job]:
    """The tried configurations of every method, and of the first stages that several build on."""
    for per_class, method in tuned(s):
        for seed, options in product(s.tuning_seeds, configurations(s, method, per_class)):
            yield tuning_job(s, method, options, seed, per_class)


def tuned(s: SimpleNamespace) -> list[tuple[int | None, str]]:
    """Budgets and rows that are chosen by trying: all at one budget, some again at others."""
    tried = {s.tuned_at: s.tried, **getattr(s, "tried_at", {})}
    known = [*s.methods, *s.references]
    return [(per_class, row) for per_class, rows in tried.items() for row in rows if row in known]


def tuning_job(
    s: SimpleNamespace, method: str, options: dict[str, Any], seed: int, per_class: int | None
) -> Job:
    """The run of a tried configuration, on the chosen first stages but the one that the row tunes."""
    own = getattr(REFERENCES.get(method), "tunes", "")
    first = {name: stage for name, stage in first_stages(s, method).items() if name != own}
    return job_of("tuning", method, seed, per_class, **options, **first)


def configurations(s: SimpleNamespace, method: str, per_class: int | None = None) -> list[dict[str, Any]]:
    """What the preset names as tried for a method: a list, or all combinations of the values it lists.

    `per_class` is a budget with choices of its own; None is the one that is tuned for all.
    """
    tried = (s.tried if per_class in (None, s.tuned_at) else s.tried_at[per_class])[method]
    if isinstance(tried, list):
        return tried
    return [dict(zip(tried, values, strict=True)) for values in product(*tried.values())]


def best(
    s: SimpleNamespace, results: Results, method: str, per_class: int | None = None
) -> tuple[dict[str, Any], float]:
    """The tried configuration of a method that was best on validation, and its accuracy, a mean over seeds.

    `per_class` as for `configurations`.

    Raises:
        LabkitError: a configuration was not run.
    """
    tried = configurations(s, method, per_class)
    scores = [score(s, results, method, options, per_class) for options in tried]
    top = max(scores)  # the first of equals
    return tried[scores.index(top)], top


def score(
    s: SimpleNamespace, results: Results, method: str, options: dict[str, Any], per_class: int | None = None
) -> float:
    """The validation accuracy of one tried configuration, a mean over seeds."""
    at = per_class or s.tuned_at
    runs = [tuning_job(s, method, options, seed, at) for seed in s.tuning_seeds]
    return fmean(results.values("val", **run)[0] for run in runs)
