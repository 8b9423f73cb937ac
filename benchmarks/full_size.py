"""The papers' networks at their own size: one step of each of DAIT's stages, its memory and its speed.

`convnext_xxlarge` (1.2 billion parameters, 256 px) as the frozen model in the loop, RegNetY-1.6GF between and
ResNet-18 as the student (224 px), all with random weights, which cost what trained ones do; random bytes for
images, random unit vectors for the 200 class anchors, which are encoded once in a real run. `fit` trains both
stages for a few steps; the first of each warms up and is not counted. Memory is the peak of the process, or
of the GPU. `--dtype` is that of the frozen model; `--clock cpu` counts processor time, for a machine too busy
for the wall's.

    python benchmarks/full_size.py [--batch 4] [--steps 2] [--dtype bfloat16] [--device cuda]
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from labkit import engine, methods, models
from labkit.data import Augment, DataModule, ImageSet
from labkit.manifest import machine
from labkit.models import VisionLanguage

MODEL, BETWEEN, STUDENT = "convnext_xxlarge", "regnety_016", "resnet18"
SIDE, CLASSES = 224, 200
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Clock = Callable[[], float]


def giant(name: str = MODEL, dtype: torch.dtype = torch.float32, device: str = "cpu") -> VisionLanguage:
    """A published vision-language model with random weights, which never needs its memory twice."""
    import open_clip

    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns that there are no weights
    with torch.device("meta"):
        clip = open_clip.create_model(name, pretrained=None, device="meta")
    clip = clip.to(dtype).to_empty(device=device)
    length = clip.context_length
    clip.attn_mask = torch.full((length, length), -torch.inf, device=device).triu(1)  # causal
    for module in clip.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
            continue
        for part, values in module.named_parameters(recurse=False):
            if part in ("gamma", "logit_scale"):  # ConvNeXt's layer scale starts here
                nn.init.constant_(values, 1e-6 if part == "gamma" else math.log(1 / 0.07))
            else:
                nn.init.normal_(values, std=0.02)
    return VisionLanguage(clip.eval(), open_clip.get_tokenizer(name), name).to(device, dtype)


def photographs(n: int, side: int = SIDE) -> DataModule:
    """Random bytes of 200 classes, shown by the papers' augmentation."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)
    split = ImageSet(images, torch.arange(n) % CLASSES, [f"species {c}" for c in range(CLASSES)])
    nothing = split.subset([])
    return DataModule("random", split, nothing, nothing, augment=Augment.named("rrc-imagenet"))


class Timed(methods.DAIT):
    """DAIT, which notes the time after every step."""

    clock: Clock
    times: list[float]

    def on_step_end(self, step: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(self.clock())


def timed(
    vlm: VisionLanguage,
    clock: Clock,
    nets: tuple[str, str] = (STUDENT, BETWEEN),
    classes: int = CLASSES,
    **options: int,
) -> Timed:
    """The method with new networks and random anchors; DAIT's own options pass through."""
    torch.manual_seed(0)
    student, between = (models.build(name, classes) for name in nets)
    anchors = F.normalize(torch.randn(classes, vlm.embed_dim), dim=-1).to(vlm.mean.device)
    method = Timed(student, vlm, intermediate=between, anchors=anchors, **options)
    method.clock, method.times = clock, []
    return method


def steps_of(method: Timed, module: DataModule, batch: int, steps: int, **options: object) -> list[float]:
    """Seconds of every step of each stage but the first of it; `options` are those of `fit`."""
    told = {"lr": 1e-4, "precision": "fp32", "progress": False}
    engine.fit(method, module, steps=steps, batch_size=batch, **told, **options)
    stages = [method.times[i : i + steps] for i in range(0, len(method.times), steps)]
    return [b - a for ends in stages for a, b in pairwise(ends)]


def peak(device: str) -> float:
    """GB at most used so far, by the process or on the GPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def say_where(clock: str, device: str) -> None:
    threads = torch.get_num_threads()
    where = torch.cuda.get_device_name() if device == "cuda" else f"{threads} thread{'s' * (threads > 1)}"
    print(f"{machine()}; {where}, load {os.getloadavg()[0]:.1f}, {clock} time")


def arguments(text: str) -> argparse.ArgumentParser:
    """What this benchmark and that of the first stage have in common."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    return parser


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=2, help="of each stage; the first is not counted")
    options = parser.parse_args()
    clock, batch, steps = CLOCKS[options.clock], options.batch, max(2, options.steps)
    say_where(options.clock, options.device)
    module = photographs(batch * steps)
    vlm = giant(dtype=getattr(torch, options.dtype), device=options.device)
    loaded = peak(options.device)
    method = timed(vlm, clock)
    seconds = steps_of(method, module, batch, steps, device=options.device)
    count = sum(p.numel() for p in vlm.parameters())
    size = f"{count / 1e9:.2f} billion parameters, {options.dtype}, {vlm.image_size} px"
    print(f"{MODEL} ({size}) loaded: {loaded:.1f} GB")
    names = (f"stage 1, {BETWEEN}", f"stage 2, {STUDENT}")
    for name, values in zip(names, (seconds[: steps - 1], seconds[steps - 1 :]), strict=True):
        each = statistics.median(values)
        print(f"{name:22}{batch} images of {SIDE} px a step: {each:7.2f} s, {batch / each:7.2f} images/s")
    print(f"peak memory {peak(options.device):.1f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
