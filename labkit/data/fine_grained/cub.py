"""CUB-200-2011, 200 species of birds, and its first 50 classes as a set of their own."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

from ...errors import LabkitError
from .. import images, names
from ..registry import Info, Official, places, register
from . import birds, layout
from .layout import Listing

_CITATION = (
    "C. Wah, S. Branson, P. Welinder, P. Perona and S. Belongie, The Caltech-UCSD Birds-200-2011 Dataset,"
    " California Institute of Technology, CNS-TR-2011-001, 2011"
)
CUB200 = Info(
    name="cub200",
    description="photographs of 200 species of birds, CUB-200-2011",
    images=11_788,
    classes=200,
    image_size=layout.IMAGE_SIZE,
    licence=layout.RESEARCH,
    size="1.2 GB",
    fetch="`labkit data get cub200`",
    citation=_CITATION,
)
CUB50 = Info(
    name="cub50",
    description="the first 50 species of CUB-200-2011, also as one small tar file of resized images",
    images=2_889,
    classes=50,
    image_size=160,
    licence=layout.RESEARCH,
    size="35 MB by hand, or 1.2 GB",
    fetch="put cub200_2011_50_160.tar under LABKIT_DATASETS, or `labkit data get cub200`, which contains it",
    citation=_CITATION,
)
_COUNTS = {"cub200": {"train": 5_994, "test": 5_794}, "cub50": {"train": 1_500, "test": 1_389}}
_TAR = "cub200_2011_50_160.tar"
_FOLDERS = ("CUB_200_2011", "CUB-200-2011", "cub200/CUB_200_2011", "cub200")
_ARCHIVE = (
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    "97eceeb196236b17998738112f37df78",
)


def find(root: Path | None) -> Path | None:
    """The folder CUB_200_2011."""
    return layout.find(CUB200, root, _FOLDERS, birds.MARKS)


def find_50(root: Path | None) -> Path | None:
    """The small tar file, the folder it unpacks to, or the whole of CUB-200-2011."""
    if root is not None and root.suffix == ".tar" and root.is_file():
        return root
    small = layout.find(CUB50, root, [_TAR.removesuffix(".tar")], birds.MARKS)
    tars = [place / _TAR for place in places("cub50", root) if (place / _TAR).is_file()]
    return small or next(iter(tars), None) or find(root)


@register(CUB200, find=find, fetch=lambda folder: layout.fetch(CUB200, [_ARCHIVE], folder))
def read(root: Path | None = None, *, image_size: int | None = None, complete: bool = True) -> Official:
    """The official 5 994 and 5 794 images; ids are the official image ids minus one.

    Args:
        root: holds CUB_200_2011, or is it.
        image_size: side length, 224 by default.
        complete: False takes any part of the set, as long as every class has training and test images.
    """
    path = find(root)
    if path is None:
        raise layout.absent(CUB200, root, ["CUB_200_2011.tgz"])
    return layout.deliver(
        CUB200, listing(CUB200, path), _COUNTS["cub200"], image_size=image_size, complete=complete
    )


@register(CUB50, find=find_50)
def read_50(root: Path | None = None, *, image_size: int | None = None, complete: bool = True) -> Official:
    """The images of classes 1 to 50, official split: 1 500 and 1 389; ids as in `cub200`.

    Args:
        root: the tar file, or holds it, what it unpacks to, or CUB_200_2011.
        image_size: side length, 160 by default, the short side of the small tar file's images.
        complete: False takes any part of the set.
    """
    path = find_50(root)
    if path is None:
        raise layout.absent(CUB50, root)
    if path.is_file():
        path = _unpacked(path)
    return layout.deliver(
        CUB50, listing(CUB50, path, 50), _COUNTS["cub50"], image_size=image_size, complete=complete
    )


def listing(info: Info, root: Path, first: int | None = None) -> Listing:
    """What the annotation files say; only of the first so many classes, if given."""
    photos, named = birds.photos(info, root)
    number = {kind: label for label, kind in enumerate(list(named)[:first])}
    photos = [photo for photo in photos if photo.kind in number]
    try:
        ids = [int(photo.id) - 1 for photo in photos]
    except ValueError as error:
        raise LabkitError(
            f"The ids in {root / 'images.txt'} should be numbers ({error}): {layout.mend(info, root)}."
        ) from error
    return Listing(
        root,
        [photo.file for photo in photos],
        [number[photo.kind] for photo in photos],
        [photo.split for photo in photos],
        [names.cub(named[kind]) for kind in number],
        birds.SOURCE,
        ids=ids,
    )


def _unpacked(tar: Path) -> Path:
    """The folder in labkit's cache to which the tar file is unpacked, once."""
    from filelock import FileLock

    target = images.folder("cub50") / f"unpacked-{images.fingerprint([tar])}"
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / ".unpack.lock"):
            if not target.is_dir():
                with tarfile.open(tar) as archive:
                    archive.extractall(temporary, filter="data")
                os.replace(temporary, target)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise LabkitError(
            f"Can't unpack {tar} into {target.parent} ({error}): copy it again, or choose a writable"
            " LABKIT_CACHE."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    folders = images.subfolders(target)
    return folders[0] if len(folders) == 1 else target
