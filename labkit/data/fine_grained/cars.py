"""Stanford Cars: 196 models, from the archives with their Matlab lists or from class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import LabkitError
from .. import images, names
from ..registry import Info, Official, register
from . import layout
from .layout import Listing, mat

INFO = Info(
    name="cars",
    description="photographs of 196 models of cars, Stanford Cars",
    images=16_185,
    classes=196,
    image_size=layout.IMAGE_SIZE,
    licence="none published, for non-commercial research",
    size="2.0 GB, by hand",
    fetch="the authors' server is gone; get a copy of cars_train.tgz, cars_test.tgz, car_devkit.tgz and"
    " cars_test_annos_withlabels.mat and unpack them into stanford_cars under LABKIT_DATASETS",
    citation="J. Krause, M. Stark, J. Deng and L. Fei-Fei, 3D Object Representations for Fine-Grained"
    " Categorization, 3dRR workshop at ICCV 2013",
)
_COUNTS = {"train": 8_144, "test": 8_041}
_FOLDERS = ("stanford_cars", "stanford-cars", "StanfordCars", "car_data/car_data", "car_data", "cars")
_MARKS = ("cars_annos.mat", "devkit", "cars_train", "train")


def find(root: Path | None) -> Path | None:
    """The folder that holds cars_train, cars_test and devkit; or cars_annos.mat; or train and test."""
    return layout.find(INFO, root, _FOLDERS, _MARKS)


@register(INFO, find=find)
def read(root: Path | None = None, *, image_size: int | None = None, complete: bool = True) -> Official:
    """The official 8 144 and 8 041 images; ids number the training list, then the test list.

    Three layouts are known: the archives (cars_train, cars_test and devkit, as torchvision wants them), the
    older one (car_ims and cars_annos.mat), and train/<class>/* with test/<class>/*.

    Args:
        root: holds the folder stanford_cars or car_data, or is it.
        image_size: side length, 224 by default.
        complete: False takes any part of the set.
    """
    path = find(root)
    if path is None:
        raise layout.absent(INFO, root, ["cars_train.tgz", "cars_test.tgz"])
    if (path / "cars_annos.mat").is_file():
        listing = _one_list(path)
    elif (path / "train").is_dir():
        listing = _folders(path)
    else:
        listing = _devkit(path)
    return layout.deliver(INFO, listing, _COUNTS, image_size=image_size, complete=complete)


def _classes(path: Path) -> list[str]:
    return [names.car(str(name)) for name in np.atleast_1d(mat(INFO, path, "class_names"))]


def _devkit(root: Path) -> Listing:
    classes = _classes(layout.part(INFO, root, "devkit/cars_meta.mat"))
    files, labels, splits = [], [], []
    lists = {
        "train": ("devkit/cars_train_annos.mat",),
        "test": ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"),
    }
    for split, places in lists.items():
        path = layout.part(INFO, root, *places)
        for fname, label in _columns(path, "fname", "class"):
            files.append(f"cars_{split}/{fname}")
            labels.append(int(label) - 1)
            splits.append(split)
    return Listing(root, files, labels, splits, classes, "the lists of devkit")


def _one_list(root: Path) -> Listing:
    path = root / "cars_annos.mat"
    rows = _columns(path, "relative_im_path", "class", "test")
    rows = sorted(rows, key=lambda row: bool(row[2]))  # stable: training first
    return Listing(
        root,
        [str(file) for file, _, _ in rows],
        [int(label) - 1 for _, label, _ in rows],
        ["test" if is_test else "train" for *_, is_test in rows],
        _classes(path),
        "cars_annos.mat",
    )


def _columns(path: Path, *fields: str) -> list[tuple]:
    """These fields of every annotation in a Matlab list."""
    table = np.atleast_1d(mat(INFO, path, "annotations"))
    absent = [field for field in fields if field not in (table.dtype.names or ())]
    if absent:
        raise LabkitError(
            f"{path} has no '{absent[0]}' in its annotations: is it the list with labels"
            " (cars_test_annos_withlabels.mat)?"
        )
    return list(zip(*(table[field] for field in fields), strict=True))


def _folders(root: Path) -> Listing:
    classes = [folder.name for folder in images.subfolders(root / "train")]
    tested = [folder.name for folder in images.subfolders(layout.part(INFO, root, "test"))]
    if classes != tested:
        odd = ", ".join(sorted(set(classes) ^ set(tested))[:3])
        raise LabkitError(
            f"The class folders of train and test in {root} differ ({odd}): {layout.mend(INFO, root)}."
        )
    found = [
        (f"{split}/{name}/{file.name}", label, split)
        for split in _COUNTS
        for label, name in enumerate(classes)
        for file in images.image_files(root / split / name)
    ]
    files, labels, splits = zip(*found, strict=True) if found else ((), (), ())
    return Listing(root, files, labels, splits, [names.car(name) for name in classes], "the class folders")
