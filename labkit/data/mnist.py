"""MNIST: the plain `mnist.npz` or torchvision's own files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from ..errors import LabkitError
from .augment import Augment
from .digits import NAMES, WORDS
from .fetch import download
from .registry import Info, Official, missing, places, register
from .sets import ImageSet

_RAW = tuple(f"{s}-{k}-ubyte" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1"))
_UNREADABLE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    EOFError,
    AssertionError,
    RuntimeError,
    zipfile.BadZipFile,
)
INFO = Info(
    name="mnist",
    description="handwritten digits, 28x28 grey",
    images=70_000,
    classes=10,
    image_size=28,
    licence="CC BY-SA 3.0",
    size="12 MB",
    fetch="`labkit data get mnist`",
    citation="Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-Based Learning Applied to Document"
    " Recognition, Proceedings of the IEEE 86(11), 1998",
)


def find(root: Path | None) -> Path | None:
    """An .npz file, or the folder that holds torchvision's `MNIST/raw`."""
    for place in places("mnist", root):
        npz = place / "mnist.npz" if place.is_dir() else place
        if npz.suffix == ".npz" and npz.is_file():
            return npz
        if all((place / "MNIST" / "raw" / name).is_file() for name in _RAW):
            return place
    return None


def fetch(folder: Path) -> None:
    """Download through torchvision into `folder`/MNIST/raw."""
    from torchvision.datasets import MNIST

    urls = [mirror + MNIST.resources[0][0] for mirror in MNIST.mirrors]
    download("mnist", urls, folder, lambda place: MNIST(place, download=True))


@register(INFO, find=find, fetch=fetch)
def read(root: Path | None = None, *, image_size: int | None = None) -> Official:
    """The official 60 000 and 10 000 images in the official order."""
    path = find(root)
    if path is None:
        raise missing(INFO, root)
    try:
        splits = _npz(path) if path.suffix == ".npz" else _torchvision(path)
        train, test = (ImageSet(x[:, None].contiguous(), y.long(), NAMES) for x, y in splits)
    except _UNREADABLE as error:
        raise LabkitError(f"Can't read MNIST from {path} ({error}): delete it and fetch it again.") from error
    return Official(train, test, descriptions=WORDS, augment=Augment.named("shift"))


def _npz(path: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    with np.load(path, allow_pickle=False) as file:
        return [
            tuple(torch.from_numpy(file[f"{split}_{kind}"]) for kind in ("images", "labels"))
            for split in ("train", "test")
        ]


def _torchvision(root: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    from torchvision.datasets import MNIST

    return [(d.data, d.targets) for d in (MNIST(root, train=True), MNIST(root, train=False))]
