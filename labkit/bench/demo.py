"""`labkit demo digits`: a distilled student against the same student alone, on real handwritten digits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LabkitError, unknown
from .pool import pool
from .stats import Interval, interval, paired

if TYPE_CHECKING:
    from ..engine import Evaluation
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


@dataclass(frozen=True)
class _Trained:
    """One network of the demo, in plain types that travel between processes."""

    logits: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    losses: list[float]
    history: list[dict[str, Any]]

    @cached_property
    def test(self) -> Evaluation:
        import torch

        from ..engine import Evaluation

        return Evaluation(torch.from_numpy(self.logits), torch.from_numpy(self.labels), self.classes)


Runs = dict[str, list[_Trained]]  # method (or 'teacher') -> one network per seed


def _train(seeds: int, out: Path) -> Runs:
    """All seeds, as many at a time as there are cores; each process computes with one thread.

    The steps take milliseconds: a second thread gains little there and, beside other programs, loses tenfold.
    """
    from tqdm.auto import tqdm

    from ..data.loader import one_thread

    workers = min(seeds, os.cpu_count() or 1)
    with tqdm(total=seeds * (1 + len(METHODS)), unit="run", desc="demo") as bar:

        def say(words: str) -> None:
            bar.set_description(words)
            bar.update()

        if workers == 1:
            with one_thread():
                every = [_seed(seed, out, say) for seed in range(seeds)]
        else:
            every = _in_processes(seeds, out, workers, say)
    return {method: [trained[method] for trained in every] for method in ("teacher", *METHODS)}


def _in_processes(
    seeds: int, out: Path, workers: int, say: Callable[[str], None]
) -> list[dict[str, _Trained]]:
    messages = get_context("spawn").SimpleQueue()
    with pool(workers, _connect, messages) as executor:
        futures = [executor.submit(_seed, seed, out) for seed in range(seeds)]
        for future in futures:
            future.add_done_callback(lambda _: messages.put(None))
        left = seeds
        while left:
            words = messages.get()
            if words is None:
                left -= 1
            else:
                say(words)
        return [future.result() for future in futures]


def _connect(messages: SimpleQueue) -> None:
    global _messages
    _messages = messages


def _seed(seed: int, out: Path, say: Callable[[str], None] | None = None) -> dict[str, _Trained]:
    """The teacher of one seed and a student for each method."""
    from .. import data, engine
    from ..profiles import profile
    from . import lab01

    say = say or _messages.put
    setting = profile("cpu")
    s = setting.lab(1)
    guide, _ = lab01.teacher(setting, seed)
    few = data.load(s.data, seed=seed, per_class=s.per_class)
    say(f"seed {seed}: teacher")
    trained = {"teacher": _plain(engine.evaluate(guide, few.test), [], [])}
    for method, options in lab01.chosen(s).items():
        folder = out / f"{method}-{seed}"
        run = lab01.train(setting, method, few, seed, guide, out=folder, progress=False, **options)
        trained[method] = _plain(engine.evaluate(run.model, few.test), run.losses, list(run.history))
        say(f"seed {seed}: {METHODS[method]}")
    return trained


def _plain(test: Evaluation, losses: list[float], history: list[dict[str, Any]]) -> _Trained:
    return _Trained(test.logits.numpy(), test.labels.numpy(), test.classes, losses, history)


def _accuracies(runs: Runs, method: str) -> list[float]:
    return [entry.test.accuracy for entry in runs[method]]


def _gain(runs: Runs) -> Interval:
    return paired(_accuracies(runs, "hinton"), _accuracies(runs, "scratch"))


def _claim(runs: Runs) -> str:
    gain, seeds = _gain(runs), len(runs["hinton"])
    return (
        f"Distilled minus alone, paired over {seeds} seeds: {gain} points of test accuracy (95 % interval)."
    )


def _table(runs: Runs) -> Table:
    from ..models import build, cost
    from ..profiles import profile
    from ..views import Table

    s = profile("cpu").lab(1)
    words = {"teacher": "teacher, all labels"} | METHODS
    rows = []
    for method, title in words.items():
        net = s.teacher if method == "teacher" else s.student
        spent = cost(build(num_classes=10, **net), (1, 1, 8, 8))
        rows.append([title, interval(_accuracies(runs, method)), f"{spent.parameters:,}", f"{spent.macs:,}"])
    return Table(
        ["network", "test accuracy, %", "parameters", "MACs"],
        rows,
        caption=f"Real 8x8 handwritten digits; students see {s.per_class} labels per class",
        note=f"Mean ± 95 % interval over {len(runs['hinton'])} seeds; same steps and data for all.",
    )


def _report(out: Path, runs: Runs, table: Table, seconds: float) -> Path:
    from ..engine import History
    from ..views import plot_confusion, plot_losses, plot_seeds
    from ..views.report import write_report

    rows = History(
        {"method": method, "seed": seed, **row}
        for method in METHODS
        for seed, entry in enumerate(runs[method])
        for row in entry.history
    )
    rows.save(out / "history.csv")
    methods = {title: _accuracies(runs, method) for method, title in METHODS.items()}
    figures = [
        (
            plot_seeds(methods, {"teacher": interval(_accuracies(runs, "teacher")).mean}),
            "Test accuracy of each seed: students distilled, with label smoothing, alone; line: the teacher",
        ),
        (
            plot_losses({METHODS[m]: runs[m][0].losses for m in ("hinton", "scratch")}),
            "Training loss by step. The two objectives differ, so compare shapes, not heights",
        ),
        (
            plot_confusion({METHODS[m]: runs[m][0].test for m in ("hinton", "scratch")}),
            "Mistakes on the test digits by true and predicted class, first seed",
        ),
    ]
    text = f"{_claim(runs)} Made by <code>labkit demo digits</code> in {seconds:.0f} s."
    return write_report(out / "report.html", "A distilled student on real digits", text, table, figures)
