"""`labkit demo`: a few networks trained for each seed, side by side in processes; a table and a report.

A demo is a module with `SEEDS`, `METHODS` (the trained students in words), `ROWS` (those and what stands
beside them), `PARTS` (its rows in groups that don't need each other, each the work of one process),
`train(rows, seed, out, say)`, which returns a `Trained` for each of these rows, and `table`, `claim` and
`figures` of all runs.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LabkitError, unknown
from .pool import pool, processes, told

if TYPE_CHECKING:
    from ..engine import Evaluation

DEMOS = {"aviary": ".demo_aviary", "digits": ".demo_digits"}


def demo(name: str = "aviary", seeds: int | None = None, out: Path | str = "runs/demo") -> Path:
    """Train every network for each seed, print the table, write the report.

    Args:
        name: 'aviary', from a vision-language model over a network between to a small student; or 'digits', a
            teacher and its student.
        seeds: runs per method; each draws labels, initialisation and order. None takes the demo's own number.
        out: folder for report.html, history.csv and one run folder per method and seed.

    Returns:
        The report's path.

    Raises:
        LabkitError: unknown demo, fewer than one seed, or `out` can't be written.
    """
    if name not in DEMOS:
        raise unknown("demo", name, DEMOS)
    if seeds is not None and seeds < 1:
        raise LabkitError(f"The demo needs at least one seed, but got {seeds}.")
    from ..engine import History
    from ..views.report import write_report

    started, out = time.perf_counter(), Path(out)
    what = importlib.import_module(DEMOS[name], __package__)
    runs = _train(what, seeds or what.SEEDS, out)
    table, claim = what.table(runs), what.claim(runs)
    History(
        {"method": row, "seed": seed, **line}
        for row in what.ROWS
        for seed, entry in enumerate(runs[row])
        for line in entry.history
    ).save(out / "history.csv")
    figures, seconds = what.figures(runs), time.perf_counter() - started
    text = f"{claim} Made by <code>labkit demo {name}</code> in {seconds:.0f} s."
    report = write_report(out / "report.html", what.TITLE, text, table, figures)
    print(table)
    print(f"\n{claim}\nReport: {report}")
    return report


@dataclass(frozen=True)
class Trained:
    """One network of a demo, in plain types that travel between processes."""

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


Runs = dict[str, list[Trained]]  # row -> one network per seed
Say = Callable[[str], None]


def plain(test: Evaluation) -> dict[str, Any]:
    """The first fields of a `Trained`."""
    return {"logits": test.logits.numpy(), "labels": test.labels.numpy(), "classes": test.classes}


def accuracies(runs: Runs, row: str) -> list[float]:
    """Test accuracy per seed."""
    return [entry.test.accuracy for entry in runs[row]]


def _train(what: ModuleType, seeds: int, out: Path) -> Runs:
    """All parts of all seeds, as many at a time as there are cores; each process computes with one thread.

    The steps take milliseconds: a second thread gains little there and, beside other programs, loses tenfold.
    """
    from tqdm.auto import tqdm

    from ..data.loader import one_thread

    jobs = [(rows, seed, out) for seed in range(seeds) for rows in what.PARTS]
    workers = min(len(jobs), processes())
    with tqdm(total=seeds * len(what.ROWS), unit="run", desc="demo") as bar:

        def say(words: str) -> None:
            bar.set_description(words)
            bar.update()

        if workers == 1:
            with one_thread():
                every = [what.train(*job, say) for job in jobs]
        else:
            every = _in_processes(what.__name__, jobs, workers, say)
    return {row: [trained[row] for trained in every if row in trained] for row in what.ROWS}


def _in_processes(what: str, jobs: list[tuple], workers: int, say: Say) -> list[dict[str, Trained]]:
    messages = get_context("spawn").SimpleQueue()
    with pool(workers, _connect, messages) as executor:
        futures = [executor.submit(_part, what, *job) for job in jobs]
        for words in told(messages, futures):
            say(words)
        return [future.result() for future in futures]


def _connect(messages: SimpleQueue) -> None:
    global _messages
    _messages = messages


def _part(what: str, rows: tuple[str, ...], seed: int, out: Path) -> dict[str, Trained]:
    return importlib.import_module(what).train(rows, seed, out, _messages.put)
