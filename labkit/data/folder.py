"""Your own images: any directory of class folders."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..errors import LabkitError, MissingError
from .augment import Augment
from .images import MEMORY_LIMIT, decode_all, image_files, subfolders
from .registry import Info, Official, register
from .sets import FileSet, ImageSet
from .splits import TEST, hold_out

_SIZE = 64
_VALIDATION_NAMES = ("val", "valid", "validation")


def _find(root: Path | None) -> Path | None:
    return root if root is not None and root.is_dir() else None


@register(
    Info(
        name="folder",
        description="your own images: root/<class>/*, or root/train/<class>/* with val and test beside it",
        images=0,
        classes=0,
        image_size=_SIZE,
        licence="that of your images",
        size="nothing to download",
        fetch="name your own folder, load('folder', root=...)",
        citation="none",
    ),
    find=_find,
)
def read(
    root: Path | None = None,
    *,
    image_size: int | None = None,
    test: float = 0.2,
    in_memory: bool | None = None,
) -> Official:
    """A directory of class folders.

    Args:
        root: holds either one folder per class, of which a fixed share becomes the test split, or
            train/<class> and optionally val/<class> and test/<class>.
        image_size: side length, 64 by default.
        test: share of each class, or images per class, for the test split where root has none.
        in_memory: None keeps the images in memory where they fit into 1 GiB, else they are decoded batch by
            batch.
    """
    if root is None:
        raise LabkitError("The data set 'folder' needs root, the directory that holds the class folders.")
    if not root.is_dir():
        what = "is a file, not a directory" if root.exists() else "doesn't exist"
        raise MissingError(
            f"The image folder {root} {what}: name the directory that holds the class folders."
        )
    split = root / "train"
    has_splits = split.is_dir() and bool(subfolders(split) or not image_files(split))
    files, labels, classes = _scan(split if has_splits else root)
    options = {"size": image_size or _SIZE, "in_memory": in_memory}
    if not has_splits:
        _enough(labels, classes, root)
        whole = _images(files, labels, classes, **options)
        train, held = hold_out(whole.labels, whole.ids, classes, test, 0, TEST)
        return _official(whole.subset(train), whole.subset(held), None)
    parts = {}
    for kind, names in (("val", _VALIDATION_NAMES), ("test", ("test",))):
        place = next((root / name for name in names if (root / name).is_dir()), None)
        parts[kind] = _images(*_scan(place, classes), **options) if place else None
    train = _images(files, labels, classes, **options)
    if parts["test"] is None:
        kept, held = hold_out(train.labels, train.ids, classes, test, 0, TEST)
        train, parts["test"] = train.subset(kept), train.subset(held)
    return _official(train, parts["test"], parts["val"])


def _enough(labels: list[int], classes: tuple[str, ...], root: Path) -> None:
    """Each class needs an image for training, one for validation and one for the test."""
    counts = Counter(labels)
    for label, name in enumerate(classes):
        if counts[label] < 3:
            raise LabkitError(
                f"The class folder {root / name} has fewer than three images, too few for training,"
                " validation and test: add some."
            )


def _official(
    train: ImageSet | FileSet, test: ImageSet | FileSet, val: ImageSet | FileSet | None
) -> Official:
    words = [c.replace("_", " ") for c in train.classes]
    return Official(train, test, val, descriptions=words, augment=Augment.named("rrc"), val_size=0.2)


def _scan(
    place: Path, expected: tuple[str, ...] | None = None
) -> tuple[list[str], list[int], tuple[str, ...]]:
    """Files, labels and class names below `place`, sorted by class and name."""
    folders = subfolders(place)
    classes = tuple(f.name for f in folders)
    if not folders:
        raise LabkitError(
            f"{place} has no class folders: put the images of each class into a folder of its own."
        )
    if expected and classes != expected:
        odd = ", ".join(sorted(set(classes) ^ set(expected)))
        raise LabkitError(
            f"The classes of {place} are not those of {place.parent / 'train'} (differing: {odd})."
        )
    if len(classes) == 1:
        raise LabkitError(
            f"{place} has only one class folder, '{classes[0]}': a classifier needs at least two."
        )
    files, labels = [], []
    for label, folder in enumerate(folders):
        found = image_files(folder)
        if not found:
            raise LabkitError(
                f"The class folder {folder} has no images (jpg, png, webp or bmp): add some or delete it."
            )
        files += map(str, found)
        labels += [label] * len(found)
    return files, labels, classes


def _images(
    files: list[str], labels: list[int], classes: tuple[str, ...], size: int, in_memory: bool | None
) -> ImageSet | FileSet:
    if in_memory is None:
        in_memory = len(files) * 3 * size * size <= MEMORY_LIMIT
    if in_memory:
        return ImageSet(decode_all(files, size), labels, classes)
    return FileSet(files, labels, classes, image_size=size)
