"""DAIT's first stage: the model's embeddings read from the bank, or the frozen model in the loop.

Two sizes, each both ways in one process: the miniature (aviary-clip and `mid` at 64 px, short rounds of `fit`
that alternate) and, with --full, the papers' (convnext_xxlarge at 256 px and RegNetY-1.6GF at 224 px, random
weights, see full_size.py; three counted steps each way). A step's time is what lies between two ends of
steps, so that loading, augmentation and the bank's rows are in it. From these follow 100 epochs over the
training images of the Aviary, or of CUB-200-2011: the loop runs the model once for each image and epoch, the
bank once for each image and stored view. The ratio that is wanted counts the making of the bank, for --views
views.

    python benchmarks/stage1.py [--full] [--views 4] [--batch 4] [--dtype bfloat16] [--clock cpu]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch
from full_size import (
    BETWEEN,
    CLOCKS,
    MODEL,
    Clock,
    Timed,
    arguments,
    giant,
    photographs,
    say_where,
    steps_of,
    timed,
)

from labkit import data, models
from labkit.data import DataModule
from labkit.engine import FeatureBank
from labkit.engine.bank_key import module_digest
from labkit.models import VisionLanguage

EPOCHS = 100
WANTED = 10.0  # of the full size
VIEWS = (1, 2, 4, 8, 16)


def seconds_of(clock: Clock, work: Callable[[], object]) -> tuple[float, object]:
    """How long it takes, and what it gives."""
    started = clock()
    found = work()
    return clock() - started, found


def measured(
    make: Callable[[], Timed],
    vlm: VisionLanguage,
    module: DataModule,
    clock: Clock,
    batch: int,
    turns: int,
    device: str,
) -> tuple[float, float, float]:
    """Seconds for an image: of a step with the model in the loop, of one with the bank, and to fill the bank.

    The bank's key hashes the model once, whatever the number of images: that is taken off.
    """
    told = {
        "augment": module.augment,
        "batch_size": batch,
        "keep": False,
        "device": device,
        "progress": False,
    }
    filling, bank = seconds_of(clock, lambda: FeatureBank(vlm, module.train, **told))
    hashing, _ = seconds_of(clock, lambda: module_digest(vlm))
    steps = len(module.train) // batch
    found: dict[str, list[float]] = {"loop": [], "bank": []}
    for _ in range(turns):
        for way, stored in (("loop", None), ("bank", {"vlm": bank})):
            found[way] += steps_of(make(), module, batch, steps, bank=stored, device=device)
    loop, stored = (statistics.median(values) / batch for values in found.values())
    return loop, stored, (filling - hashing) / len(module.train)


def report(name: str, images: int, wanted_views: int, loop: float, stored: float, filling: float) -> float:
    """Print 100 epochs over a training set both ways; the ratio for the wanted number of views."""
    print(
        f"{name}: an image of a step costs {1e3 * loop:,.1f} ms with the model in the loop and"
        f" {1e3 * stored:,.1f} ms with the bank, which takes {1e3 * filling:,.1f} ms a view to fill"
    )
    whole = EPOCHS * images * loop
    print(f"  {EPOCHS} epochs over {images:,} images, in hours: {whole / 3600:.3g} in the loop")
    for views in sorted({*VIEWS, wanted_views}):
        making, reading = views * images * filling, EPOCHS * images * stored
        ratio = whole / (making + reading)
        hours = f"{making / 3600:.3g} to fill + {reading / 3600:.3g} to train"
        print(
            f"  bank of {views:2d} view{'s' * (views > 1)}{' ' * (views == 1)} {hours:36}{ratio:6.1f}x"
            + (f"   wanted at least {WANTED:.0f}x" if views == wanted_views and name == "full size" else "")
        )
        if views == wanted_views:
            found = ratio
    return found


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--full", action="store_true", help="the papers' networks, too: minutes, 7 GB")
    parser.add_argument("--views", type=int, default=4)
    options = parser.parse_args()
    clock, device = CLOCKS[options.clock], options.device
    say_where(options.clock, device)
    birds = data.load("aviary")
    vlm = models.load_vlm("aviary-clip", device)
    some = DataModule(
        "aviary", birds.train.subset(range(288)), birds.val.subset([]), birds.test, augment=birds.augment
    )

    def small() -> Timed:
        return timed(vlm, clock, ("tiny", "mid"), birds.num_classes, only=1)

    measured(small, vlm, some, clock, 48, 1, device)  # warms up
    report("miniature", len(birds.train), options.views, *measured(small, vlm, some, clock, 48, 3, device))
    if not options.full:
        return 0
    del vlm
    print(f"{MODEL} in {options.dtype}, {BETWEEN} in float32, batches of {options.batch}")
    vlm = giant(dtype=getattr(torch, options.dtype), device=device)
    module = photographs(4 * options.batch)
    found = measured(lambda: timed(vlm, clock, only=1), vlm, module, clock, options.batch, 1, device)
    return 0 if report("full size", 5994, options.views, *found) >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
