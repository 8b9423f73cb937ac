"""Stanford Dogs: 120 breeds from ImageNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import LabkitError
from .. import names
from ..registry import Info, Official, register
from . import layout
from .layout import Listing, mat

INFO = Info(
    name="dogs",
    description="photographs of 120 breeds of dogs, Stanford Dogs",
    images=20_580,
    classes=120,
    image_size=layout.IMAGE_SIZE,
    licence="that of ImageNet, non-commercial research",
    size="0.8 GB",
    fetch="`labkit data get dogs`",
    citation="A. Khosla, N. Jayadevaprakash, B. Yao and L. Fei-Fei, Novel Dataset for Fine-Grained Image"
    " Categorization, FGVC workshop at CVPR 2011",
)
_COUNTS = {"train": 12_000, "test": 8_580}
_FOLDERS = ("StanfordDogs", "Stanford_Dogs", "stanford_dogs", "stanford-dogs", "dogs")
_URL = "http://vision.stanford.edu/aditya86/ImageNetDogs"
_ARCHIVES = (
    (f"{_URL}/lists.tar", "edbb9f16854ec66506b5f09b583e0656"),
    (f"{_URL}/images.tar", "1bb1f2a596ae7057f99d7d75860002ef"),
)


def find(root: Path | None) -> Path | None:
    """The folder that holds Images and the lists."""
    return layout.find(INFO, root, _FOLDERS, ["Images", "train_list.mat"])


@register(INFO, find=find, fetch=lambda folder: layout.fetch(INFO, _ARCHIVES, folder, "StanfordDogs"))
def read(root: Path | None = None, *, image_size: int | None = None, complete: bool = True) -> Official:
    """The official 12 000 and 8 580 images; ids number the training list, then the test list.

    The images are ImageNet's: networks pre-trained on ImageNet have seen them, test images included.

    Args:
        root: holds the folder StanfordDogs, or is the folder with Images and train_list.mat.
        image_size: side length, 224 by default.
        complete: False takes any part of the set.
    """
    path = find(root)
    if path is None:
        raise layout.absent(INFO, root)
    return layout.deliver(INFO, _listing(path), _COUNTS, image_size=image_size, complete=complete)


def _listing(root: Path) -> Listing:
    files, labels, splits = [], [], []
    for split in _COUNTS:
        path = layout.part(INFO, root, *(f"{place}{split}_list.mat" for place in ("", "lists/", "splits/")))
        listed = [str(file) for file in np.atleast_1d(mat(INFO, path, "file_list"))]
        files += listed
        labels += [int(label) - 1 for label in np.atleast_1d(mat(INFO, path, "labels"))]
        splits += [split] * len(listed)
    folders: dict[int, str] = {}
    for file, label in zip(files, labels, strict=True):
        folder = file.partition("/")[0]
        if folders.setdefault(label, folder) != folder:
            raise LabkitError(
                f"The lists in {root} give label {label + 1} to {folders[label]} and to {folder}:"
                f" {layout.mend(INFO, root)}."
            )
    return Listing(
        root,
        [f"Images/{file}" for file in files],
        labels,
        splits,
        [names.dog(folders.get(label, f"label {label + 1}")) for label in range(max(labels, default=-1) + 1)],
        "train_list.mat and test_list.mat",
    )
