"""What `labkit distill` prints at its end and writes as report.html."""

from __future__ import annotations

from html import escape
from pathlib import Path
from textwrap import fill
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch

from ..errors import LabkitError
from .stats import interval, paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..views import Table
    from .distill import Outcome

_ORDER = ("zero-shot", "calibrated", "teacher", "intermediate", "scratch")
_MOST_CLASSES = 20  # of a readable confusion matrix
_PICTURES = 6
Figures = list[tuple["Figure", str]]


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
    """What the table's rows are called, in its order."""
    own = {"scratch": "student alone", found.method: f"student, {found.method}"}
    if found.method == "scratch":
        own = {"scratch": "student alone"}
    words = {**found.words, **own}
    return {name: words[name] for name in dict.fromkeys((*_ORDER, found.method)) if name in found.tests}


def _students(found: Outcome) -> dict[str, str]:
    return {name: title for name, title in _words(found).items() if name in ("scratch", found.method)}


def _table(found: Outcome, s: SimpleNamespace) -> Table:
    from ..views import Table

    seeds = len(next(iter(found.tests.values())))
    rows = [[title, interval(accuracies(found, name))] for name, title in _words(found).items()]
    note = f"Mean ± 95 % interval over {seeds} seeds." if seeds > 1 else "One seed: no interval."
    return Table([f"on {s.data['name']}", "test accuracy, %"], rows, note=note)


def _claim(found: Outcome) -> str:
    if found.method == "scratch":
        return "This is the student alone."
    if found.method not in found.tests:
        return f"The first stage of {found.method}; with --resume its students follow."
    gain = paired(accuracies(found, found.method), accuracies(found, "scratch"))
    seeds = len(found.tests["scratch"])
    over = f"paired over {seeds} seeds (95 % interval)" if seeds > 1 else "of one seed"
    return f"{found.method} minus the student alone, {over}: {gain} points of test accuracy."


def _figures(found: Outcome) -> Figures:
    from ..views import plot_confusion, plot_losses, plot_run, plot_seeds
    from ..views.distill import plot_pairs

    words = _students(found)
    above = {n: title for n, title in _words(found).items() if n not in words}
    lines = {title: interval(accuracies(found, name)).mean for name, title in above.items()}
    figures: Figures = []
    if words:
        seeds = plot_seeds({title: accuracies(found, name) for name, title in words.items()}, lines)
        named = f"; lines: the mean of {', '.join(lines)}" if lines else ""
        figures.append((seeds, f"Test accuracy of each seed{named}"))
    losses = {title: found.runs[name][0].losses for name, title in words.items()}
    if words and all(losses.values()):  # a run that was finished before and only read again has none
        figures.append(
            (plot_losses(losses), "Training loss by step, first seed. Objectives differ: compare shapes")
        )
    figures += [
        (plot_run(runs[0]), f"{_words(found)[name]}, first seed: loss terms and accuracy by epoch")
        for name, runs in found.runs.items()
    ]
    figures += _lambda(found)
    if not words:
        return figures
    first = {title: found.tests[name][0] for name, title in words.items()}
    if len(next(iter(first.values())).classes) <= _MOST_CLASSES:
        figures.append(
            (plot_confusion(first), "Mistakes on test images by true and predicted class, first seed")
        )
    figures.append((plot_pairs(first), "Look-alikes that are confused most often, first seed"))
    return figures + _attention(found)


def _lambda(found: Outcome) -> Figures:
    """How the labels' share of the loss grew, where a training has one."""
    from ..views.distill import plot_lambda

    curves = {
        _words(found)[name]: ([row["step"] for row in runs[0].history], runs[0].history["lambda"])
        for name, runs in found.runs.items()
        if "lambda" in runs[0].history.columns
    }
    return [(plot_lambda(curves), "The share of the labels in the loss, first seed")] if curves else []


def _attention(found: Outcome) -> Figures:
    """Where scratch and method look, on test images that only the method gets right as far as there are."""
    from ..engine import grad_cam
    from ..views.maps import plot_attention

    words, split = _students(found), found.module.test
    right = [found.tests[name][0].predictions == found.tests[name][0].labels for name in words]
    ranked = (right[-1].int() - right[0].int()).argsort(descending=True, stable=True).tolist()
    one_each = {int(split.labels[i]): i for i in reversed(ranked)}  # the first of each class
    order = torch.tensor([i for i in ranked if i in one_each.values()][:_PICTURES])
    images = torch.stack([split[int(i)][0] for i in order])
    maps, notes = {}, {}
    for name, title in words.items():
        try:
            maps[title] = grad_cam(found.runs[name][0].model, images).cpu()
        except LabkitError:  # no convolutional network
            return []
        said = found.tests[name][0].predictions[order].tolist()
        notes[title] = [fill(found.module.classes[label], 18) for label in said]
    titles = [fill(found.module.classes[int(split.labels[i])], 18) for i in order]
    return [
        (
            plot_attention(images, titles, maps, notes),
            "Grad-CAM of what each student says (below its map), first seed; images that the distilled one"
            " gets right and the other doesn't come first",
        )
    ]
