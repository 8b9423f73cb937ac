"""What `fit` costs a step over a bare hand-written loop: same network, batches, optimiser and losses.

Both loops note the time after every step; from the first to the last note, all is shared out over the steps,
the ends of epochs too. Short rounds of the two alternate in the same run, and medians over rounds keep other
processes' bursts out; `--clock cpu` counts processor time, for a machine too busy for that. Validation and
checkpoints are off in both, and what `fit` does once (accelerate, seeds, the kept weights) is not in a step:
it is printed by itself.

    OMP_NUM_THREADS=1 python benchmarks/engine_overhead.py [--rounds 11] [--clock wall|cpu]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F

from labkit import data, engine, methods, models
from labkit.manifest import machine

SLOW = 0.010  # s: from here on the target is a share of the bare step
SHARE, EXTRA = 0.05, 0.0005  # of the bare step; s a step otherwise
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Clock = Callable[[], float]
Times = tuple[list[float], float]
CASES = {
    "teacher of lab 01, batch 64": ({"name": "digit_teacher"}, 64, 32),
    "tiny CNN, batch 16": ({"name": "digit_cnn", "widths": (2, 4), "hidden": 8}, 16, 300),
}


class Timed(methods.Scratch):
    """Cross-entropy that notes the time after every step."""

    def __init__(self, student: models.Classifier, clock: Clock) -> None:
        super().__init__(student)
        self.clock = clock
        self.times: list[float] = []

    def on_step_end(self, step: int) -> None:
        self.times.append(self.clock())


def network(config: dict) -> models.Classifier:
    torch.manual_seed(0)
    return models.build(num_classes=10, **config)


def bare(config: dict, module: data.DataModule, batch_size: int, steps: int, clock: Clock) -> Times:
    """Times after each step of the loop one would write by hand, and the seconds before the first."""
    began = clock()
    model = network(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    times, epoch = [], 0
    while len(times) < steps:
        for batch in data.batches(
            module.train, batch_size, seed=0, epoch=epoch, shuffle=True, augment=module.augment
        ):
            loss = F.cross_entropy(model(batch.image).logits, batch.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            times.append(clock())
            if len(times) == steps:
                break
        epoch += 1
    return times, times[0] - began


def with_fit(config: dict, module: data.DataModule, batch_size: int, steps: int, clock: Clock) -> Times:
    """The same by `fit`; the seconds are those before the first step and after the last."""
    began = clock()
    method = Timed(network(config), clock)
    engine.fit(method, module, steps=steps, batch_size=batch_size, progress=False, device="cpu")
    ended = clock()
    return method.times, method.times[0] - began + ended - method.times[-1]


def step(times: list[float]) -> float:
    """Seconds a step."""
    return (times[-1] - times[0]) / (len(times) - 1)


def measure(
    config: dict, batch_size: int, steps: int, rounds: int, clock: Clock
) -> tuple[float, float, float]:
    """Seconds of a bare step, what `fit` adds to it, and what `fit` does once."""
    module = data.load("digits")
    module = replace(module, val=module.val.subset([]))
    found = []
    for round_ in range(rounds + 1):
        loops = (bare, with_fit) if round_ % 2 else (with_fit, bare)
        result = {loop: loop(config, module, batch_size, steps, clock) for loop in loops}
        own, ours = step(result[bare][0]), step(result[with_fit][0])
        found.append((own, ours - own, result[with_fit][1] - result[bare][1]))
    return tuple(statistics.median(column) for column in zip(*found[1:], strict=True))  # the first warms up


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    rounds = options.rounds
    threads = torch.get_num_threads()
    print(f"{machine()}; {threads} thread{'s' * (threads > 1)}")
    print(f"Medians of {rounds} rounds, {options.clock} time; the system's load is {os.getloadavg()[0]:.1f}.")
    print(f"Targets: at most {SHARE:.0%} where the bare step takes {1000 * SLOW:.0f} ms or more,", end=" ")
    print(f"else at most {1000 * EXTRA:.1f} ms a step.")
    print(f"{'':28}{'bare ms':>9}{'fit adds ms':>13}{'per cent':>10}{'once ms':>9}   target")
    well = True
    for name, (config, batch_size, steps) in CASES.items():
        own, extra, once = measure(config, batch_size, steps, rounds, CLOCKS[options.clock])
        good = extra <= (SHARE * own if own >= SLOW else EXTRA)
        well &= good
        numbers = f"{1000 * own:9.2f}{1000 * extra:13.3f}{100 * extra / own:10.1f}{1000 * once:9.0f}"
        print(f"{name:28}{numbers}   {'met' if good else 'MISSED'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
