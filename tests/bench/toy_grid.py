"""A grid whose runs are arithmetic; every run leaves a line in the file that TOY_GRID_LOG names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from labkit import LabkitError
from labkit.profiles import Profile


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    for seed in range(seeds):
        for method in ("kd", "alone"):
            yield {"experiment": "main", "method": method, "seed": seed}
        yield {"experiment": "main", "method": "kd", "seed": seed}  # named twice, run once


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    if str(job["seed"]) == os.environ.get("TOY_GRID_FAILS"):
        raise LabkitError("No more toys.")
    with open(os.environ["TOY_GRID_LOG"], "a") as file:
        print(f"{job['seed']} {job['method']} {os.getpid()}", file=file)
    return {**job, "val": 0.5, "test": job["seed"] + (job["method"] == "kd")}
