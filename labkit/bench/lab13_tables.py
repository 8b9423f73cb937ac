"""The tables of lab 13. Beside every one stand the intermediate and the vision-language model itself.

Runs are kept by seed, and differences pair the seeds that both have; what is not run yet is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import MissingError
from . import matrix_read
from .matrix_rows import KINDS, REFERENCES
from .results import Results, read_results
from .stats import Interval, interval, paired

if TYPE_CHECKING:
    from ..views import Table

BySeed = dict[int, float]
DIRECT = ("kd_clip", "rkd_clip", "vl2lite")  # CLIP, without anything in between
BESIDE = ("zero-shot", "teacher", "intermediate", "finetuned")
# The rows of the ablation of stage 1, in words.
TERMS = {
    "frozen": "nothing: generic weights, a trained head",
    "labels": "labels alone",
    "sia": "labels + SIA",
    "ira": "labels + IRA",
    "both": "labels + SIA + IRA",
}


def found(name: str) -> Results:
    """Shipped results, or none where they are not made yet."""
    try:
        return read_results(name)
    except MissingError:
        return Results("not run yet")


def words(row: str) -> str:
    """A row of the comparison in words."""
    return {**REFERENCES, **KINDS}[row].words


def by_seed(runs: Iterable[Mapping[str, Any]], measure: str) -> BySeed:
    """One measure of some runs, of those that have it."""
    return {run["seed"]: run[measure] for run in runs if measure in run}


def at(results: Results, row: str, per_class: int) -> BySeed:
    """A row's test accuracies at one budget."""
    return by_seed(results.select(experiment="main", method=row, per_class=per_class), "test")


def mean(runs: BySeed) -> Interval | str:
    """Mean and interval over the seeds; '-' without any."""
    return interval(list(runs.values())) if runs else "-"


def difference(first: BySeed, second: BySeed) -> Interval | str:
    """First - second over the seeds that both have; '-' without any."""
    seeds = sorted(first.keys() & second.keys())
    return paired([first[s] for s in seeds], [second[s] for s in seeds]) if seeds else "-"


def lead(results: Results, s: SimpleNamespace, row: str) -> str:
    """DAIT-F minus a row at every budget where both were run, paired by seed."""
    gains = {n: difference(at(results, "dait-f", n), at(results, row, n)) for n in s.reported}
    return ", ".join(f"{gain} ({n} labels)" for n, gain in gains.items() if gain != "-") or "not run yet"


def student(name: str, s: SimpleNamespace) -> str:
    """One of the networks that are looked into, in words."""
    return {"direct": words(s.direct)}.get(name) or words(name)


def best_direct(results: Results, per_class: int) -> str:
    """The direct method of the largest mean on the test images: chosen in its own favour."""
    runs = {row: x for row in DIRECT if (x := at(results, row, per_class))}
    return max(runs, key=lambda row: mean(runs[row]), default=DIRECT[-1])


def opening(results: Results, s: SimpleNamespace) -> Table:
    """CLIP, the students that ask it directly or not, and DAIT's intermediate, at the lab's budget."""
    from ..views import Table

    rows = ["zero-shot", "scratch", best_direct(results, s.per_class), "intermediate"]
    shown = [[words(row), mean(x)] for row in rows if (x := at(results, row, s.per_class))]
    note = f"Mean ± 95 % interval over seeds: {results.command}"
    return Table([f"{s.per_class} labels per species", "test accuracy, %"], shown, note=note)


def comparison(results: Results, s: SimpleNamespace) -> Table:
    """Every row at every budget, and how far DAIT-F leads it at the lab's budget, paired by seed."""
    from ..views import Table

    budgets = [n for n in s.reported if at(results, "dait-f", n)]
    shown = [row for row in (*s.references, *s.methods) if any(at(results, row, n) for n in budgets)]
    lead = at(results, "dait-f", s.per_class)
    rows = []
    for row in shown:
        cells = [mean(at(results, row, n)) for n in budgets]
        ahead = "" if row == "dait-f" else difference(lead, at(results, row, s.per_class))
        rows.append([words(row), *cells, ahead])
    columns = [f"{n} labels, %" for n in budgets]
    ahead = f"DAIT-F minus it, {s.per_class} labels"
    counts = ", ".join(str(len(at(results, "dait-f", n))) for n in budgets)
    note = f"Mean ± 95 % interval over {counts} seeds; differences paired: {results.command}"
    return Table(["test accuracy", *columns, ahead], rows, note=note)


def curves(results: Results, s: SimpleNamespace) -> tuple[dict[str, list[Interval]], list[str]]:
    """The drawn rows with an interval at every budget that all of them have, and these budgets in words."""
    budgets = [n for n in s.reported if all(at(results, row, n) for row in s.drawn)]
    rows = {words(row): [mean(at(results, row, n)) for n in budgets] for row in s.drawn}
    return rows, [f"{n} labels" for n in budgets]


def students(results: Results, s: SimpleNamespace) -> Table | str:
    """The roster: every student with every method, and DAIT-F's paired lead over VL2Lite."""
    from ..views import Table

    kept, where = matrix_read.on_roster(results, s)
    if not where:
        return f"Other students were not run yet: {results.command}"
    methods = s.roster["methods"]
    rows = []
    for name, wanted in where.items():
        runs = {method: by_seed(kept.select(method=method, **wanted), "test") for method in methods}
        rows.append([name, *map(mean, runs.values()), difference(runs["dait-f"], runs["vl2lite"])])
    columns = ["student", *(words(method) for method in methods), "DAIT-F minus VL2Lite"]
    return Table(columns, rows, note=beside(results, s, s.roster["per_class"]))


def candidates(results: Results, comparison: Results, s: SimpleNamespace) -> Table:
    """What was known of each intermediate before training, and what came of it, the best student first."""
    from ..views import Table

    rows = []
    for name, runs in by_candidate(results).items():
        one = runs[0]
        known = [f"{one[k]:.2f}" for k in ("cka_unbiased", "cka", "cka_noise")]
        scores = [mean(by_seed(runs, measure)) for measure in ("adapted", "test")]
        rows.append([name, *known, one["embedding_dim"], f"{one['parameters']:,}", *scores])
    columns = ["intermediate", "CKA, unbiased", "biased", "noise as wide", "width", "parameters"]
    note = beside(comparison, s, s.per_class, results.command)
    return Table([*columns, "its accuracy, %", "its student's, %"], rows, note=note)


def by_candidate(results: Results) -> dict[str, list[dict[str, Any]]]:
    """The runs of each intermediate by name, the one with the best student first."""
    kept: dict[str, list[dict[str, Any]]] = {}
    for run in results.select(experiment="intermediates"):
        kept.setdefault(run["intermediate"], []).append(run)
    return dict(sorted(kept.items(), key=lambda item: -mean(by_seed(item[1], "test")).mean))


def terms(results: Results, comparison: Results, s: SimpleNamespace) -> Table:
    """What trains the intermediate: its accuracy and its student's, and both minus the labels' alone."""
    from ..views import Table

    found = {name: results.select(experiment="terms", terms=name) for name in TERMS}
    rows = []
    for name, runs in found.items():
        cells: list[Any] = []
        for measure in ("adapted", "test"):
            mine, usual = by_seed(runs, measure), by_seed(found["labels"], measure)
            cells += [mean(mine), "" if name == "labels" else difference(mine, usual)]
        rows += [[TERMS[name], *cells]] if runs else []
    columns = ["what trains the intermediate", "intermediate, %", "minus labels alone"]
    note = beside(comparison, s, s.per_class, results.command)
    return Table([*columns, "its student, %", "minus labels alone"], rows, note=note)


def views(results: Results, comparison: Results, s: SimpleNamespace) -> Table:
    """Accuracies with fewer stored views, and the paired difference from the comparison's number."""
    from ..views import Table

    usual = results.select(experiment="terms", terms="both")
    runs = {v: results.select(experiment="views", views=v) for v in s.views_tried} | {s.views: usual}
    rows = []
    for count, found in runs.items():
        cells = [mean(by_seed(found, measure)) for measure in ("adapted", "test")]
        cost = "" if count == s.views else difference(by_seed(found, "test"), by_seed(usual, "test"))
        rows += [[count, *cells, cost]] if found else []
    columns = ["stored views V", "intermediate, %", "its student, %", f"student minus V = {s.views}"]
    return Table(columns, rows, note=beside(comparison, s, s.per_class, results.command))


def lines(results: Results, experiment: str, measure: str) -> dict[str, BySeed]:
    """Runs of every lambda of a stage: 'lambda' (the student's) or 'first lambda'."""
    rows: dict[str, BySeed] = {}
    for run in results.select(experiment=experiment):
        rows.setdefault(line(run["k"], run["b"], run["e"]), {})[run["seed"]] = run[measure]
    return rows


def line(k: float, b: float, e: str = "progress") -> str:
    """A lambda in words."""
    name = f"k = {k:g}, b = {b:g}"
    if e == "epoch":
        return f"{name}, e the epoch's number"
    return name + (" (constant)" if k == 0 else " (ends at 1)" if k + b == 1 else "")


def lambdas(results: Results, comparison: Results, s: SimpleNamespace) -> Table:
    """Lambda in stage 2 (the student) and in stage 1 (the intermediate), each minus the chosen line."""
    from ..views import Table

    usual = [line(how["k"], how["b"]) for how in (s.methods["dait-f"], s.stage1)]
    found = [lines(results, "lambda", "test"), lines(results, "first lambda", "adapted")]
    found[1][usual[1]] = by_seed(results.select(experiment="terms", terms="both"), "adapted")
    rows = []
    for name in {**found[0], **found[1]}:
        cells: list[Any] = []
        for runs, chosen in zip(found, usual, strict=True):
            got = runs.get(name, {})
            lost = "chosen" if name == chosen else difference(got, runs.get(chosen, {}))
            cells += [mean(got), lost] if got else ["", ""]
        rows.append([name, *cells])
    columns = ["lambda = k e + b", "in stage 2: student, %", "minus the chosen"]
    note = beside(comparison, s, s.per_class, results.command)
    return Table([*columns, "in stage 1: intermediate, %", "minus the chosen"], rows, note=note)


def looks(results: Results, s: SimpleNamespace) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The attention-on-part scores by seed of every network, and the means of the controls."""
    from .lab13 import CONTROLS

    rows: dict[str, list[float]] = {}
    for run in results.select(experiment="looks"):
        rows.setdefault(run["method"], []).append(run["mass"])
    controls = {name: interval(rows.pop(name)).mean for name in CONTROLS if name in rows}
    return {student(name, s): scores for name, scores in rows.items()}, controls


def beside(results: Results, s: SimpleNamespace, per_class: int, command: str = "") -> str:
    """A line below a table: what stands beside every student at this budget, and what made the table."""
    known = {words(row): at(results, row, per_class) for row in BESIDE}
    text = "; ".join(f"{name} {mean(x)}" for name, x in known.items() if x)
    return f"Beside it, {per_class} labels: {text}. Seeds paired: {command or results.command}"
