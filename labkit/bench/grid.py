"""Run a grid of jobs: resumable, over processes, every finished run saved at once.

A grid is a module with `jobs(setting, seeds)`, which yields flat dicts, and `run(job, setting)`, which
returns the job with what was measured. `group(job)` may say which jobs belong into one process, to share what
they make there (else those of one seed); `prepare(job, setting)` makes that, and `cost(job)` is how much more
a run takes than the cheapest: both serve the estimate.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import manifest
from ..errors import LabkitError, unknown
from ..paths import shipped
from ..profiles import profile
from .pool import pool, processes, told
from .results import MEASURED, Results

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

Job = dict[str, Any]
NAMES = ("experiment", "method", "seed", "per_class", "student", "epochs", "intermediate")
GRIDS = {n: f"labkit.bench.lab{n:02d}" for n in (1, 2, 3, 4, 8, 9, 10, 12, 13, 14)}


def run_lab(
    number: int | str,
    *,
    seeds: int | None = None,
    estimate: bool = False,
    out: Path | None = None,
    workers: int | None = None,
) -> Results:
    """Run what is missing of a lab's grid and return all results.

    Args:
        number: the lab.
        seeds: reported seeds; None takes the preset's number.
        estimate: run one job, print the hours the rest would take, and stop.
        out: results file; None is `results/labNN.json` in the data folder.
        workers: processes of one thread each; None takes one per core, or two per GPU.

    Raises:
        LabkitError: the lab has no grid, or the results can't be written.
    """
    grids = {f"{n:02d}": n for n in GRIDS}
    if str(number).zfill(2) not in grids:
        raise unknown("grid for lab", str(number).zfill(2), grids)
    if (seeds is not None and seeds < 1) or (workers is not None and workers < 1):
        raise LabkitError(f"seeds and workers must be at least 1, but they are {seeds} and {workers}.")
    setting = profile()
    grid = importlib.import_module(GRIDS[int(number)])
    path = out or shipped("data") / "results" / f"lab{int(number):02d}.json"
    if hasattr(grid, "run_alone"):  # times are measured with nothing beside them
        if estimate:
            raise LabkitError(f"Lab {int(number):02d} measures times, a few minutes a round: no estimate.")
        results = grid.run_alone(seeds, path)
        if out is None:
            manifest.record(f"results/{path.name}", results.command, machine=results.machine)
        return results
    seeds = seeds or setting.lab(number).seeds
    command = f"labkit bench --lab {int(number):02d} --seeds {seeds}"
    results = fill(
        grid.__name__, grid.jobs(setting, seeds), setting, path, command, estimate=estimate, workers=workers
    )
    if out is None and not estimate:
        manifest.record(f"results/{path.name}", results.command, machine=results.machine)
    return results


def fill(
    grid: str,
    jobs: Iterable[Job],
    setting: Any,
    path: Path,
    command: str,
    *,
    estimate: bool = False,
    workers: int | None = None,
) -> Results:
    """Run those jobs of a grid that the results file lacks, and return all results.

    Args:
        grid: the module with `run`.
        jobs: flat dicts; equal ones are one run.
        setting: what `run` gets beside the job.
        path: the results file, written after every run.
        command: what makes it.
        estimate: run one job, print the hours the rest would take, and stop.
        workers: processes of one thread each; None takes one per core, or two per GPU.
    """
    workers = workers or processes()
    results = Results.load(path) if path.is_file() else Results("")
    done = {_key(row) for row in results.rows}
    missing = [job for key, job in {_key(job): job for job in jobs}.items() if key not in done]
    if estimate:
        _estimate(grid, missing, setting, workers)
        return results
    results.command, results.machine = command, manifest.machine()
    if missing:
        with _alone(path):
            _run(grid, missing, setting, workers, results, path)
    return results


def forget_outdated(path: Path, wanted: Iterable[Job]) -> None:
    """Take from a results file the reported rows of the wanted runs that were made with other options.

    It is for grids whose reported runs differ in `NAMES`, whatever their options.
    """
    if not path.is_file():
        return
    results = Results.load(path)
    now = {tuple(job.get(n) for n in NAMES): job for job in wanted if job["experiment"] != "tuning"}

    def stands(row: Job) -> bool:
        job = now.get(tuple(row.get(n) for n in NAMES))
        return job is None or all(row.get(k) == v for k, v in job.items())

    kept = [row for row in results.rows if stands(row)]
    if len(kept) < len(results.rows):
        results.rows = kept
        results.save(path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two processes that fill one file would each save it without the other's runs."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise LabkitError(
            f"Another labkit bench is filling {path}: wait for it, or name another file with --out."
        ) from None
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _run(grid: str, missing: list[Job], setting: Any, workers: int, results: Results, path: Path) -> None:
    from tqdm.auto import tqdm

    finished = get_context("spawn").SimpleQueue()  # rows
    bar = tqdm(total=len(missing), unit="run", disable=bool(os.environ.get("LABKIT_QUIET")))
    with pool(workers, _connect, finished) as executor, bar:
        futures = [executor.submit(_group, grid, group, setting) for group in groups(grid, missing, workers)]
        for row in told(finished, futures):
            results.rows.append(row)
            results.save(path)
            bar.update()
    for future in futures:  # one failure has cost no other group its time
        if future.exception():
            raise future.exception()


def groups(grid: str, jobs: list[Job], workers: int) -> list[list[Job]]:
    """Jobs that share what a process makes for them, in order, so that all processes end alike.

    The groups that would be left over for some of the processes are dealt out to all of them: each part then
    makes what they share.
    """
    shared = getattr(importlib.import_module(grid), "group", lambda job: job["seed"])
    found: dict[Any, list[Job]] = {}
    for job in jobs:
        found.setdefault(shared(job), []).append(job)
    whole = list(found.values())
    even = len(whole) - len(whole) % workers
    parts = [group[i::workers] for group in whole[even:] for i in range(workers)]
    return whole[:even] + [part for part in parts if part]


def _connect(finished: SimpleQueue) -> None:
    global _finished
    _finished = finished


def _group(grid: str, jobs: list[Job], setting: Any) -> None:
    for job in jobs:
        _finished.put(_one(grid, job, setting))


def _one(grid: str, job: Job, setting: Any) -> Job:
    try:
        return importlib.import_module(grid).run(job, setting)
    except LabkitError as error:
        raise LabkitError(f"The run {job} failed: {error}") from error


def _estimate(grid: str, missing: list[Job], setting: Any, workers: int) -> None:
    """Time one run, and what its group makes for it where the grid can `prepare` that."""
    if not missing:
        print("Nothing is missing.")
        return
    module = importlib.import_module(grid)
    started = time.perf_counter()
    if hasattr(module, "prepare"):
        module.prepare(missing[0], setting)
    ready = time.perf_counter()
    cost = getattr(module, "cost", lambda job: 1.0)  # in units of the cheapest run
    first = min(missing, key=cost)
    _one(grid, first, setting)
    run = (time.perf_counter() - ready) / cost(first)
    seconds = (ready - started) * len(groups(grid, missing, 1)) + run * sum(map(cost, missing))
    hours = seconds / workers / 3600
    print(f"{len(missing)} runs are missing: about {hours:.2f} hours on {workers} processes.")


def _key(row: Job) -> str:
    return json.dumps({k: v for k, v in row.items() if k not in MEASURED}, sort_keys=True)
