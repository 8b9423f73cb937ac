"""The tables of lab 12. Runs that are not made yet have no row, so that a part of them can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..profiles import Profile
from .lab12 import COMPARISON, CONTROLS, STUDENTS
from .results import Results
from .stats import Interval

if TYPE_CHECKING:
    from ..views import Table

Where = Mapping[str, Any]
# What stands in the table of VL2Lite's halves, and how its runs are selected.
HALVES: dict[str, Where] = {
    "student alone": {"experiment": "alone", "method": "scratch"},
    "label smoothing": {"experiment": "alone", "method": "label_smoothing"},
    "visual half alone": {"experiment": "terms", "terms": "image"},
    "linguistic half alone": {"experiment": "terms", "terms": "text"},
    "VL2Lite": {"experiment": "terms", "terms": "both"},
    "VL2Lite, visual target held still": {"experiment": "terms", "terms": "stopped"},
}


def comparison(profile: Profile) -> SimpleNamespace:
    """The comparison's settings with those of its rows that the lab draws: others need not be done.

    Under any profile the tables are those of the miniature.
    """
    from .matrix import setting

    s = setting(COMPARISON)
    s.methods = {name: options for name, options in s.methods.items() if name in profile.lab(12).compared}
    s.references = ["zero-shot"]
    return s


def by_budget(results: Results, profile: Profile) -> Table:
    """The rows that the lab draws, at every budget where all of them are done, and differences at one."""
    from ..views import Table
    from .matrix_read import accuracy, done, gain, shown
    from .matrix_rows import KINDS, REFERENCES

    s, reported = comparison(profile), profile.lab(12).reported
    found, columns = done(results, s), shown(results, s)
    at = {"per_class": reported}
    words = {"zero-shot": REFERENCES["zero-shot"].words} | {m: KINDS[m].words for m in s.methods}
    rows = []
    for name, word in words.items():
        less = ["" if name == other else gain(found, name, other, at) for other in ("zero-shot", "scratch")]
        rows.append([word, *(accuracy(found, name, where) for where in columns.values()), *less])
    seeds = len(found.select(method="scratch", **at))
    note = f"Test accuracy, %; mean ± 95 % interval, {seeds} seeds at {reported} labels: {results.command}"
    heads = [f"minus {word}, {reported} labels" for word in ("zero-shot", "alone")]
    return Table(["", *columns, *heads], rows, note=note)


def gains(results: Results, rows: Mapping[str, Where], against: Sequence[str], label: str) -> Table:
    """Accuracy of each row, and its paired difference from some of them over the seeds that both have.

    Args:
        results: of lab 12.
        rows: name -> how its runs are selected.
        against: names of rows.
        label: head of the first column.
    """
    from ..views import Table

    made = {name: where for name, where in rows.items() if results.select(**where)}
    lines = [
        [
            name,
            results.interval(**where),
            *(
                "" if name == other else results.gain(where, made[other])
                for other in against
                if other in made
            ),
        ]
        for name, where in made.items()
    ]
    heads = [f"minus {other}" for other in against if other in made]
    seeds = max((len(results.select(**where)) for where in made.values()), default=0)
    note = f"{seeds} seeds, differences paired: {results.command}"
    return Table([label, "test accuracy, %", *heads], lines, note=note)


def by_scale(results: Results, scales: Sequence[float]) -> dict[float, Interval]:
    """Accuracy of KD(CLIP) at each logit scale that was run."""
    found = {}
    for scale in scales:
        where = {"experiment": "scale", "scale": float(scale)}
        if results.select(**where):
            found[scale] = results.interval(**where)
    return found


def spreads(results: Results) -> dict[str, list[list[float]]]:
    """The spread of the condensed images in each epoch, by seed: where the target moves, where it can't."""
    words = {"both": "both sides move", "stopped": "target held still"}
    found = {name: results.select(experiment="spread", terms=terms) for terms, name in words.items()}
    return {name: [row["examples"] for row in rows] for name, rows in found.items() if rows}


def scores(results: Results) -> dict[str, list[float]]:
    """The attention-on-part scores by seed: of students in words, each beside its own mean map's."""
    from .matrix_rows import KINDS

    found = {}
    for method in STUDENTS:
        for at, words in (("share", ""), ("fixed", ", its mean map")):
            where = {"experiment": "looks", "method": method, "at": at}
            if results.select(**where):
                found[KINDS[method].words + words] = results.values("mass", **where)
    return found


def controls(results: Results) -> dict[str, float]:
    """What maps that know less, or best, get on the same images, averaged over seeds."""
    found = {name: results.select(experiment="looks", method=name) for name in CONTROLS}
    return {name: sum(row["mass"] for row in rows) / len(rows) for name, rows in found.items() if rows}


def looks(results: Results) -> Table:
    """The scores and the controls in one table."""
    from ..views import Table
    from .stats import interval

    rows = [[name, interval(values)] for name, values in scores(results).items()]
    rows += [[name, f"{100 * value:.1f}"] for name, value in controls(results).items()]
    return Table(["", "share on the telling parts, %"], rows, note=results.command)
