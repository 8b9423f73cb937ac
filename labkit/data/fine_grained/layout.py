"""What the readers of this folder share: find the archive's folder, check what it lists, deliver the splits.

A reader turns annotation files into a `Listing`; `check` compares it with the files on disk and the published
counts before any image is opened: a half-unpacked archive is one sentence, and not a wrong accuracy.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import LabkitError, MissingError
from .. import images
from ..augment import Augment
from ..fetch import download
from ..registry import Info, Official, missing, places
from ..store import StoredSet, store

IMAGE_SIZE = 224
BORDER = 1.14  # photographs are evaluated at the middle of a square so much larger, as in DAIT's recipe
RESEARCH = "none published, for non-commercial research and teaching"
Archive = tuple[str, str | None]  # URL, MD5


@dataclass(frozen=True)
class Listing:
    """What the annotation files of a data set say.

    Args:
        root: the archive's folder.
        files: N photographs relative to root.
        labels: N class numbers.
        splits: N times "train", "val" or "test".
        classes: C names, cleaned.
        source: the annotation files, for messages.
        ids: N stable numbers; None numbers the files 0..N-1.
        descriptions: C fuller phrases; None takes the names.
        bottom: rows of each photograph that are cut off.
    """

    root: Path
    files: Sequence[str]
    labels: Sequence[int]
    splits: Sequence[str]
    classes: Sequence[str]
    source: str
    ids: Sequence[int] | None = None
    descriptions: Sequence[str] | None = None
    bottom: int = 0


def find(info: Info, root: Path | None, folders: Sequence[str], marks: Sequence[str]) -> Path | None:
    """The folder of the archive: one of `folders` in the usual places, or `root` itself.

    One of `marks` in it is enough: what else it lacks is said when it is read.
    """
    for place in places(info.name, root):
        candidates = [place / folder for folder in folders] + [place] * (root is not None)
        for folder in candidates:
            if any((folder / mark).exists() for mark in marks):
                return folder
    return None


def absent(info: Info, root: Path | None, archives: Iterable[str] = ()) -> MissingError:
    """The error for a data set that isn't there, or is there as an archive that nobody unpacked."""
    for place in places(info.name, root):
        for name in archives:
            if (place / name).is_file():
                return MissingError(
                    f"The data set '{info.name}' is there, but packed: unpack it with"
                    f" `tar xf {place / name} -C {place}`."
                )
    return missing(info, root)


def fetch(info: Info, archives: Sequence[Archive], folder: Path, inside: str = ".") -> None:
    """Download archives and unpack them into `folder`/`inside`; a wrong checksum is refused."""
    from torchvision.datasets.utils import download_and_extract_archive

    def get(place: Path) -> None:
        for url, md5 in archives:
            download_and_extract_archive(url, str(place / inside), md5=md5, remove_finished=True)

    download(info.name, [url for url, _ in archives], folder, get)


def mend(info: Info, root: Path) -> str:
    """How to put a damaged folder right."""
    if root.is_relative_to(images.folder(info.name)):
        return f"run `labkit data remove {info.name}` and fetch it again ({info.fetch})"
    return f"unpack the archive of '{info.name}' again"


def part(info: Info, root: Path, *names: str) -> Path:
    """The first of these files or folders below `root` that exists.

    Raises:
        MissingError: none does.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    raise MissingError(f"'{info.name}' in {root} is incomplete, {names[0]} is missing: {mend(info, root)}.")


def table(info: Info, root: Path, name: str, columns: int) -> list[list[str]]:
    """The lines of an annotation file, cut at blanks into `columns` (the last one may hold blanks).

    Raises:
        MissingError: the file is missing.
        LabkitError: it is empty, no text, or a line has too few columns.
    """
    path = part(info, root, name)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabkitError(f"Can't read {path} ({error}): {mend(info, root)}.") from error
    rows = []
    for number, line in enumerate(lines, 1):
        row = line.split(maxsplit=columns - 1)
        if 0 < len(row) < columns:
            raise LabkitError(
                f"Line {number} of {path} should have {columns} columns, but it is '{line}':"
                f" {mend(info, root)}."
            )
        rows += [row] if row else []
    if not rows:
        raise LabkitError(f"{path} is empty: {mend(info, root)}.")
    return rows


def mat(info: Info, path: Path, key: str) -> object:
    """A variable of a Matlab file, squeezed.

    Raises:
        LabkitError: the file can't be read or has no such variable.
    """
    from scipy.io import loadmat

    try:
        return loadmat(path, squeeze_me=True)[key]
    except Exception as error:  # scipy raises whatever its parser stumbles over
        raise LabkitError(f"Can't read {key} from {path} ({error}): {mend(info, path.parent)}.") from error


def deliver(
    info: Info, listing: Listing, counts: dict[str, int], *, image_size: int | None, complete: bool
) -> Official:
    """The official splits, read through the resized store.

    Args:
        info: of the data set; `info.classes` is the published number of classes.
        listing: what the annotation files say.
        counts: published number of images per split.
        image_size: side length; None takes the set's own.
        complete: refuse a listing whose counts are not the published ones.

    Raises:
        LabkitError, MissingError: what `check` finds, or images that can't be read.
    """
    check(info, listing, counts, complete=complete)
    side = image_size or info.image_size
    rows = store(
        info.name,
        listing.root,
        listing.files,
        round(BORDER * side),
        bottom=listing.bottom,
        mend=mend(info, listing.root),
    )
    ids = listing.ids and torch.tensor(listing.ids)
    whole = StoredSet(rows, listing.labels, listing.classes, ids, image_size=side, border=BORDER)
    splits = {
        name: whole.subset([i for i, split in enumerate(listing.splits) if split == name]) for name in counts
    }
    return Official(**splits, descriptions=listing.descriptions, augment=Augment.named("rrc-imagenet"))


def check(info: Info, listing: Listing, counts: dict[str, int], *, complete: bool = True) -> None:
    """Compare a listing with itself, with the published counts and with the files on disk.

    Raises:
        LabkitError: it contradicts itself or the counts, or images are empty files.
        MissingError: listed images are not there.
    """
    _consistent(info, listing)
    if complete:
        _counted(info, listing, counts)
    _present(info, listing)


def _consistent(info: Info, listing: Listing) -> None:
    """Names and files are unique, and no class is without images in a split."""
    where = f"{listing.source} of '{info.name}' in {listing.root}"
    for kind, values in (("class", listing.classes), ("image", listing.files)):
        name, times = Counter(values).most_common(1)[0] if values else ("", 0)
        if times > 1:
            raise LabkitError(f"The {kind} '{name}' stands {times} times in {where}: once is right.")
    used = {split: set() for split in sorted(set(listing.splits), reverse=True)}
    for label, split in zip(listing.labels, listing.splits, strict=True):
        if not 0 <= label < len(listing.classes):
            raise LabkitError(f"There is a label {label} for {len(listing.classes)} classes in {where}.")
        used[split].add(label)
    for split in ("train", "test"):
        idle = set(range(len(listing.classes))) - used.get(split, set())
        if idle:
            raise LabkitError(
                f"The class '{listing.classes[min(idle)]}' has no {split} images in {where}"
                f" ({len(idle)} of {len(listing.classes)} classes): {mend(info, listing.root)}."
            )


def _counted(info: Info, listing: Listing, counts: dict[str, int]) -> None:
    found = Counter(listing.splits)
    if found == Counter(counts) and len(listing.classes) == info.classes:
        return

    def words(sizes: dict[str, int], classes: int) -> str:
        return ", ".join(f"{sizes.get(s, 0):,} {s}" for s in counts) + f" images of {classes} classes"

    raise LabkitError(
        f"'{info.name}' has {words(counts, info.classes)}, but {listing.source} in {listing.root} list"
        f" {words(found, len(listing.classes))}: {mend(info, listing.root)}, or load with complete=False"
        " what is meant to be a part of it."
    )


def _present(info: Info, listing: Listing) -> None:
    """Every listed image is there and not empty."""
    here = sizes(listing.root, {file.partition("/")[0] for file in listing.files})
    gone = [file for file in listing.files if file not in here]
    if gone:
        listed = set(listing.files)
        strange = sorted(file for file in here if file not in listed and images.is_image(file))
        renamed = (
            f" {len(strange):,} other images are listed nowhere, such as {strange[0]}: were they renamed?"
            if strange
            else ""
        )
        raise MissingError(
            f"{len(gone):,} of the {len(listing.files):,} images that {listing.source} list are missing in"
            f" {listing.root}, the first is {gone[0]}: {mend(info, listing.root)}.{renamed}"
        )
    empty = [file for file in listing.files if here[file] == 0]
    if empty:
        raise LabkitError(
            f"{len(empty):,} of the {len(listing.files):,} images in {listing.root} are empty files, the"
            f" first is {empty[0]}: {mend(info, listing.root)}."
        )


def sizes(root: Path, tops: Iterable[str]) -> dict[str, int]:
    """Bytes of every file below these folders of `root`, by its path relative to root."""
    found: dict[str, int] = {}

    def walk(folder: str) -> None:
        try:
            entries = list(os.scandir(root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            name = f"{folder}/{entry.name}"
            if entry.is_dir():
                walk(name)
            elif not entry.name.startswith("."):
                found[name] = entry.stat().st_size if entry.is_file() else 0

    for top in tops:
        walk(top)
    return found
