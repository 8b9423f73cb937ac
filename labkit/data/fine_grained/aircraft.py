"""FGVC-Aircraft: 100 variants of aircraft in three official splits."""

from __future__ import annotations

from pathlib import Path

from ...errors import LabkitError
from .. import names
from ..registry import Info, Official, register
from . import layout
from .layout import Listing, table

INFO = Info(
    name="aircraft",
    description="photographs of 100 variants of aircraft, FGVC-Aircraft 2013b",
    images=10_000,
    classes=100,
    image_size=layout.IMAGE_SIZE,
    licence="non-commercial research only",
    size="2.8 GB",
    fetch="`labkit data get aircraft`",
    citation="S. Maji, J. Kannala, E. Rahtu, M. Blaschko and A. Vedaldi, Fine-Grained Visual Classification"
    " of Aircraft, arXiv 1306.5151, 2013",
)
_COUNTS = {"train": 3_334, "val": 3_333, "test": 3_333}
_FOLDER = "fgvc-aircraft-2013b"
_BANNER = 20  # rows at the bottom that name the photographer: not to be used, says the archive's README
_ARCHIVE = (
    "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
    "d4acdd33327262359767eeaa97a4f732",
)


def find(root: Path | None) -> Path | None:
    """The folder `data` of the archive, which holds images and lists."""
    folders = [f"{_FOLDER}/data", f"{_FOLDER}/{_FOLDER}/data", "aircraft/data", "data"]
    marks = [*(f"images_variant_{split}.txt" for split in _COUNTS), "variants.txt"]
    return layout.find(INFO, root, folders, marks)


@register(INFO, find=find, fetch=lambda folder: layout.fetch(INFO, [_ARCHIVE], folder))
def read(
    root: Path | None = None,
    *,
    image_size: int | None = None,
    complete: bool = True,
    trainval: bool = False,
    banner: bool = False,
) -> Official:
    """The official 3 334, 3 333 and 3 333 images; ids number the three lists in this order.

    Args:
        root: holds fgvc-aircraft-2013b, or is it.
        image_size: side length, 224 by default.
        complete: False takes any part of the set.
        trainval: train on the official training and validation images together, as most published numbers do;
            validation is then drawn from them by the seed.
        banner: keep the photographer's name at the bottom, as published code often does.
    """
    path = find(root)
    if path is None:
        raise layout.absent(INFO, root, [f"{_FOLDER}.tar.gz"])
    listing = _listing(path, trainval, 0 if banner else _BANNER)
    counts = {"train": 6_667, "test": 3_333} if trainval else _COUNTS
    return layout.deliver(INFO, listing, counts, image_size=image_size, complete=complete)


def _listing(root: Path, trainval: bool, bottom: int) -> Listing:
    variants = [" ".join(row).strip() for row in table(INFO, root, "variants.txt", 1)]
    number = {variant: label for label, variant in enumerate(variants)}
    files, labels, splits, makers = [], [], [], {}
    for split in _COUNTS:
        made = dict(table(INFO, root, f"images_manufacturer_{split}.txt", 2)) if _has_makers(root) else {}
        for image, variant in table(INFO, root, f"images_variant_{split}.txt", 2):
            variant = variant.strip()
            if variant not in number:
                raise LabkitError(
                    f"Image {image} in images_variant_{split}.txt of {root} is a '{variant}', which is not in"
                    f" variants.txt: {layout.mend(INFO, root)}."
                )
            files.append(f"images/{image}.jpg")
            labels.append(number[variant])
            splits.append("train" if trainval and split == "val" else split)
            if image in made:
                makers[variant] = made[image].strip()
    return Listing(
        root,
        files,
        labels,
        splits,
        variants,
        "images_variant_*.txt",
        descriptions=[names.aircraft_description(v, makers.get(v, "")) for v in variants],
        bottom=bottom,
    )


def _has_makers(root: Path) -> bool:
    return all((root / f"images_manufacturer_{split}.txt").is_file() for split in _COUNTS)
