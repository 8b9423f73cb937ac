"""NABirds: the birds of North America by species, sex, age and plumage."""

from __future__ import annotations

from pathlib import Path

from .. import names
from ..registry import Info, Official, register
from . import birds, layout
from .layout import Listing

INFO = Info(
    name="nabirds",
    description="photographs of 555 visual categories of North American birds, NABirds",
    images=48_562,
    classes=555,
    image_size=layout.IMAGE_SIZE,
    licence="terms of the Cornell Lab of Ornithology, non-commercial",
    size="about 10 GB, by hand",
    fetch="agree to the terms at https://dl.allaboutbirds.org/nabirds, then unpack nabirds.tar.gz"
    " (MD5 df21a9e4db349a14e2b08adfd45873bd) under LABKIT_DATASETS",
    citation="G. Van Horn et al., Building a Bird Recognition App and Large Scale Dataset With Citizen"
    " Scientists, CVPR 2015",
)
_COUNTS = {"train": 23_929, "test": 24_633}


def find(root: Path | None) -> Path | None:
    """The folder nabirds."""
    return layout.find(INFO, root, ["nabirds", "NABirds"], birds.MARKS)


@register(INFO, find=find)
def read(root: Path | None = None, *, image_size: int | None = None, complete: bool = True) -> Official:
    """The official 23 929 and 24 633 images; ids number images.txt.

    The 1 011 nodes of classes.txt are a tree, and only 555 of them have images: a classifier with an output
    for each node would never see 456 of them. Labels are the nodes with images, ordered by number.

    Args:
        root: holds the folder nabirds, or is it.
        image_size: side length, 224 by default.
        complete: False takes any part of the set.
    """
    path = find(root)
    if path is None:
        raise layout.absent(INFO, root, ["nabirds.tar.gz"])
    return layout.deliver(INFO, _listing(path), _COUNTS, image_size=image_size, complete=complete)


def _listing(root: Path) -> Listing:
    photos, named = birds.photos(INFO, root)
    used = sorted({photo.kind for photo in photos}, key=int)
    number = {kind: label for label, kind in enumerate(used)}
    classes = [named[kind].strip() for kind in used]
    return Listing(
        root,
        [photo.file for photo in photos],
        [number[photo.kind] for photo in photos],
        [photo.split for photo in photos],
        classes,
        birds.SOURCE,
        descriptions=[names.nabirds_description(name) for name in classes],
    )
