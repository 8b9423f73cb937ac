"""Lab 03's tables: of the committed runs, and of what networks cost on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .results import Results
from .stats import Interval, interval, paired

if TYPE_CHECKING:
    from ..views import Table

MAIN = {"experiment": "main", "per_class": 5}  # the comparison's rows that this lab stands on
_KEPT = {
    "hinton": "as they are",
    "permuted": "shuffled",
    "even": "even",
    "scratch": "none (labels alone)",
}


def methods(table: Results, per_class: int) -> Table:
    """The comparison on the Aviary at one budget: accuracy, errors in the family, paired differences."""
    from ..views import Table
    from .matrix import KINDS

    names = {"teacher": "teacher"} | {
        m: KINDS[m].words for m in ("hinton", "takd", "label_smoothing", "scratch")
    }
    main = {"experiment": "main", "per_class": per_class}
    runs = {m: table.values(**main, method=m) for m in names}
    rows = []
    for m, words in names.items():
        gains = [
            paired(runs[m], runs[c]) if m not in (c, "teacher", "scratch") else ""
            for c in ("scratch", "label_smoothing")
        ]
        rows.append([words, interval(runs[m]), table.interval("inside", **main, method=m), *gains])
    columns = ["", "test accuracy, %", "errors in the family, %", "minus alone", "minus smoothing"]
    note = f"Mean ± 95 % interval over {len(runs['scratch'])} seeds, differences paired by seed: "
    caption = f"birds, {per_class} labels per class"
    return Table(columns, rows, caption=caption, note=note + table.command)


def by_targets(results: Results, table: Results, data: str) -> dict[str, list[float]]:
    """Test accuracies by what was learned from, of the seeds that all have, in the order of the seeds."""
    runs = {}
    for m in _KEPT:
        rows = results.select(experiment="targets", data=data, method=m)
        if data == "birds" and m in ("hinton", "scratch"):
            rows = table.select(**MAIN, method=m)
        runs[m] = {row["seed"]: row["test"] for row in rows}
    seeds = sorted(set.intersection(*(set(run) for run in runs.values())))
    return {m: [run[seed] for seed in seeds] for m, run in runs.items()}


def targets(results: Results, table: Results) -> Table:
    """What is left of a teacher when its wrong classes are shuffled or made even."""
    from ..views import Table

    rows, seeds = [], []
    for data in ("digits", "birds"):
        runs = by_targets(results, table, data)
        seeds.append(f"{len(runs['hinton'])} of {data}")
        for m in runs:
            less = paired(runs[m], runs["hinton"]) if m != "hinton" else ""
            more = paired(runs[m], runs["scratch"]) if m != "scratch" else ""
            rows.append([data if m == "hinton" else "", _KEPT[m], interval(runs[m]), less, more])
    columns = [
        "", "the teacher's wrong classes", "test accuracy, %", "minus as they are", "minus labels alone",
    ]  # fmt: skip
    note = f"Mean ± 95 % interval over seeds ({', '.join(seeds)}), paired: {results.command}"
    return Table(columns, rows, note=note)


def fall(results: Results, table: Results, data: str) -> Interval:
    """By how much a student falls when its teacher's wrong classes are shuffled, paired by seed."""
    runs = by_targets(results, table, data)
    return paired(runs["hinton"], runs["permuted"])


def by_teacher(results: Results, table: Results, field: str, value: Any) -> tuple[list[float], list[float]]:
    """Test accuracies of a sweep's teachers and of their students, by seed.

    Args:
        results: of lab 03.
        table: of the comparison, whose teacher and students are one point of each sweep.
        field: 'teacher' or 'teacher_steps'.
        value: None for the comparison's own.
    """
    if value is None:
        seeds = {row["seed"] for row in results.select(experiment="teachers")}
        pair = (table.select(**MAIN, method=m) for m in ("teacher", "hinton"))
        return tuple([row["test"] for row in rows if row["seed"] in seeds] for rows in pair)
    where = {"experiment": "teachers" if field == "teacher" else field, field: value}
    return results.values("teacher_test", **where), results.values(**where)


def sweep(names: Sequence[str], pairs: Sequence[tuple], label: str, note: str) -> Table:
    """Teachers and their students, a row each, with the paired difference of the students to the row above.

    Args:
        names: of the rows.
        pairs: of `by_teacher`.
        label: head of the first column.
        note: a line below.
    """
    from ..views import Table

    steps = ["", *(paired(after, before) for (_, before), (_, after) in pairwise(pairs))]
    rows = [
        [name, interval(own), interval(taught), step]
        for name, (own, taught), step in zip(names, pairs, steps, strict=True)
    ]
    columns = [label, "teacher, %", "its student, %", "minus the row above, paired"]
    return Table(columns, rows, note=f"{len(pairs[0][0])} seeds: {note}")


def students(results: Results, names: Sequence[str]) -> Table:
    """Other students, alone and with the same teacher."""
    from ..views import Table

    rows = []
    for name in names:
        alone, taught = (
            results.values(experiment="students", student=name, method=m) for m in ("scratch", "hinton")
        )
        rows.append([name, interval(alone), interval(taught), paired(taught, alone)])
    columns = ["student", "alone, %", "distilled, %", "gain, paired"]
    return Table(columns, rows, note=f"{len(alone)} seeds, a third of the steps: {results.command}")


def costs(names: Sequence[str], num_classes: int, shape: Sequence[int]) -> Table:
    """What networks cost, measured here, and how many times less than the first.

    Args:
        names: of `build`.
        num_classes: of the head.
        shape: of the input, one image.
    """
    from safetensors.torch import save

    from .. import models
    from ..views import Table

    rows, base = [], None
    for name in names:
        net = models.build(name, num_classes)
        spent, clock = models.cost(net, shape), models.latency(net, shape, runs=30)
        numbers = (spent.parameters, len(save(net.state_dict())), spent.macs, clock.median)
        base = base or numbers
        ratios = [first / x for first, x in zip(base, numbers, strict=True)]
        texts = [
            f"{numbers[0] / 1e3:,.0f} k", f"{numbers[1] / 1e3:,.0f} kB", f"{numbers[2] / 1e6:.1f} M",
            f"{numbers[3]:.1f} ms",
        ]  # fmt: skip
        rows.append([name, *(f"{t} ({r:.1f}x)" for t, r in zip(texts, ratios, strict=True))])
    columns = ["network", "parameters", "file", "MACs", "median latency"]
    note = f"One image, {clock.device}, {clock.threads} thread; in brackets: times less than {names[0]}."
    return Table(columns, rows, note=note)
