"""What `labkit distill` prints at its end and writes as report.html."""

from __future__ import annotations

from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from .stats import interval, paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..views import Table
    from .distill import Outcome

_MOST_CLASSES = 20  # of a readable confusion matrix


def report(found: Outcome, s: SimpleNamespace, out: Path, seconds: float) -> Path:
    """Print the table and the gain; write history.csv and report.html into `out`."""
    from ..engine import History
    from ..views.report import write_report

    made, said = _table(found, s), _claim(found)
    print(made, said, sep="\n")
    History(
        {"method": method, "seed": seed, **row}
        for method, runs in found.runs.items()
        for seed, run in enumerate(runs)
        for row in run.history
    ).save(out / "history.csv")
    text = f"{escape(said)} Made by <code>labkit distill {escape(found.method)}</code> in {seconds:.0f} s."
    title = f"{s.student['name']} on {s.data['name']}: {found.method}"
    path = write_report(out / "report.html", title, text, made, _figures(found))
    print(f"Report: {path}")
    return path


def accuracies(found: Outcome, name: str) -> list[float]:
    """Test accuracy per seed."""
    return [test.accuracy for test in found.tests[name]]


def _words(found: Outcome) -> dict[str, str]:
    words = {"teacher": "teacher", "scratch": "student alone", found.method: f"student, {found.method}"}
    return {name: title for name, title in words.items() if name in found.tests}


def _table(found: Outcome, s: SimpleNamespace) -> Table:
    from ..views import Table

    seeds = len(found.tests["scratch"])
    rows = [[title, interval(accuracies(found, name))] for name, title in _words(found).items()]
    note = f"Mean ± 95 % interval over {seeds} seeds." if seeds > 1 else "One seed: no interval."
    return Table([f"on {s.data['name']}", "test accuracy, %"], rows, note=note)


def _claim(found: Outcome) -> str:
    if found.method == "scratch":
        return "This is the student alone."
    gain = paired(accuracies(found, found.method), accuracies(found, "scratch"))
    seeds = len(found.tests["scratch"])
    over = f"paired over {seeds} seeds (95 % interval)" if seeds > 1 else "of one seed"
    return f"{found.method} minus the student alone, {over}: {gain} points of test accuracy."


def _figures(found: Outcome) -> list[tuple[Figure, str]]:
    from ..views import plot_confusion, plot_losses, plot_run, plot_seeds

    words = {name: title for name, title in _words(found).items() if name != "teacher"}
    teacher = {"teacher": interval(accuracies(found, "teacher")).mean} if "teacher" in found.tests else {}
    figures = [
        (
            plot_seeds({title: accuracies(found, name) for name, title in words.items()}, teacher),
            "Test accuracy of each seed" + ("; line: the teacher's mean" if teacher else ""),
        )
    ]
    losses = {title: found.runs[name][0].losses for name, title in words.items()}
    if all(losses.values()):  # a run that was finished before and only read again has none
        figures.append(
            (plot_losses(losses), "Training loss by step, first seed. Objectives differ: compare shapes")
        )
    figures += [
        (plot_run(found.runs[name][0]), f"{title}, first seed: loss terms and accuracy by epoch")
        for name, title in words.items()
    ]
    first = {title: found.tests[name][0] for name, title in words.items()}
    if len(next(iter(first.values())).classes) <= _MOST_CLASSES:
        figures.append(
            (plot_confusion(first), "Mistakes on test images by true and predicted class, first seed")
        )
    return figures
