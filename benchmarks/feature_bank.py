"""Extracting frozen features: one picture at a time, in batches, and again from the bank.

The loop takes transformers' `AutoImageProcessor` and the model for each picture by itself, without gradient;
the bank encodes batches and writes them to a fresh cache; a second bank finds them there (its time is that of
hashing the images and the network, and of checking the stored rows). All in the same run, on the same
backbone: the shipped aviary-dinov2, or random weights of its size, on which the speed doesn't depend. bf16 is
what some processors do fastest; the targets are for the faster precision. The pixels are random bytes.
`--clock cpu` counts processor time, for a machine too busy for the wall's; it hides what threads gain.

    python benchmarks/feature_bank.py [--images 2000] [--alone 200] [--clock wall|cpu]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, BitImageProcessor, Dinov2Config, Dinov2Model

from labkit.data import ImageSet
from labkit.engine import FeatureBank, remove_banks
from labkit.errors import LabkitError
from labkit.manifest import machine
from labkit.models import load_backbone, pretrained

SIDE = 64
PRECISIONS = ("fp32", "bf16")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Clock = Callable[[], float]
BATCHED, AGAIN = 5.0, 50.0  # wanted: batches over the loop, the second bank over the first


def backbone_folder(made: Path) -> tuple[str, str]:
    """Folder of the backbone, and what it is: the shipped one, else random weights of its size in `made`."""
    try:
        return pretrained("aviary-dinov2"), "aviary-dinov2"
    except LabkitError:
        pass
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=128, num_hidden_layers=6, num_attention_heads=2, patch_size=8, image_size=SIDE
    )
    Dinov2Model(config).save_pretrained(made)
    square = {"height": SIDE, "width": SIDE}
    BitImageProcessor(size={"shortest_edge": SIDE}, crop_size=square).save_pretrained(made)
    return str(made), "random weights, 128 wide, 6 deep, patch 8"


def alone(
    folder: str, pictures: list[Image.Image], device: torch.device, clock: Clock
) -> tuple[float, Tensor]:
    """Seconds and class tokens (N, D) of the loop over single pictures."""
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval().to(device)

    def encode(picture: Image.Image) -> Tensor:
        inputs = processor(images=picture, return_tensors="pt").to(device)
        with torch.no_grad():
            return model(**inputs).last_hidden_state[:, 0].cpu()

    encode(pictures[0])
    start = clock()
    rows = [encode(picture) for picture in pictures]
    return clock() - start, torch.cat(rows)


def timed(make: Callable[[], FeatureBank], clock: Clock) -> tuple[float, FeatureBank]:
    """Seconds that `make` takes, and what it makes."""
    start = clock()
    bank = make()
    return clock() - start, bank


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--alone", type=int, default=200, help="images for the loop, which is slow")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (options.images, SIDE, SIDE, 3), dtype=np.uint8)
    split = ImageSet(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), [0] * len(pixels), ["any"])
    pictures = [Image.fromarray(image) for image in pixels[: options.alone]]

    clock = CLOCKS[options.clock]
    seconds: dict[str, list[float]] = {"alone": []}
    seconds |= {f"{precision} {which}": [] for precision in PRECISIONS for which in ("first", "second")}
    differences = {}
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["LABKIT_CACHE"] = temporary
        folder, what = backbone_folder(Path(temporary) / "backbone")
        encoder = load_backbone(folder)

        def make(images: ImageSet, precision: str) -> FeatureBank:
            return FeatureBank(encoder, images, precision=precision, device=options.device, progress=False)

        for precision in PRECISIONS:
            make(split.subset(range(min(256, len(split)))), precision)  # warms up
        for _ in range(options.rounds):
            remove_banks(idle_days=0)
            elapsed, rows = alone(folder, pictures, torch.device(options.device), clock)
            seconds["alone"].append(elapsed / len(pictures))
            for precision in PRECISIONS:
                for which in ("first", "second"):
                    elapsed, bank = timed(lambda p=precision: make(split, p), clock)
                    seconds[f"{precision} {which}"].append(elapsed / len(split))
                error = bank.features()[: len(rows)] - rows
                differences[precision] = (error.norm() / rows.norm()).item()
    threads = torch.get_num_threads()
    print(
        f"{machine()}; {threads} thread{'s' * (threads > 1)}, load {os.getloadavg()[0]:.1f}, {options.device}"
    )
    print(f"{what}; {options.images} images of {SIDE}x{SIDE}")
    print(f"Medians of {options.rounds} rounds, {options.clock} time")
    return report({name: statistics.median(values) for name, values in seconds.items()}, differences)


def report(seconds: dict[str, float], differences: dict[str, float]) -> int:
    """Print the table; 1 where the faster precision misses a target."""
    print(f"{'':26}{'images/s':>10}   {'ratio':20}{'wanted':16}off the loop's features by")
    print(f"{'one picture at a time':26}{1 / seconds['alone']:10,.0f}")
    fastest = min(PRECISIONS, key=lambda precision: seconds[f"{precision} first"])
    well = True
    for precision in PRECISIONS:
        first, second = (seconds[f"{precision} {which}"] for which in ("first", "second"))
        batched, again = seconds["alone"] / first, first / second
        wanted = (f"at least {BATCHED:.0f}x", f"at least {AGAIN:.0f}x") if precision == fastest else ("", "")
        off, ratio = f"{differences[precision]:.1e}", f"{batched:.1f}x the loop"
        print(f"{f'bank, {precision}':26}{1 / first:10,.0f}   {ratio:20}{wanted[0]:16}{off}")
        print(f"{'  found in the cache':26}{1 / second:10,.0f}   {f'{again:.0f}x the first':20}{wanted[1]}")
        well &= precision != fastest or (batched >= BATCHED and again >= AGAIN)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
