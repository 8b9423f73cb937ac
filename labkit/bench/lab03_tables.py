"""Lab 03's tables: of the committed runs, and of what networks cost on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..profiles import profile
from .results import Results
from .stats import Interval, interval, paired

if TYPE_CHECKING:
    from ..engine import Evaluation
    from ..views import Table

MAIN = {"experiment": "main", "per_class": 5}  # the comparison's rows that this lab stands on
_KEPT = {
    "hinton": "as they are",
    "permuted": "shuffled",
    "even": "even",
    "scratch": "none (labels alone)",
}


def gap(tests: Mapping[str, Evaluation]) -> Table:
    """Networks on the same test images, how far each is behind the teacher, and the part of a gap closed.

    Args:
        tests: by name; 'alone', 'distilled' and 'teacher' are read.
    """
    from ..views import Table

    best, rows = tests["teacher"].accuracy, []
    for name, t in tests.items():
        low, high = t.interval
        rows.append([name, f"{t.accuracy:.1%}", f"{low:.1%} to {high:.1%}", f"{best - t.accuracy:.1%}"])
    alone, taught = (tests[name].accuracy for name in ("alone", "distilled"))
    columns = ["network", "test accuracy", "95 % interval over images", "behind the teacher"]
    note = f"One seed; distillation closes {(taught - alone) / (best - alone):.0%} of the gap."
    return Table(columns, rows, note=note)


def methods(table: Results, per_class: int) -> Table:
    """The comparison on the Aviary at one budget: accuracy, errors in the family, paired differences.

    The last rows are students that start where the teacher started.
    """
    from ..views import Table
    from .matrix import KINDS

    controls = {"scratch": "minus alone", "label_smoothing": "minus smoothing"}
    controls["finetuned"] = "minus pretrained alone"
    names = ("hinton", "takd", "label_smoothing", "scratch", "hinton finetuned", "finetuned")
    main = {"experiment": "main", "per_class": per_class}
    runs = {m: table.values(**main, method=m) for m in ("teacher", *names)}
    rows = []
    for m, values in runs.items():
        asked = [c for c in controls if m not in ("teacher", "scratch", c)]
        gains = [paired(values, runs[c]) if c in asked else "" for c in controls]
        words = KINDS[m].words if m in KINDS else m
        rows.append([words, interval(values), table.interval("inside", **main, method=m), *gains])
    columns = ["", "test accuracy, %", "errors in the family, %", *controls.values()]
    note = f"Mean ± 95 % interval over {len(runs['scratch'])} seeds, differences in points, paired by seed: "
    caption = f"birds, {per_class} labels per class"
    return Table(columns, rows, caption=caption, note=note + table.command)


def lengths(results: Results, table: Results) -> Table:
    """The comparison's students after more steps, with differences from controls and the teacher, paired."""
    from ..views import Table
    from .matrix import KINDS

    runs = by_length(results, table)
    steps = sorted({n for _, n in runs})
    words = {m: KINDS[m].words for m in dict.fromkeys(m for m, _ in runs)}
    rows = [[words[m], *(interval(runs[m, n]) if (m, n) in runs else "" for n in steps)] for m in words]
    own = table.values(**MAIN, method="teacher")[: len(runs["scratch", steps[0]])]
    runs |= {("teacher", n): own for n in steps}  # its own training has one length
    words["teacher"] = "teacher"
    against = (
        ("hinton", "scratch"),
        ("hinton", "teacher"),
        ("finetuned", "teacher"),
        ("reviewkd", "finetuned"),
    )
    for m, other in against:
        both = [n for n in steps if {(m, n), (other, n)} <= runs.keys()]
        gains = [paired(runs[m, n], runs[other, n]) if n in both else "" for n in steps]
        rows.append([f"{words[m]} minus {words[other]}", *gains])
    note = f"Test accuracy, %; {len(own)} seeds, differences in points, paired: {results.command}"
    return Table(["", *(f"{n} steps" for n in steps)], rows, note=note)


def by_length(results: Results, table: Results) -> dict[tuple[str, int], list[float]]:
    """Test accuracies by method and steps, of the first seeds; the shortest runs are the comparison's."""
    seeds = {row["seed"] for row in results.select(experiment="length")}
    short = profile("cpu").lab(3).training["steps"]
    runs = {}
    for m in ("scratch", "hinton", "reviewkd", "finetuned"):
        kept = [row for row in table.select(**MAIN, method=m) if row["seed"] in seeds]
        runs[m, short] = [row["test"] for row in kept]
    for m, n in sorted({(row["method"], row["steps"]) for row in results.select(experiment="length")}):
        runs[m, n] = results.values(experiment="length", method=m, steps=n)
    return runs


def cifar(table: Results) -> Table:
    """The same comparison where labels are plenty: CIFAR-10, after few epochs and after more."""
    from ..views import Table

    rows = []
    for epochs in sorted({row["epochs"] for row in table.rows if "epochs" in row}):
        alone, taught = ({"experiment": "main", "method": m, "epochs": epochs} for m in ("scratch", "hinton"))
        gain = table.gain(taught, alone)
        rows.append([f"{epochs} epochs", table.interval(**alone), table.interval(**taught), gain])
    (images,) = {10 * row["per_class"] for row in table.rows}
    own = table.interval(experiment="main", method="teacher")
    columns = ["", "student alone, %", "distilled, %", "gain, paired"]
    note = f"{images} training images of CIFAR-10, 3 seeds, teacher {own} %: {table.command}"
    return Table(columns, rows, note=note)


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


def by_teacher(results: Results, table: Results, **where: Any) -> tuple[list[float], list[float]]:
    """Test accuracies of a sweep's teachers and of their students, by seed.

    Args:
        results: of lab 03.
        table: of the comparison, whose teacher and students are one point of each sweep.
        where: `teacher` and `temperature`, or `teacher_steps`; nothing for the comparison's own.
    """
    if not where:
        seeds = {row["seed"] for row in results.select(experiment="teachers")}
        pair = (table.select(**MAIN, method=m) for m in ("teacher", "hinton"))
        return tuple([row["test"] for row in rows if row["seed"] in seeds] for rows in pair)
    where["experiment"] = "teachers" if "teacher" in where else "teacher_steps"
    return results.values("teacher_test", **where), results.values(**where)


def by_size(results: Results, table: Results) -> dict[str, tuple[list[float], list[float]]]:
    """Teachers of one family by size, each at its own temperature: accuracies as in `by_teacher`."""
    s = profile("cpu").lab(3)
    usual = (s.teacher["name"], s.options["hinton"]["temperature"])
    return {
        name: by_teacher(
            results, table, **({} if (name, heat) == usual else {"teacher": name, "temperature": heat})
        )
        for name, heat in s.teachers.items()
    }


def sizes(results: Results, table: Results) -> Table:
    """Teachers of one family by size, the temperature each was best at, and what of them arrives."""
    from .. import models

    s, pairs = profile("cpu").lab(3), by_size(results, table)
    counts = {n: sum(w.numel() for w in models.build(n, 60).parameters()) for n in pairs}
    names = [f"{n}, {counts[n] / 1e3:.0f} k, T = {s.teachers[n]:g}" for n in pairs]
    tried = ", ".join(f"{heat:g}" for heat in s.tried_temperatures)
    note = f"each T chosen of {tried} on validation, another seed; {results.command}"
    return sweep(names, list(pairs.values()), "teacher, parameters", note)


def chains(results: Results, table: Results) -> Table:
    """Taught by the teacher, by an assistant of either start, or by a teacher of the assistant's shape."""
    from ..views import Table

    rows = results.select(experiment="assistant")
    seeds = [row["seed"] for row in rows]
    takd, direct, own = (
        [row for row in table.select(**MAIN, method=m) if row["seed"] in seeds]
        for m in ("takd", "hinton", "teacher")
    )
    small = by_size(results, table)[profile("cpu").lab(3).assistant]
    found = {
        "the teacher": ([row["test"] for row in own], [row["test"] for row in direct]),
        "an assistant, from scratch": tuple([row[k] for row in takd] for k in ("assistant", "test")),
        "an assistant, pretrained": tuple([row[k] for row in rows] for k in ("assistant", "test")),
        "the assistant's shape, as a teacher": small,
    }
    first = found["the teacher"][1]
    lines = [
        [name, interval(guide), interval(taught), "" if taught is first else paired(taught, first)]
        for name, (guide, taught) in found.items()
    ]
    columns = ["taught by", "its accuracy, %", "the student's, %", "minus by the teacher, paired"]
    return Table(columns, lines, note=f"{len(seeds)} seeds: {results.command}")


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
