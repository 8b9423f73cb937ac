"""Oxford-IIIT Pets: 37 breeds of cats and dogs."""

from __future__ import annotations

from pathlib import Path

from ...errors import LabkitError
from .. import names
from ..registry import Info, Official, register
from . import layout
from .layout import Listing, table

INFO = Info(
    name="pets",
    description="photographs of 37 breeds of cats and dogs, Oxford-IIIT Pets",
    images=7_349,
    classes=37,
    image_size=layout.IMAGE_SIZE,
    licence="CC BY-SA 4.0",
    size="0.8 GB",
    fetch="`labkit data get pets`",
    citation="O. M. Parkhi, A. Vedaldi, A. Zisserman and C. V. Jawahar, Cats and Dogs, CVPR 2012",
)
_COUNTS = {"train": 3_680, "test": 3_669}
_FOLDER = "oxford-iiit-pet"


def find(root: Path | None) -> Path | None:
    """The folder that holds images and annotations."""
    marks = ["annotations/trainval.txt", "annotations/test.txt"]
    return layout.find(INFO, root, [_FOLDER, "oxford_iiit_pet", "OxfordPets", "oxford_pets", "pets"], marks)


def fetch(folder: Path) -> None:
    """Download the two archives, whose checksums torchvision knows."""
    from torchvision.datasets import OxfordIIITPet

    layout.fetch(INFO, OxfordIIITPet._RESOURCES, folder, _FOLDER)


@register(INFO, find=find, fetch=fetch)
def read(root: Path | None = None, *, image_size: int | None = None, complete: bool = True) -> Official:
    """The official 3 680 (trainval) and 3 669 images; ids number the two lists in this order.

    Args:
        root: holds the folder oxford-iiit-pet, or is it.
        image_size: side length, 224 by default.
        complete: False takes any part of the set.
    """
    path = find(root)
    if path is None:
        raise layout.absent(INFO, root)
    return layout.deliver(INFO, _listing(path), _COUNTS, image_size=image_size, complete=complete)


def _listing(root: Path) -> Listing:
    files, labels, splits, breeds = [], [], [], {}
    for split, name in (("train", "trainval"), ("test", "test")):
        for image, number, *_ in table(INFO, root, f"annotations/{name}.txt", 4):
            breed = names.pet(image)
            if not number.isdecimal() or breeds.setdefault(int(number) - 1, breed) != breed:
                raise LabkitError(
                    f"{root}/annotations/{name}.txt gives {image} the class {number}, which is no number or"
                    f" that of another breed: {layout.mend(INFO, root)}."
                )
            files.append(f"images/{image}.jpg")
            labels.append(int(number) - 1)
            splits.append(split)
    classes = [breeds.get(label, f"class {label + 1}") for label in range(max(labels) + 1)]
    return Listing(root, files, labels, splits, classes, "annotations/trainval.txt and annotations/test.txt")
