"""The tables of lab 14: PAND's halves, its prompts, its sweeps, and PAND among the other methods.

What is not run yet is left out; where nothing of a table is, the command stands in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import MissingError
from .results import MEASURED, Results, Sweep, read_results

if TYPE_CHECKING:
    from ..views import Table

HALVES = {
    "baseline": "neither: fixed anchors, alignment alone",
    "calibration": "+ calibration",
    "neighbourhood": "+ neighbourhood",
    "both": "both: PAND",
}
VL2LITE = "neither, with half the text term: VL2Lite"
ANCHORS = {
    "fixed": "one sentence",
    "ensemble": "all templates around the name, averaged",
    "description": "the list of all parts",
    "calibrated": "a learned context",
}
SWEPT = {"k": "neighbours k", "weight": "weight λ", "temperature": "teacher's temperature"}
# The rows of the comparison that lab 14 shows, in this order, if they were run.
COMPARED = (
    "zero-shot",
    "calibrated",
    "teacher",
    "intermediate",
    "intermediate + pand",
    "scratch",
    "finetuned",
    "hinton",
    "kd_clip",
    "vl2lite",
    "pand",
    "dait ce",
    "dait-f",
    "dait + pand",
)


def runs() -> Results:
    """The runs of lab 14: of the seeds that have all four halves, the variants that all these seeds have.

    What a grid that was cut off has found can be read so; of a whole grid nothing is left out.
    """
    try:
        return finished(read_results("lab14"))
    except MissingError:
        return Results("labkit bench --lab 14")


def finished(results: Results) -> Results:
    """See `runs`."""
    seeds = [{row["seed"] for row in results.select(experiment="halves", method=half)} for half in HALVES]
    wanted = set.intersection(*seeds)
    variants: dict[str, list[dict[str, Any]]] = {}
    for row in results.rows:
        if row["seed"] in wanted:
            job = {name: value for name, value in row.items() if name not in (*MEASURED, "seed")}
            variants.setdefault(str(sorted(job.items())), []).append(row)
    rows = [row for found in variants.values() if len(found) == len(wanted) for row in found]
    return Results(results.command, results.machine, rows)


def _missing(results: Results) -> str:
    return f"Not run yet: {results.command}"


def sweeps(results: Results) -> dict[str, Sweep]:
    """What was swept, of those that have at least two points."""
    found = {name: results.sweep(name) for name in SWEPT if results.select(experiment=name)}
    return {name: sweep for name, sweep in found.items() if len(sweep.values) > 1}


def halves(results: Results) -> Table | str:
    """Test accuracy with and without each half, and what each adds, paired by seed."""
    from ..views import Table

    if not results.rows:
        return _missing(results)
    runs = {half: {"experiment": "halves", "method": half} for half in HALVES}
    rows = []
    for half, words in HALVES.items():
        others = [] if half == "baseline" else ["baseline"] if half != "both" else list(HALVES)[:3]
        gains = [
            results.gain(runs[half], runs[other]) if other in others else "" for other in list(HALVES)[:3]
        ]
        rows.append([words, results.interval(**runs[half]), *gains])
    vl2lite = {"experiment": "halves", "method": "vl2lite"}
    if results.select(**vl2lite):
        rows.append([VL2LITE, results.interval(**vl2lite), results.gain(vl2lite, runs["baseline"]), "", ""])
    columns = ["student", "test accuracy, %", "minus neither", "minus + calibration", "minus + neighbourhood"]
    count = len(results.values(**runs["both"]))
    return Table(
        columns, rows, note=f"Mean ± 95 % interval over {count} seeds, differences paired: {results.command}"
    )


def interaction(results: Results) -> Any:
    """What both halves add together beyond the sum of what each adds alone, as an interval."""
    from .stats import interval

    runs = [results.values(experiment="halves", method=half) for half in HALVES]
    seeds = zip(*runs, strict=True)
    return interval([both - calibrated - near + neither for neither, calibrated, near, both in seeds])


def anchors(results: Results) -> Table | str:
    """The model itself with each kind of anchors, and what they add to one sentence."""
    from ..views import Table

    known = [kind for kind in ANCHORS if results.select(experiment="anchors", method=kind)]
    if not known:
        return _missing(results)
    rows = []
    for kind in known:
        own, fixed = ({"experiment": "anchors", "method": name} for name in (kind, "fixed"))
        gain = "" if kind == "fixed" else results.gain(own, fixed)
        rows.append([ANCHORS[kind], results.interval(**own), gain])
    note = f"{len(results.values(**fixed))} seeds, which draw the labels: {results.command}"
    return Table(["anchors", "the model itself, test, %", "minus one sentence"], rows, note=note)


def prompts(results: Results) -> Table | str:
    """The model itself by each kind of anchors, and PAND's student with them."""
    from ..views import Table

    known = [kind for kind in ANCHORS if results.select(experiment="prompts", method=kind)]
    if not known:
        return _missing(results)
    rows = []
    for kind in known:
        own, ours = ({"experiment": name, "method": kind} for name in ("anchors", "prompts"))
        gain = "" if kind == "fixed" else results.gain(ours, {"experiment": "prompts", "method": "fixed"})
        rows.append([ANCHORS[kind], results.interval(**own), results.interval(**ours), gain])
    columns = ["anchors", "the model itself, %", "PAND's student, %", "minus one sentence"]
    count = len(results.values(experiment="prompts", method="fixed"))
    return Table(columns, rows, note=f"{count} seeds, differences paired: {results.command}")


def structure(results: Results) -> Table | str:
    """What each student's neighbourhoods among test images look like."""
    from ..views import Table

    if not results.rows:
        return _missing(results)
    rows = []
    for half, words in HALVES.items():
        where = {"experiment": "halves", "method": half}
        rows.append([words, results.interval("inside", **where), results.interval("agreement", **where)])
    columns = ["student", "neighbours of its species, %", "the teacher's neighbours, %"]
    return Table(columns, rows, note=results.command)


def comparison(results: Results, per_class: int, against: tuple[str, ...] = ("vl2lite", "dait-f")) -> Table:
    """PAND among the methods that ask a vision-language model, from `labkit bench --data aviary-vlm`.

    Args:
        results: of that comparison.
        per_class: labels per class.
        against: rows whose paired difference is shown.
    """
    from ..views import Table
    from .matrix_rows import KINDS, REFERENCES

    runs = {name: {"experiment": "main", "method": name, "per_class": per_class} for name in COMPARED}
    seeds = {name: {row["seed"] for row in results.select(**where)} for name, where in runs.items()}
    runs = {name: where for name, where in runs.items() if seeds[name]}
    common = set.intersection(*(seeds[name] for name in runs)) if runs else set()
    results = Results(results.command, rows=[row for row in results.rows if row["seed"] in common])
    if not common:
        return _missing(results)
    against = tuple(name for name in against if name in runs)
    words = {name: (KINDS.get(name) or REFERENCES[name]).words for name in runs}
    rows = []
    for name, where in runs.items():
        gains = ["" if name == other else results.gain(where, runs[other]) for other in against]
        rows.append(
            [words[name], results.interval(**where), *(gains if name in KINDS else [""] * len(against))]
        )
    columns = ["", "test accuracy, %", *(f"minus {words[name]}" for name in against)]
    note = f"{per_class} labels per class, {len(common)} seeds, differences paired: {results.command}"
    return Table(columns, rows, note=note)
