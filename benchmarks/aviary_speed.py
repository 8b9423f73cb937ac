"""Images/s of the Aviary: drawing on all cores beside one process, reading the cache beside decoding PNGs.

Drawing: the photographs of a pre-training set as a recipe has them drawn, beside the plain loop over `render`
in this process. The workers are running already; what their start costs once is printed. Reading:
`load("aviary")` again, its check of every byte included, and one pass of `batches` over all splits, beside
Pillow decoding the same pictures from PNGs in memory.

    python benchmarks/aviary_speed.py [--birds 6000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import joblib
import numpy as np
from PIL import Image

from labkit.data import DataModule, batches, load
from labkit.data.aviary import render, wild
from labkit.data.aviary.corpus import _FIRST, _VIEWS
from labkit.data.aviary.drawing import Shot, take_all
from labkit.manifest import machine

DRAWN, READ = 600, 20_000  # images/s wanted on two cores


def rate(images: int, work: Callable[[], object]) -> float:
    """Images/s."""
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


def pictures(data: DataModule) -> int:
    return sum(len(split) for split in (data.train, data.val, data.test))


def shots(n: int, seed: int) -> list[Shot]:
    """Those of `pretraining(n, seed=seed)`."""
    return [Shot(wild(seed, i), seed, _FIRST["wild"] + i * _VIEWS) for i in range(n)]


def one_by_one(jobs: list[Shot]) -> None:
    for species, seed, index, _ in jobs:
        render(species, seed, index, annotate=False)


def all_cores(jobs: list[Shot]) -> None:
    for _ in take_all(jobs, 64, workers=joblib.cpu_count()):
        pass


def read_cached() -> None:
    """Map, check and copy the whole benchmark, then deliver it as float batches."""
    data = load("aviary")
    for split in (data.train, data.val, data.test):
        for _ in batches(split, 256):
            pass


def as_png(data: DataModule) -> list[bytes]:
    files = []
    for split in (data.train, data.val, data.test):
        for image in split.images.permute(0, 2, 3, 1).numpy():
            files.append(io.BytesIO())
            Image.fromarray(image).save(files[-1], "PNG")
    return [file.getvalue() for file in files]


def decode(files: list[bytes]) -> None:
    for file in files:
        np.asarray(Image.open(io.BytesIO(file)))


def main() -> int:
    """Alternate each pair, so that a busy machine slows both, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--birds", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["LABKIT_QUIET"] = "1"
    found: dict[str, list[float]] = {"one": [], "all": [], "png": [], "cache": []}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LABKIT_CACHE"] = folder
        start = time.perf_counter()
        all_cores(shots(joblib.cpu_count(), 0))
        started = time.perf_counter() - start
        data = load("aviary")
        files = as_png(data)
        for seed in range(options.rounds):
            jobs = shots(options.birds, seed)
            found["one"].append(rate(len(jobs), lambda jobs=jobs: one_by_one(jobs)))
            found["all"].append(rate(len(jobs), lambda jobs=jobs: all_cores(jobs)))
            found["png"].append(rate(len(files), lambda: decode(files)))
            found["cache"].append(rate(pictures(data), read_cached))
    speed = {name: statistics.median(values) for name, values in found.items()}
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}; 64 px, {options.rounds} rounds, medians")
    drawing, reading = speed["all"] / speed["one"], speed["cache"] / speed["png"]
    print(f"drawing one by one, one process   {speed['one']:10,.0f} images/s")
    print(f"drawing on {joblib.cpu_count():2d} cores               {speed['all']:10,.0f} images/s")
    print(f"ratio {drawing:.2f}x (workers start in {started:.1f} s; wanted: {DRAWN} images/s on two cores)")
    print(f"decoding PNGs in memory           {speed['png']:10,.0f} images/s")
    print(f"reading the cache, in batches     {speed['cache']:10,.0f} images/s")
    print(f"ratio {reading:.1f}x (wanted: {READ:,} images/s)")
    return 0 if speed["all"] >= DRAWN and speed["cache"] >= READ else 1


if __name__ == "__main__":
    sys.exit(main())
