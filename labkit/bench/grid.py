"""Run a lab's grid of jobs: resumable, over processes, every finished seed saved at once."""

from __future__ import annotations

import importlib
import json
import os
import time
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

from .. import manifest
from ..errors import LabkitError, unknown
from ..paths import shipped
from ..profiles import Profile, profile
from .pool import pool
from .results import Results

GRIDS = {n: f"labkit.bench.lab{n:02d}" for n in (1, 2, 8, 9, 10)}
_MEASURED = ("val", "test", "ms", "memory", "disk")  # what a run adds to its job


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
        workers: processes of one thread each; None takes one per core.

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
    workers = workers or os.cpu_count() or 1
    results = Results.load(path) if path.is_file() else Results("")
    results.command = f"labkit bench --lab {int(number):02d} --seeds {seeds}"
    results.machine = manifest.machine()
    done = {_key(row) for row in results.rows}
    todo = list({_key(job): job for job in grid.jobs(setting, seeds)}.items())
    missing = [job for key, job in todo if key not in done]
    if estimate:
        _estimate(grid.__name__, missing, setting, workers)
        return results
    if missing:
        _run(grid.__name__, missing, setting, workers, results, path)
    if out is None:
        manifest.record(f"results/{path.name}", results.command, machine=results.machine)
    return results


def _run(
    grid: str, missing: list[dict], setting: Profile, workers: int, results: Results, path: Path
) -> None:
    from tqdm.auto import tqdm

    # Jobs of one seed go to one process, where its teacher is trained once.
    seeds = sorted({job["seed"] for job in missing})
    groups = [[job for job in missing if job["seed"] == seed] for seed in seeds]
    bar = tqdm(total=len(missing), unit="run", disable=bool(os.environ.get("LABKIT_QUIET")))
    failed = None
    with pool(workers) as executor:
        futures = {executor.submit(_group, grid, group, setting): group for group in groups}
        for future in as_completed(futures):
            if future.exception():  # the other seeds are still worth their time
                failed = failed or future.exception()
                continue
            results.rows += future.result()
            results.save(path)
            bar.update(len(future.result()))
    bar.close()
    if failed:
        raise failed


def _group(grid: str, jobs: list[dict[str, Any]], setting: Profile) -> list[dict[str, Any]]:
    return [_one(grid, job, setting) for job in jobs]


def _one(grid: str, job: dict[str, Any], setting: Profile) -> dict[str, Any]:
    try:
        return importlib.import_module(grid).run(job, setting)
    except LabkitError as error:
        raise LabkitError(f"The run {job} failed: {error}") from error


def _estimate(grid: str, missing: list[dict], setting: Profile, workers: int) -> None:
    if not missing:
        print("Nothing is missing.")
        return
    started = time.perf_counter()
    _one(grid, missing[0], setting)
    hours = (time.perf_counter() - started) * len(missing) / workers / 3600
    print(f"{len(missing)} runs are missing: about {hours:.2f} hours on {workers} processes.")


def _key(row: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in row.items() if k not in _MEASURED}, sort_keys=True)
