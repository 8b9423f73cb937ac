"""The registry of data sets: what there is, under which licence, where it comes from, and `load`.

A new data set is one decorated reader in a file of its family, imported by `labkit/data/__init__.py`.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from ..errors import LabkitError, MissingError, unknown
from ..paths import datasets
from . import images
from .augment import Augment
from .sets import DataModule, FileSet, ImageSet
from .splits import VALIDATION, hold_out


@dataclass(frozen=True)
class Info:
    """What one should know before using a data set.

    `images`, `classes` and `image_size` are 0 where they depend on the user's files; `size` is the download
    in words; `fetch` says how to get it: a command, or what to do by hand.
    """

    name: str
    description: str
    images: int
    classes: int
    image_size: int
    licence: str
    size: str
    fetch: str
    citation: str

    @property
    def present(self) -> bool:
        """Whether `load(name)` would find it on this machine."""
        return _entry(self.name).find(None) is not None


@dataclass(frozen=True)
class Official:
    """What a reader delivers: the official splits, before the seed and the label budget."""

    train: ImageSet | FileSet
    test: ImageSet | FileSet
    val: ImageSet | FileSet | None = None
    descriptions: Sequence[str] | None = None
    augment: Augment = field(default_factory=Augment)
    val_size: float = 0.1


Read = Callable[..., Official]
Find = Callable[[Path | None], Path | None]
Fetch = Callable[[Path], None]


@dataclass(frozen=True)
class _Entry:
    info: Info
    read: Read
    find: Find
    fetch: Fetch | None


_REGISTRY: dict[str, _Entry] = {}


def register(info: Info, *, find: Find, fetch: Fetch | None = None) -> Callable[[Read], Read]:
    """Decorate `read(root, *, image_size, **options) -> Official` to make it a data set.

    Args:
        info: name, licence, size...
        find: `find(root)` gives the place where the data lie, or None; root None means the usual places.
        fetch: `fetch(folder)` downloads into a folder; None where that is left to the user.

    Raises:
        LabkitError: the name is taken.
    """

    def add(read: Read) -> Read:
        if info.name in _REGISTRY:
            raise LabkitError(f"There is a data set '{info.name}' already: choose another name.")
        _REGISTRY[info.name] = _Entry(info, read, find, fetch)
        return read

    return add


def _entry(name: str) -> _Entry:
    if name not in _REGISTRY:
        raise unknown("data set", name, _REGISTRY)
    return _REGISTRY[name]


def available(pattern: str = "*") -> list[str]:
    """Names of the registered data sets that match `pattern`."""
    return sorted(name for name in _REGISTRY if fnmatch(name, pattern))


def info() -> list[Info]:
    """Facts about all data sets, by name."""
    return [_REGISTRY[name].info for name in available()]


def places(name: str, root: Path | None) -> list[Path]:
    """Where to look for a data set: only in `root` if given, else LABKIT_DATASETS, the cache, ./data."""
    if root is not None:
        return [root]
    return [place for place in (datasets(), images.folder(name), Path("data")) if place is not None]


def missing(info: Info, root: Path | None) -> MissingError:
    """The one message for a data set that isn't there: name, size, licence, the command, the way on."""
    where = f" in {root}" if root is not None else ""
    return MissingError(
        f"The data set '{info.name}' ({info.size}, licence: {info.licence}) was not found{where}."
        f" Fetch it: {info.fetch}. Or go on without it: LABKIT_PROFILE=cpu."
    )


def load(
    name: str,
    *,
    root: str | Path | None = None,
    seed: int = 0,
    per_class: int | None = None,
    fraction: float | None = None,
    val: float | None = None,
    image_size: int | None = None,
    download: bool = False,
    **options: object,
) -> DataModule:
    """Load a data set.

    Args:
        name: one of `available()`.
        root: where its files are; None looks in LABKIT_DATASETS, labkit's cache and ./data.
        seed: draws the validation split and the label budget; the test split is always the same.
        per_class: label budget, training images per class; budgets of one seed are nested.
        fraction: label budget as a share of each class instead.
        val: share of the training split held out for validation, or images per class; None takes the set's
            own. An official validation split is kept as it is.
        image_size: side length of the images; None takes the set's own.
        download: fetch the data first where they are missing.
        options: what the data set's own reader takes.

    Raises:
        MissingError: the data are not on this machine.
        LabkitError: unknown name or option, damaged files, a budget or split that the data don't allow.

    Example:
        >>> load("digits", per_class=10).describe()
        'digits: 100 train, 239 val, 599 test images, 8x8 with 1 channel, 10 classes (0, 1, 2, 3, 4, ...).'
    """
    entry = _entry(name)
    known = list(inspect.signature(entry.read).parameters)[2:]  # after root and image_size
    for option in options:
        if option not in known:
            raise unknown(f"option of the data set '{name}'", option, known)
    if image_size is not None and (not isinstance(image_size, int) or image_size < 1):
        raise LabkitError(f"image_size is the side in pixels, a whole number from 1, not {image_size}.")
    place = Path(root).expanduser() if root is not None else None
    if download and entry.fetch and entry.find(place) is None:
        entry.fetch(place or images.folder(name))
    official = entry.read(place, image_size=image_size, **options)
    train, held = official.train, official.val
    if held is None:
        size = official.val_size if val is None else val
        kept, out = hold_out(train.labels, train.ids, train.classes, size, seed, VALIDATION)
        train, held = train.subset(kept), train.subset(out)
    if per_class is not None or fraction is not None:
        train = train.few(per_class, fraction=fraction, seed=seed)
    splits = {"train": train, "val": held, "test": official.test}
    asked = {"root": place and str(place), "seed": seed, "per_class": per_class, "fraction": fraction}
    asked |= {"val": val, "image_size": image_size, **options}
    return DataModule(
        name,
        **{key: split.resized(image_size) for key, split in splits.items()},
        descriptions=official.descriptions,
        augment=official.augment,
        options={key: value for key, value in asked.items() if value is not None},
    )


def get(name: str) -> Path:
    """Fetch a data set into labkit's cache unless it is here already; where it lies.

    Raises:
        LabkitError: there is nothing to fetch for it.
        MissingError: the download failed; nothing half-fetched is ever read.
    """
    entry = _entry(name)
    if entry.find(None) is None:
        if entry.fetch is None:
            raise LabkitError(f"labkit can't fetch '{name}': {entry.info.fetch}.")
        entry.fetch(images.folder(name))
    place = entry.find(None)
    if place is None:
        raise missing(entry.info, None)
    return place


def remove(name: str) -> bool:
    """Delete what labkit itself downloaded or cached for a data set; whether there was anything.

    Raises:
        LabkitError: a file can't be deleted.
    """
    folder = images.folder(_entry(name).info.name)
    if not folder.exists() and not folder.is_symlink():
        return False
    try:
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
    except OSError as error:
        raise LabkitError(f"Can't delete {folder}: {error.strerror or error}.") from error
    return True
