"""`labkit demo digits`: a distilled student against the same student alone, on real handwritten digits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabkitError, unknown
from .stats import Interval, interval, paired

if TYPE_CHECKING:
    from ..views import Table

DEMOS = ("digits",)
METHODS = {
    "hinton": "student, distilled",
    "label_smoothing": "student, label smoothing",
    "scratch": "student alone",
}


def demo(name: str = "digits", seeds: int = 3, out: Path | str = "runs/demo") -> Path:
    """Train teacher and students for each seed, print the table, write the report.

    Args:
        name: 'digits'.
        seeds: runs per method; each draws labels, initialisation and order.
        out: folder for report.html, history.csv and one run folder per method and seed.

    Returns:
        The report's path.

    Raises:
        LabkitError: unknown demo, fewer than one seed, or `out` can't be written.
    """
    if name not in DEMOS:
        raise unknown("demo", name, DEMOS)
    if seeds < 1:
        raise LabkitError(f"The demo needs at least one seed, but got {seeds}.")
    started = time.perf_counter()
    out = Path(out)
    runs = _train(seeds, out)
    table = _table(runs)
    report = _report(out, runs, table, time.perf_counter() - started)
    print(table)
    print(f"\n{_claim(runs)}\nReport: {report}")
    return report


def _train(seeds: int, out: Path) -> dict[str, list[dict[str, Any]]]:
    """Per method (and 'teacher'), a dict per seed: model, test evaluation, run."""
    from tqdm.auto import tqdm

    from .. import data, engine
    from ..profiles import profile
    from . import lab01

    setting = profile("cpu")
    s = setting.lab(1)
    options = lab01.chosen(s)
    runs: dict[str, list[dict[str, Any]]] = {"teacher": [], **{method: [] for method in METHODS}}
    bar = tqdm(total=seeds * len(runs), unit="run", desc="demo")
    for seed in range(seeds):
        bar.set_description(f"seed {seed}: teacher")
        guide, _ = lab01.teacher(setting, seed)
        few = data.load(s.data, seed=seed, per_class=s.per_class)
        runs["teacher"].append({"model": guide, "test": engine.evaluate(guide, few.test), "run": None})
        bar.update()
        for method, words in METHODS.items():
            bar.set_description(f"seed {seed}: {words}")
            folder = out / f"{method}-{seed}"
            run = lab01.train(
                setting, method, few, seed, guide, out=folder, progress=False, **options[method]
            )
            runs[method].append(
                {"model": run.model, "test": engine.evaluate(run.model, few.test), "run": run}
            )
            bar.update()
    bar.close()
    return runs


def _accuracies(runs: dict[str, list[dict[str, Any]]], method: str) -> list[float]:
    return [entry["test"].accuracy for entry in runs[method]]


def _gain(runs: dict[str, list[dict[str, Any]]]) -> Interval:
    return paired(_accuracies(runs, "hinton"), _accuracies(runs, "scratch"))


def _claim(runs: dict[str, list[dict[str, Any]]]) -> str:
    gain, seeds = _gain(runs), len(runs["hinton"])
    return (
        f"Distilled minus alone, paired over {seeds} seeds: {gain} points of test accuracy (95 % interval)."
    )


def _table(runs: dict[str, list[dict[str, Any]]]) -> Table:
    from ..models import cost
    from ..profiles import profile
    from ..views import Table

    s = profile("cpu").lab(1)
    words = {"teacher": "teacher, all labels"} | METHODS
    rows = []
    for method, title in words.items():
        model = runs[method][0]["model"]
        spent = cost(model, (1, 1, 8, 8))
        rows.append([title, interval(_accuracies(runs, method)), f"{spent.parameters:,}", f"{spent.macs:,}"])
    return Table(
        ["network", "test accuracy, %", "parameters", "MACs"],
        rows,
        caption=f"Real 8x8 handwritten digits; students see {s.per_class} labels per class",
        note=f"Mean ± 95 % interval over {len(runs['hinton'])} seeds; same steps and data for all.",
    )


def _report(out: Path, runs: dict[str, list[dict[str, Any]]], table: Table, seconds: float) -> Path:
    from ..engine import History
    from ..views import plot_confusion, plot_losses, plot_seeds
    from ..views.report import write_report

    rows = History(
        {"method": method, "seed": seed, **row}
        for method in METHODS
        for seed, entry in enumerate(runs[method])
        for row in entry["run"].history
    )
    rows.save(out / "history.csv")
    methods = {title: _accuracies(runs, method) for method, title in METHODS.items()}
    figures = [
        (
            plot_seeds(methods, {"teacher": interval(_accuracies(runs, "teacher")).mean}),
            "Test accuracy of each seed: students distilled, with label smoothing, alone; line: the teacher",
        ),
        (
            plot_losses({METHODS[m]: runs[m][0]["run"].losses for m in ("hinton", "scratch")}),
            "Training loss by step. The two objectives differ, so compare shapes, not heights",
        ),
        (
            plot_confusion({METHODS[m]: runs[m][0]["test"] for m in ("hinton", "scratch")}),
            "Mistakes on the test digits by true and predicted class, first seed",
        ),
    ]
    text = f"{_claim(runs)} Made by <code>labkit demo digits</code> in {seconds:.0f} s."
    return write_report(out / "report.html", "A distilled student on real digits", text, table, figures)
