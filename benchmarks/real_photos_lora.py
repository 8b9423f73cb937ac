"""LoRA on real photographs with the miniature backbone: what it reaches, and why that is low.

CIFAR-10, 500 training and 100 test images of each class, enlarged from 32 to 64 pixels, through the very
code of lab 09. `aviary-vit` has seen only drawn birds of a small world: its features know neither photographs
nor other things than birds. The numbers show that the code runs end to end, not what LoRA can do.

    LABKIT_DATASETS=FOLDER python benchmarks/real_photos_lora.py [--steps 100]
"""

from __future__ import annotations

import argparse
import time

import torch

from labkit import data, engine
from labkit.bench import lab09
from labkit.data import DataModule
from labkit.models import lora
from labkit.profiles import profile
from labkit.views import Table


def photographs(seed: int = 0) -> DataModule:
    """5 000 training, 500 validation and 1 000 test photographs at 64 px."""
    full = data.load("cifar10", image_size=64, per_class=500, val=50, seed=seed)
    return DataModule("cifar10", full.train, full.val, full.test.few(100), augment=full.augment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cpu, photos, rows = profile("cpu"), photographs(), []
    print(photos.describe())
    for method in lab09.METHODS:
        model = lab09.adapted(cpu, method, photos.num_classes, seed=0)
        share = lora.trainable_share(model).share
        began = time.process_time()
        rate = cpu.lab(9).lr[method]
        run = lab09.train(cpu, model, photos, 0, lr=rate, steps=options.steps, validate_every=100)
        seconds = time.process_time() - began
        ready = lora.merge(run.model) if method == "lora" else run.model
        low, high = (test := engine.evaluate(ready, photos.test)).interval
        rows.append(
            [method, f"{share:.1%}", f"{test.accuracy:.1%}", f"{low:.1%} to {high:.1%}", f"{seconds:.0f}"]
        )
    columns = ["method", "parameters that train", "test accuracy", "95 % interval", "CPU seconds"]
    print(
        Table(columns, rows, note=f"{options.steps} steps, one seed; chance is {1 / photos.num_classes:.0%}.")
    )
    print(
        "Low, because the backbone was pretrained on drawn birds alone: its features are colours and parts of"
        " birds. Under LABKIT_PROFILE=gpu lab 09 runs the same code on a network pretrained on ImageNet-21k."
    )


if __name__ == "__main__":
    main()
