"""NABirds: the leaves of a tree of classes, and ids that are no numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from fine_grained_replicas import Pictures, evaluated, even, nabirds

from labkit import LabkitError, data
from labkit.data.fine_grained import layout
from labkit.data.fine_grained import nabirds as reader
from labkit.data.names import nabirds_description
from labkit.errors import MissingError


def load(root: Path, **options: object) -> data.DataModule:
    return data.load("nabirds", root=root, image_size=8, complete=False, **options)


@pytest.mark.slow
def test_the_whole_set_has_the_published_counts(tmp_path: Path) -> None:
    root = nabirds(tmp_path, even(23_929, 555), even(24_633, 555), Pictures(tmp_path, shared=True))
    listing = reader._listing(root)
    layout.check(reader.INFO, listing, reader._COUNTS)
    assert len(listing.files) == reader.INFO.images == 48_562
    assert len(listing.classes) == reader.INFO.classes == 555
    shutil.rmtree(root / "images" / "0700")
    with pytest.raises(MissingError, match=r"8\d of the 48,562 images .* first is images/0700/"):
        layout.check(reader.INFO, listing, reader._COUNTS)
    shutil.rmtree(root)


def test_labels_are_the_nodes_with_images(alone: Path, tmp_path: Path) -> None:
    root = nabirds(tmp_path / "sets", [3, 2, 4], [2, 2, 1], Pictures(tmp_path))
    module = load(root.parent)
    assert module.classes == (
        "Duck, number 0 (Breeding male)",
        "Duck, number 1 (Female/juvenile)",
        "Duck, number 2",
    )
    assert module.descriptions[:2] == ("Breeding male Duck, number 0", "Female/juvenile Duck, number 1")
    files = [line.split()[1] for line in (root / "images.txt").read_text().splitlines()]
    for split, counts in ((module.train, [2, 1, 3]), (module.val, [1, 1, 1]), (module.test, [2, 2, 1])):
        assert torch.bincount(split.labels).tolist() == counts
        paths = [root / "images" / files[i] for i in split.ids]
        assert torch.equal(split.fetch(range(len(split))), evaluated(paths, 8))
        assert split.labels.tolist() == [int(path.parent.name) - 456 for path in paths]


def test_a_part_is_refused_as_the_whole(alone: Path, tmp_path: Path) -> None:
    root = nabirds(tmp_path, [2, 2], [1, 1], Pictures(tmp_path))
    with pytest.raises(
        LabkitError, match=r"'nabirds' has 23,929 train, 24,633 test images of 555 classes, but"
    ):
        data.load("nabirds", root=root)


@pytest.mark.parametrize(
    "name", ["classes.txt", "images.txt", "image_class_labels.txt", "train_test_split.txt"]
)
def test_a_missing_annotation_file_is_named(alone: Path, tmp_path: Path, name: str) -> None:
    root = nabirds(tmp_path, [2, 2], [1, 1], Pictures(tmp_path))
    (root / name).unlink()
    with pytest.raises(MissingError, match=f"'nabirds' in {root} is incomplete, {name} is missing: unpack"):
        load(root)


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("Allen's Hummingbird (Adult Male)", "Adult Male Allen's Hummingbird"),
        ("Fox Sparrow (Thick-billed/Slate-colored)", "Thick-billed/Slate-colored Fox Sparrow"),
        ("Oak Titmouse", "Oak Titmouse"),
    ],
)
def test_the_plumage_comes_first_in_descriptions(name: str, phrase: str) -> None:
    assert nabirds_description(name) == phrase
