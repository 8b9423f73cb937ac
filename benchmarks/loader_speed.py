"""Images/s of labkit's in-memory loader and of torchvision dataset + DataLoader, side by side.

Both deliver float batches of 32-px RGB images in [0, 1] after a pad-4 random crop and a random flip. The
pixels are random bytes: the speed doesn't depend on them.

    python benchmarks/loader_speed.py [--images 20000] [--batch-size 128] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import CIFAR10

from labkit.data import Augment, ImageSet, batches

AUGMENT = Augment(pad=4, flip=True)
TRANSFORM = transforms.Compose(
    [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
)


class Images(CIFAR10):
    """torchvision's CIFAR-10 with its own `__getitem__`, over pixels given instead of read."""

    def __init__(self, pixels: np.ndarray, labels: list[int]) -> None:
        self.data, self.targets = pixels, labels
        self.transform, self.target_transform = TRANSFORM, None

    def __repr__(self) -> str:
        return f"Images({len(self.data)})"


def rate(epoch: Iterable) -> float:
    """Images/s of one pass."""
    start, seen = time.perf_counter(), 0
    for image, *_ in epoch:
        seen += len(image)
    return seen / (time.perf_counter() - start)


def machine() -> str:
    """Processor, cores and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor())
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, torch {torch.__version__}"


def main() -> None:
    """Alternate the two loaders, so that a busy machine slows both, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (options.images, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(0, 10, options.images).tolist()
    ours = ImageSet(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels, [*"0123456789"])
    theirs = DataLoader(
        Images(pixels, labels),
        options.batch_size,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,  # their start-up isn't counted
    )
    rate(theirs)  # start the workers
    rates: dict[str, list[float]] = {"torchvision": [], "labkit": []}
    for epoch in range(options.rounds):
        rates["torchvision"].append(rate(theirs))
        epochs = [  # several epochs, to measure as long as the other
            rate(
                batches(ours, options.batch_size, seed=0, epoch=5 * epoch + i, shuffle=True, augment=AUGMENT)
            )
            for i in range(5)
        ]
        rates["labkit"].append(statistics.harmonic_mean(epochs))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(machine())
    print(f"{options.images} images of 32x32, batch {options.batch_size}, {options.rounds} rounds, medians")
    print(f"torchvision + DataLoader({options.workers} workers)  {medians['torchvision']:10,.0f} images/s")
    print(f"labkit in memory ({torch.get_num_threads()} threads)         {medians['labkit']:10,.0f} images/s")
    print(f"ratio {medians['labkit'] / medians['torchvision']:.1f}x (wanted: at least 5x)")


if __name__ == "__main__":
    main()
