"""A training step of Hinton's distillation: teacher outputs read from a bank, or the teacher in the loop.

Teacher and student are resnet32x4 and resnet8x4 as CIFAR benchmarks know them: three stages of 64, 128 and
256 channels at 32 px, five blocks a stage against one. Both ways train the same student with `fit`, in short
rounds that alternate in one process; a step's time is what lies between two ends of steps, so that loading,
augmentation and the bank's rows are in it, and what `fit` does once is not. Making the bank is printed by
itself. The pixels are random bytes. `--clock cpu` counts processor time, for a machine too busy for the
wall's.

    OMP_NUM_THREADS=2 python benchmarks/kd_step.py [--rounds 5] [--steps 8] [--clock wall|cpu]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from labkit import data, engine, methods, models
from labkit.data import Augment, ImageSet
from labkit.manifest import machine
from labkit.models import Classifier, DirectTap, Output, Parts
from labkit.models.roster import ResidualBlock

SIDE, CLASSES, BATCH = 32, 10, 64
WIDTHS = (64, 128, 256)
WANTED = 0.5  # of the step with the teacher in the loop
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Clock = Callable[[], float]


class CifarResNet(nn.Module):
    """A stem of 32 channels at full size and three stages; the maps are those of stem and stages."""

    def __init__(self, num_classes: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)
        )
        before, stages = 32, []
        for width, stride in zip(WIDTHS, (1, 2, 2), strict=True):
            rest = [ResidualBlock(width, width, 1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(ResidualBlock(before, width, stride), *rest))
            before = width
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(before, num_classes)

    def forward(self, x: torch.Tensor) -> Output:
        """Classify normalised images (B, 3, H, W)."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        embedding = maps[-1].mean((2, 3))
        return Output(self.head(embedding), embedding, tuple(maps), maps[-1])


def network(name: str, blocks: int) -> Classifier:
    """A classifier by `build`, registered under its published name."""

    @models.register(name)
    def factory(num_classes: int, in_chans: int | None = None, image_size: int | None = None) -> Parts:
        net = CifarResNet(num_classes, blocks)
        return Parts(net, DirectTap(), (0.5,) * 3, (0.25,) * 3, (32, *WIDTHS))

    return models.build(name, CLASSES)


class Timed(methods.Hinton):
    """Hinton's method, which notes the time after every step."""

    def on_step_end(self, step: int) -> None:
        self.times.append(self.clock())


def round_of(
    nets: tuple[Classifier, Classifier],
    module: data.DataModule,
    bank: engine.FeatureBank | None,
    clock: Clock,
) -> list[float]:
    """Seconds of each step of an epoch but the first."""
    method = Timed(*nets)
    method.clock, method.times = clock, []
    engine.fit(method, module, epochs=1, batch_size=BATCH, lr=1e-3, bank=bank, progress=False, device="cpu")
    return [b - a for a, b in zip(method.times, method.times[1:], strict=False)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="in a round; the first of them is not counted")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    clock = CLOCKS[options.clock]
    torch.manual_seed(0)
    teacher, student = network("resnet32x4", 5).eval(), network("resnet8x4", 1)
    images = torch.randint(0, 256, (BATCH * options.steps, 3, SIDE, SIDE), dtype=torch.uint8)
    split = ImageSet(images, torch.arange(len(images)) % CLASSES, [str(c) for c in range(CLASSES)])
    nothing = split.subset([])
    augment = Augment.named("crop-flip")
    module = data.DataModule("random", split, nothing, nothing, augment=augment)
    began = clock()
    bank = engine.FeatureBank(
        teacher, split, augment=augment, outputs=("logits",), keep=False, progress=False, device="cpu"
    )
    encoding = (clock() - began) / len(split)
    ways = {"teacher in the loop": None, "stored outputs": bank}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(options.rounds + 1):
        for way, stored in ways.items():
            found = round_of((student, teacher), module, stored, clock)
            seconds[way] += found if turn else []  # the first turn warms up
    loop, stored = (statistics.median(values) for values in seconds.values())
    threads = torch.get_num_threads()
    print(f"{machine()}; {threads} thread{'s' * (threads > 1)}, load {os.getloadavg()[0]:.1f}")
    print(f"resnet32x4 -> resnet8x4, batch {BATCH} of {SIDE}x{SIDE}; medians of steps, {options.clock} time")
    print(f"{'teacher in the loop':22}{1e3 * loop:8.1f} ms a step")
    ratio = f"{stored / loop:.2f}x, wanted at most {WANTED}x"
    print(f"{'stored outputs':22}{1e3 * stored:8.1f} ms a step   {ratio}")
    print(f"{'making the bank':22}{1e3 * encoding * BATCH:8.1f} ms per batch and view")
    return 0 if stored <= WANTED * loop else 1


if __name__ == "__main__":
    sys.exit(main())
