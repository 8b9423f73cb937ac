"""The annotation files of CUB-200-2011, which NABirds took over: a table per fact, joined by image id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import LabkitError
from ..registry import Info
from .layout import mend, table

MARKS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "images")
SOURCE = "images.txt and train_test_split.txt"


class Photo(NamedTuple):
    """One photograph: its id, its path relative to the archive's folder, its class's id, its split."""

    id: str
    file: str
    kind: str
    split: str


def photos(info: Info, root: Path) -> tuple[list[Photo], dict[str, str]]:
    """All photographs in the order of images.txt, and the names of the classes by their ids.

    Raises:
        MissingError: an annotation file is missing.
        LabkitError: the files contradict each other.
    """
    named = dict(table(info, root, "classes.txt", 2))
    ids, files = zip(*table(info, root, "images.txt", 2), strict=True)
    kinds = _joined(info, root, ids, "image_class_labels.txt")
    training = _joined(info, root, ids, "train_test_split.txt")
    found = []
    for i, file, kind, flag in zip(ids, files, kinds, training, strict=True):
        if kind not in named or not kind.isdecimal():
            raise LabkitError(
                f"Image {i} of '{info.name}' in {root} has the class '{kind}', which is not in classes.txt:"
                f" {mend(info, root)}."
            )
        if flag not in ("0", "1"):
            raise LabkitError(
                f"Image {i} in {root / 'train_test_split.txt'} is marked '{flag}' instead of 0 or 1:"
                f" {mend(info, root)}."
            )
        found.append(Photo(i, f"images/{file}", kind, "train" if flag == "1" else "test"))
    return found, named


def _joined(info: Info, root: Path, ids: Sequence[str], name: str) -> list[str]:
    """The second column of `name` for these image ids."""
    rows = dict(table(info, root, name, 2))
    odd = sorted(set(rows) ^ set(ids))
    if odd:
        raise LabkitError(
            f"{root / name} and images.txt know different images ({len(odd):,} are in one of them only, the"
            f" first is {odd[0]}): {mend(info, root)}."
        )
    return [rows[i] for i in ids]
