"""The table, the claims and the figure of a data set's comparison, made from its results."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..paths import write_atomic
from .matrix import KINDS, best, lengths
from .results import Results
from .stats import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..views import Table

CONTROLS = {
    "scratch": "minus alone",
    "label_smoothing": "minus smoothing",
    "finetuned": "minus pretrained alone",
}
# What has to be beaten for a claim; the last is asked for by itself, for its student starts elsewhere.
CLAIMS = (("scratch", "label_smoothing"), ("finetuned",))


def conditions(s: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """What the rows of one method differ in, in words, and how to select them."""
    found = {}
    for per_class in s.budgets:
        for length in lengths(s):
            labels = f"{per_class} label{'s' * (per_class > 1)}" if per_class else "all labels"
            words = [labels] * (len(s.budgets) > 1 or not length) + [f"{n} epochs" for n in length.values()]
            found[", ".join(words)] = {"per_class": per_class, **length}
    return found


def rows(results: Results, s: SimpleNamespace) -> dict[str, str]:
    """The methods that were run, with their words."""
    names = {"teacher": "teacher"} | {name: KINDS[name].words for name in s.methods}
    return {name: words for name, words in names.items() if results.select(experiment="main", method=name)}


def shown(results: Results, s: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """The conditions under which all these methods were run with the same seeds; others are not done yet."""
    names = rows(results, s)
    found = {}
    for words, where in conditions(s).items():
        seeds = {tuple(row["seed"] for row in results.select(**_wanted(name, where))) for name in names}
        if len(seeds) == 1 and seeds != {()}:
            found[words] = where
    return found


def accuracy(results: Results, method: str, where: dict[str, Any], measure: str = "test") -> Interval:
    """Mean and interval of a method under one condition."""
    return results.interval(measure, **_wanted(method, where))


def values(results: Results, method: str, where: dict[str, Any], measure: str = "test") -> list[Any]:
    """What was measured of a method under one condition, by seed."""
    return results.values(measure, **_wanted(method, where))


def gain(results: Results, method: str, control: str, where: dict[str, Any]) -> Interval:
    """Paired difference of a method to a control under one condition."""
    return results.gain(_wanted(method, where), _wanted(control, where))


def _wanted(method: str, where: dict[str, Any]) -> dict[str, Any]:
    if method == "teacher":  # it is the same however long its student trains
        where = {"per_class": where["per_class"]}
    return {"experiment": "main", "method": method, **where}


def table(results: Results, s: SimpleNamespace) -> Table:
    """Accuracy of every method under every condition, and its paired gains under the first."""
    from ..views import Table

    where, words = shown(results, s), rows(results, s)
    first = next(iter(where))
    controls = {name: title for name, title in CONTROLS.items() if name in words}
    inside = any("inside" in row for row in results.rows)
    columns = ["test accuracy, %", *where, *(f"{title}, {first}" for title in controls.values())]
    columns += ["errors among look-alikes, %"] * inside
    body = []
    for method, name in words.items():
        line = [name, *(accuracy(results, method, chosen) for chosen in where.values())]
        for control in controls:
            alike = method in (control, "teacher")
            line.append("" if alike else gain(results, method, control, where[first]))
        if inside:
            line.append(accuracy(results, method, where[first], "inside"))
        body.append(line)
        if method == "takd":
            assistants = [accuracy(results, method, chosen, "assistant") for chosen in where.values()]
            body.append(["  its assistant", *assistants, *[""] * (len(columns) - 1 - len(where))])
    seeds = {name: len(values(results, next(iter(words)), chosen)) for name, chosen in where.items()}
    alike = len(set(seeds.values())) == 1
    over = seeds[first] if alike else ", ".join(f"{n} ({name})" for name, n in seeds.items())
    note = (
        f"Labels per class; mean ± 95 % interval over {over} seeds; differences are paired by seed. Made"
        f" by `{results.command}` ({results.machine})."
    )
    return Table(columns, body, note=note)


def claims(results: Results, s: SimpleNamespace) -> list[str]:
    """For every condition, which methods are above the controls with intervals that exclude zero."""
    words = rows(results, s)
    found = []
    for (name, where), wanted in product(shown(results, s).items(), CLAIMS):
        controls = [control for control in wanted if control in words]
        if not controls:
            continue
        above = [
            title
            for method, title in words.items()
            if method not in ("teacher", *CONTROLS)
            and all(_above(gain(results, method, control, where)) for control in controls)
        ]
        against = " and ".join(KINDS[control].words for control in controls)
        found.append(f"{name}: above {against}, each interval without zero: {', '.join(above) or 'none'}.")
    return found


def _above(difference: Interval) -> bool:
    return difference.mean > 0 and difference.excludes_zero


def picture(results: Results, s: SimpleNamespace) -> Figure:
    """Every method but the teacher under every condition; lines show the student alone."""
    from ..views.comparison import plot_methods

    where, words = shown(results, s), rows(results, s)
    students = {method: name for method, name in words.items() if method != "teacher"}
    values = {
        name: [accuracy(results, method, chosen) for chosen in where.values()]
        for method, name in students.items()
    }
    title = f"Student {s.student['name']}, teacher {s.teacher['name']}"
    if "teacher" in words:
        levels = (f"{100 * accuracy(results, 'teacher', chosen).mean:.0f} %" for chosen in where.values())
        title += f" ({', '.join(dict.fromkeys(levels))})"
    return plot_methods(values, list(where), baseline=students.get("scratch"), title=title)


def write(results: Results, s: SimpleNamespace, path: Path) -> list[Path]:
    """Print table and claims; write them as `NAME.md` and the figure as `NAME.png` beside the results file.

    Returns:
        The two files; none where nothing is done yet.
    """
    from ..views.figures import png

    if not shown(results, s):
        return []
    made, said = table(results, s), claims(results, s)
    print(made, *said, sep="\n")
    text = "\n\n".join([made.markdown(), "\n".join(f"- {claim}" for claim in said), made.note])
    return [
        write_atomic(path.with_suffix(".md"), text + "\n"),
        write_atomic(path.with_suffix(".png"), png(picture(results, s))),
    ]


def write_tuning(results: Results, s: SimpleNamespace) -> None:
    """Print for every method the configuration that validation chose."""
    for method in s.methods:
        options, score = best(s, results, method)
        words = ", ".join(f"{name}: {value}" for name, value in options.items())
        print(f"  {method}: {{{words}}}  # {score:.1%} on validation")
