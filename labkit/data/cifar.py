"""CIFAR-10 and CIFAR-100: torchvision's files, or JPEGs in class folders (as a tar file or unpacked)."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import LabkitError
from .augment import Augment
from .fetch import download
from .images import Picture, cached, decode_all, fingerprint, image_files, is_image, subfolders
from .registry import Info, Official, missing, places, register
from .sets import ImageSet

_CITATION = (
    "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009"
)
_LICENCE = "none published, for research and teaching"
CIFAR10 = Info(
    name="cifar10",
    description="photographs of animals and vehicles, 32x32 colour",
    images=60_000,
    classes=10,
    image_size=32,
    licence=_LICENCE,
    size="170 MB",
    fetch="`labkit data get cifar10`",
    citation=_CITATION,
)
CIFAR100 = Info(
    name="cifar100",
    description="photographs of a hundred kinds of things, 32x32 colour",
    images=60_000,
    classes=100,
    image_size=32,
    licence=_LICENCE,
    size="169 MB",
    fetch="`labkit data get cifar100`",
    citation=_CITATION,
)
_TORCHVISION = {"cifar10": ("CIFAR10", "cifar-10-batches-py"), "cifar100": ("CIFAR100", "cifar-100-python")}
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, EOFError, RuntimeError, tarfile.TarError)


def find(info: Info, root: Path | None) -> Path | None:
    """A tar file, a folder with train/<class> and test/<class>, or torchvision's folder."""
    name = info.name
    for place in places(name, root):
        if root is not None and place.suffix == ".tar" and place.is_file():
            return place
        if (place / f"{name}_jpg.tar").is_file():
            return place / f"{name}_jpg.tar"
        for folder in (place / f"{name}_jpg", place / name, place):
            is_split = all((folder / split).is_dir() for split in ("train", "test"))
            if is_split and len(subfolders(folder / "train")) == info.classes:  # else another data set's
                return folder
        for folder in (place / _TORCHVISION[name][1], place):
            if folder.name == _TORCHVISION[name][1] and folder.is_dir():
                return folder
    return None


def fetch(info: Info, folder: Path) -> None:
    """Download through torchvision into `folder`."""
    import torchvision.datasets

    kind = getattr(torchvision.datasets, _TORCHVISION[info.name][0])
    download(info.name, [kind.url], folder, lambda place: kind(place, download=True))


def _read(info: Info, root: Path | None) -> Official:
    path = find(info, root)
    if path is None:
        raise missing(info, root)
    try:
        is_torchvision = path.name == _TORCHVISION[info.name][1]
        train, test = _torchvision(info, path.parent) if is_torchvision else _jpegs(info, path)
    except LabkitError:
        raise
    except _UNREADABLE as error:
        raise LabkitError(
            f"Can't read {info.name} from {path} ({error}): delete it and fetch it again."
        ) from error
    words = [c.replace("_", " ") for c in train.classes]
    return Official(train, test, descriptions=words, augment=Augment.named("crop-flip"))


@register(CIFAR10, find=lambda root: find(CIFAR10, root), fetch=lambda folder: fetch(CIFAR10, folder))
def read_cifar10(root: Path | None = None, *, image_size: int | None = None) -> Official:
    """The official 50 000 and 10 000 images; JPEGs are ordered by class and file name."""
    return _read(CIFAR10, root)


@register(CIFAR100, find=lambda root: find(CIFAR100, root), fetch=lambda folder: fetch(CIFAR100, folder))
def read_cifar100(root: Path | None = None, *, image_size: int | None = None) -> Official:
    """The official 50 000 and 10 000 images with the 100 fine labels."""
    return _read(CIFAR100, root)


def _torchvision(info: Info, root: Path) -> list[ImageSet]:
    import torchvision.datasets

    kind = getattr(torchvision.datasets, _TORCHVISION[info.name][0])
    sets = [kind(root, train=train) for train in (True, False)]  # checks the files' checksums
    return [
        ImageSet(torch.from_numpy(s.data).permute(0, 3, 1, 2).contiguous(), s.targets, s.classes)
        for s in sets
    ]


def _jpegs(info: Info, path: Path) -> list[ImageSet]:
    """Decode once, then read the uint8 cache, which is keyed by the files' sizes and times."""
    if path.is_file():
        key = fingerprint([path])
    else:
        folders = [f for split in ("train", "test") for f in subfolders(path / split)]
        key = fingerprint([file for folder in folders for file in image_files(folder)])
    tensors = cached(info.name, key, lambda: _decode(info, path))
    classes = bytes(tensors["classes"].tolist()).decode().split("\n")
    return [ImageSet(tensors[f"{s}_images"], tensors[f"{s}_labels"], classes) for s in ("train", "test")]


def _decode(info: Info, path: Path) -> dict[str, Tensor]:
    members = _from_tar(path) if path.is_file() else _from_folder(path)
    classes, tested = (sorted({c for part, c, _ in members if part == s}) for s in ("train", "test"))
    if len(classes) != info.classes or tested != classes:
        raise LabkitError(
            f"{path} should hold train/<class>/ and test/<class>/ with the same {info.classes} classes,"
            f" but it has {len(classes)} with training and {len(tested)} with test images: fetch it again."
        )
    tensors = {"classes": torch.tensor(list("\n".join(classes).encode()), dtype=torch.uint8)}
    for split in ("train", "test"):
        own = [(label, picture) for part, label, picture in members if part == split]
        tensors[f"{split}_images"] = decode_all(
            [picture for _, picture in own], info.image_size, name=f"{info.name} {split}"
        )
        tensors[f"{split}_labels"] = torch.from_numpy(np.array([classes.index(label) for label, _ in own]))
    return tensors


def _from_tar(path: Path) -> list[tuple[str, str, Picture]]:
    """(split, class, picture) of every image in the tar file, by path."""
    found = []
    with tarfile.open(path) as tar:
        for member in tar:
            parts = Path(member.name).parts
            if member.isfile() and len(parts) >= 3 and is_image(member.name):
                picture = (f"{path}:{member.name}", tar.extractfile(member).read())
                found.append((*parts[-3:-1], picture))
    return sorted(found, key=lambda item: (item[0], item[1], item[2][0]))


def _from_folder(path: Path) -> list[tuple[str, str, Picture]]:
    """(split, class, picture) of every image in the unpacked folder, by path."""
    return [
        (split, folder.name, file)
        for split in ("train", "test")
        for folder in subfolders(path / split)
        for file in image_files(folder)
    ]
