"""The tables, the claims and the figure of a data set's comparison, made from its results."""

from __future__ import annotations

from collections.abc import Container, Mapping
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..paths import write_atomic
from .matrix import KINDS, REFERENCES
from .matrix_read import accuracy, best_of, done, gain, on_roster, rows, shown, values
from .matrix_tuning import best, tuned
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


def table(results: Results, s: SimpleNamespace) -> Table:
    """Accuracy of every method under every condition, and its paired gains under the first."""
    from ..views import Table

    where, words, results = shown(results, s), rows(results, s), done(results, s)
    first = next(iter(where))
    controls = {name: title for name, title in CONTROLS.items() if name in words}
    inside = any("inside" in row for row in results.rows)
    columns = ["test accuracy, %", *where, *(f"{title}, {first}" for title in controls.values())]
    columns += ["errors among look-alikes, %"] * inside
    body = []
    for method, name in words.items():
        line = [name, *(accuracy(results, method, chosen) for chosen in where.values())]
        for control in controls:
            alike = method == control or method in REFERENCES
            line.append("" if alike else gain(results, method, control, where[first]))
        if inside:
            line.append(accuracy(results, method, where[first], "inside"))
        body.append(line)
        if method in ("takd", "takd_clip"):
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
    words, conditions, results, found = rows(results, s), shown(results, s), done(results, s), []
    for (name, where), wanted in product(conditions.items(), CLAIMS):
        controls = [control for control in wanted if control in words]
        if not controls:
            continue
        above = [
            title
            for method, title in words.items()
            if method not in (*REFERENCES, *CONTROLS)
            and all(_above(gain(results, method, control, where)) for control in controls)
        ]
        against = " and ".join(KINDS[control].words for control in controls)
        found.append(f"{name}: above {against}, each interval without zero: {', '.join(above) or 'none'}.")
    return found


def differences(results: Results, s: SimpleNamespace) -> Table | None:
    """The differences that the preset asks for, paired by seed, under every condition; None if for none.

    Against several methods it is the best of them under that condition, by the test images, to their favour.
    """
    from ..views import Table

    where, words = shown(results, s), rows(results, s)
    body = _differences(done(results, s), s, words, where)
    return Table(["points, paired by seed", *where], body) if body else None


def _differences(
    results: Results, s: SimpleNamespace, words: Mapping[str, str], where: Mapping[str, dict[str, Any]]
) -> list[list[Any]]:
    """A line for every pair of the preset whose methods are among `words`."""
    body = []
    for ours, others in _asked(s, words):
        best = "the best of " * (len(others) > 1)
        line = [f"{words[ours]} minus {best}{', '.join(words[name] for name in others)}"]
        body.append(
            line
            + [gain(results, ours, best_of(results, others, chosen), chosen) for chosen in where.values()]
        )
    return body


def _asked(s: SimpleNamespace, known: Container[str]) -> list[tuple[str, list[str]]]:
    """The preset's differences, of known methods."""
    pairs = [(a, [b] if isinstance(b, str) else b) for a, b in getattr(s, "differences", ())]
    found = [(ours, [name for name in others if name in known]) for ours, others in pairs if ours in known]
    return [(ours, others) for ours, others in found if others]


def roster(results: Results, s: SimpleNamespace) -> Table | None:
    """Accuracy of some methods on every student of the roster, and their differences; None if not run yet."""
    from ..views import Table

    found, where = on_roster(results, s)
    if not where:
        return None
    words = {method: KINDS[method].words for method in s.roster["methods"]}
    body = [[name, *(accuracy(found, m, chosen) for chosen in where.values())] for m, name in words.items()]
    body += _differences(found, s, words, where)
    seeds = len({row["seed"] for row in found.rows})
    note = f"{s.roster['per_class']} labels per class, {seeds} seeds, {s.training['steps']} steps."
    return Table(["test accuracy, %", *where], body, note=note)


def _above(difference: Interval) -> bool:
    return difference.mean > 0 and difference.excludes_zero


def picture(results: Results, s: SimpleNamespace) -> Figure:
    """Every method under every condition: curves over three budgets or more, else a row of intervals each."""
    from ..views.comparison import plot_budgets, plot_methods

    where, words, results = shown(results, s), rows(results, s), done(results, s)
    levels = {name: [accuracy(results, name, chosen) for chosen in where.values()] for name in words}
    budgets = [chosen["per_class"] for chosen in where.values()]
    title = f"Student {s.student['name']}, teacher {s.teacher['name']}"
    if len(set(budgets)) > 2:
        asked = [(ours, *others) for ours, others in _asked(s, words) if len(others) == 1]
        marked = {words[name] for pair in asked for name in pair}
        named = {words[name]: level for name, level in levels.items()}
        flat = {words[name] for name in words if name in REFERENCES}
        return plot_budgets(named, budgets, marked=marked, references=flat, title=title)
    if "teacher" in words:
        shares = (f"{100 * level.mean:.0f} %" for level in levels["teacher"])
        title += f" ({', '.join(dict.fromkeys(shares))})"
    students = {words[name]: level for name, level in levels.items() if name not in REFERENCES}
    baseline = words.get("scratch")
    return plot_methods(students, list(where), baseline=baseline, title=title)


def write(results: Results, s: SimpleNamespace, path: Path) -> list[Path]:
    """Print table and claims; write them as `NAME.md` and the figure as `NAME.png` beside the results file.

    Returns:
        The two files; none where nothing is done yet.
    """
    from ..views.figures import png

    if not shown(results, s):
        return []
    made, said = table(results, s), claims(results, s)
    more = [part for part in (differences(results, s), roster(results, s)) if part is not None]
    print(made, *said, *more, sep="\n")
    parts = [made.markdown(), "\n".join(f"- {claim}" for claim in said), made.note]
    text = "\n\n".join(parts + [text for part in more for text in (part.markdown(), part.note) if text])
    return [
        write_atomic(path.with_suffix(".md"), text + "\n"),
        write_atomic(path.with_suffix(".png"), png(picture(results, s))),
    ]


def write_tuning(results: Results, s: SimpleNamespace) -> None:
    """Print for every method the configuration that validation chose."""
    for per_class, method in tuned(s):
        options, score = best(s, results, method, per_class)
        words = ", ".join(f"{name}: {value}" for name, value in options.items())
        print(f"  {method}: {{{words}}}  # {score:.1%} on validation, {per_class} labels")
