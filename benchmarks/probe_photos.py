"""The lab's probe on real photographs: CIFAR-10 and 50 bird species of CUB-200-2011, from a local folder.

The backbone is that of the profile: on the `cpu` profile the miniature, which has only ever seen the Aviary,
so that its numbers say how far drawn birds carry; with LABKIT_PROFILE=gpu the published one. Beside it stand
its randomly initialised twin and raw pixels. C and the kind of features are chosen on validation images.

    LABKIT_DATASETS=folder python benchmarks/probe_photos.py [--only cub] [--per-class 200]
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from torch import nn

from labkit.bench import lab08
from labkit.data import DataModule, load
from labkit.engine.evaluate import wilson
from labkit.engine.probe import fit_probe
from labkit.errors import MissingError
from labkit.manifest import machine
from labkit.paths import datasets
from labkit.profiles import Profile, profile
from labkit.views import Table

CUB = "cub200_2011_50_160.tar"
PIXELS = 16  # side to which the raw-pixel control shrinks the images
VALIDATION = {"cifar10": 50, "cub": 6}  # images per class


def unpack_cub(tar: Path, folder: Path) -> Path:
    """Unpack the photographs as train/<class> and test/<class> by the official split; returns `folder`."""
    root = tar.stem
    with tarfile.open(tar) as archive:
        table = io.TextIOWrapper(archive.extractfile(f"{root}/labels.csv"), encoding="utf-8")
        for row in csv.DictReader(table):
            photo = Path(row["file"])
            target = folder / row["split"] / photo.parent.name / photo.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.extractfile(f"{root}/{row['file']}").read())
    return folder


def cifar(size: int, per_class: int, test_per_class: int) -> DataModule:
    module = load("cifar10", seed=0, per_class=per_class, image_size=size, val=VALIDATION["cifar10"])
    module.test = module.test.few(test_per_class, seed=0)
    return module


def cub(size: int, folder: Path) -> DataModule:
    place = datasets()
    if place is None or not (place / CUB).is_file():
        raise MissingError(f"{CUB} is not there: set LABKIT_DATASETS to the folder that holds it.")
    return load(
        "folder", root=unpack_cub(place / CUB, folder), seed=0, image_size=size, val=VALIDATION["cub"]
    )


def rows(name: str, module: DataModule, setting: Profile) -> list[list[str]]:
    """A line for each method: the kind of features that validation chose, accuracies, images/s."""
    s = setting.lab(8)
    encoders: dict[str, nn.Module] = {
        "DINOv2": lab08.Pooled(lab08.backbone(setting)),
        "random twin": lab08.Pooled(lab08.backbone(setting, "twin")),
        f"pixels, {PIXELS} px": lab08.Pixels(PIXELS),
    }
    found = []
    for method, encoder in encoders.items():
        start = time.perf_counter()
        x = lab08.encode(encoder, module, s.batch_size, keep=False)
        images = sum(len(getattr(module, split)) for split in x)
        speed = images / (time.perf_counter() - start)
        y = {split: getattr(module, split).labels for split in x}
        tried = {}
        for kind in x["train"]:
            train, val = ((x[split][kind], y[split]) for split in ("train", "val"))
            _, tried[kind] = fit_probe(train, val, s.strengths)
        kind = max(tried, key=lambda kind: tried[kind].score(x["val"][kind], y["val"]))
        train, test = (float(tried[kind].score(x[split][kind], y[split])) for split in ("train", "test"))
        low, high = wilson(round(test * len(y["test"])), len(y["test"]))
        found.append(
            [name, method, kind, f"{train:.1%}", f"{test:.1%}", f"{low:.1%} to {high:.1%}", f"{speed:.0f}"]
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-class", type=int, default=200, help="training images per class of CIFAR-10")
    parser.add_argument("--test-per-class", type=int, default=100, help="test images per class of CIFAR-10")
    parser.add_argument("--only", choices=("cifar10", "cub"), help="one of the two data sets")
    options = parser.parse_args()
    setting = profile()
    table = []
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "cub":
            module = cifar(setting.image_size, options.per_class, options.test_per_class)
            table += rows("CIFAR-10", module, setting)
        if options.only != "cifar10":
            table += rows("CUB, 50 species", cub(setting.image_size, Path(folder)), setting)
    columns = ["photographs", "features of", "kind", "train", "test", "95 % interval", "images/s"]
    note = (
        f"{setting.self_supervised} at {setting.image_size} px; C and kind chosen on validation. {machine()}."
    )
    print(Table(columns, table, note=note))
    return 0


if __name__ == "__main__":
    sys.exit(main())
