"""Lab 02's measurements: what the notebook calls, and the rounds behind its committed table.

`labkit bench --lab 02` measures every network in every round, one after the other and in one process.
A measurement during which other programs took the processor is repeated.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import LabkitError
from ..manifest import machine
from ..models import Latency, latency
from ..profiles import Profile, profile
from .results import Results


@dataclass(frozen=True)
class Published:
    """What torchvision publishes with a set of weights; read from its metadata, no weights are loaded.

    Attributes:
        accuracy: ImageNet top-1, in per cent.
        half: half width of its 95 % interval over the 50 000 validation images, in points.
        gmacs: 10^9 multiply-accumulates per image; torchvision's documentation calls them GFLOPS.
        parameters: how many.
    """

    accuracy: float
    half: float
    gmacs: float
    parameters: int


def published(net: str, weights: str) -> Published:
    """The published numbers of one torchvision network, such as ('resnet18', 'IMAGENET1K_V1')."""
    from torchvision.models import get_model_weights

    meta = get_model_weights(net)[weights].meta
    accuracy = meta["_metrics"]["ImageNet-1K"]["acc@1"]
    half = 1.96 * (accuracy * (100 - accuracy) / 50_000) ** 0.5
    return Published(accuracy, half, meta["_ops"], meta["num_params"])


def synchroniser(device: str | torch.device = "cpu") -> Callable[[], None]:
    """The function that waits for `device`; on a CPU there is nothing to wait for."""
    kind = torch.device(device).type
    return {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(kind, lambda: None)


def devices() -> list[str]:
    """'cpu' and the accelerator of this machine, if it has one."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["cpu", *(name for name, here in found.items() if here)]


def conditions(threads: int) -> str:
    """What must stand beside every latency: processor, threads, library, and how busy the machine is."""
    busy = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{machine()}; threads: {threads}, float32{busy}"


def patient(model: nn.Module, runs: int, seconds: float, **settings: Any) -> Latency:
    """`latency` with fewer runs, but at least 3, where all of them would take longer than `seconds`."""
    pilot = latency(model, runs=1, warmup=1, **settings)
    fitting = int(1e3 * seconds / pilot.median)
    return latency(model, runs=max(3, min(runs, fitting)), warmup=2, **settings)


def batch_sweep(
    model: nn.Module, batches: Sequence[int], runs: int, image: Sequence[int] = (3, 224, 224)
) -> list[dict[str, float]]:
    """Latency and throughput of each batch size: rows of batch, ms (median) and images_per_s.

    The sizes take turns, so that a busy moment doesn't hit one of them alone.
    """
    times: dict[int, list[float]] = {batch: [] for batch in batches}
    for turn in range(runs):
        for batch, seen in times.items():
            seen += latency(model, (batch, *image), runs=1, warmup=int(turn == 0)).times
    medians = {batch: statistics.median(seen) for batch, seen in times.items()}
    return [{"batch": n, "ms": ms, "images_per_s": 1e3 * n / ms} for n, ms in medians.items()]


def roofs(side: int = 768, megabytes: int = 64, runs: int = 7) -> tuple[float, float]:
    """(GMAC/s of a large matrix product, GB/s of copying memory), the best of `runs`, on torch's threads."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    source = torch.rand(megabytes * 250_000)
    target = torch.empty_like(source)
    product = _fastest(lambda: torch.mm(a, b), runs)
    copied = _fastest(lambda: target.copy_(source), runs)
    return side**3 / product / 1e9, 2 * megabytes / copied / 1e3


def _fastest(work: Callable[[], object], runs: int) -> float:
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def undisturbed(work: Callable[[], Any], threads: int, share: float, tries: int = 500) -> Any:
    """Repeat `work` until this process had at least `share` of `threads` cores to itself while it ran.

    Raises:
        LabkitError: it never had.
    """
    for _ in range(tries):
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        if time.process_time() - cpu >= share * threads * (time.perf_counter() - wall):
            return found
        time.sleep(3)
    raise LabkitError("Other programs kept the processor busy: close them and measure again.")


def measure(setting: Profile, seed: int) -> Iterator[dict[str, Any]]:
    """One round: the rows of every network, thread count and batch size; `seed` is the round's number."""
    from ..models import build

    s = setting.lab(2)
    for net in s.nets:
        model = build(f"torchvision/{net}", num_classes=1000)
        for threads, share in s.thread_shares.items():
            timing = partial(latency, model, s.input_size, s.round_runs, threads=threads)
            found = undisturbed(timing, threads, share)
            yield {
                "experiment": "latency", "net": net, "threads": threads, "seed": seed,
                "mean": round(found.mean, 3), "median": round(found.median, 3), "p95": round(found.p95, 3),
            }  # fmt: skip


def run_alone(rounds: int | None, path: Path) -> Results:
    """Measure the rounds that are missing, one process and one network at a time, and save after each."""
    import torchvision

    setting = profile()
    rounds = rounds or setting.lab(2).rounds
    results = Results.load(path) if path.is_file() else Results("")
    results.command = f"labkit bench --lab 02 --seeds {rounds}"
    results.machine = f"{machine()}, torchvision {torchvision.__version__.split('+')[0]}"
    done = {row["seed"] for row in results.rows}
    for seed in range(rounds):
        if seed not in done:
            results.rows += measure(setting, seed)
            print(f"round {seed + 1} of {rounds} measured", flush=True)
        results.save(path)
    return results
