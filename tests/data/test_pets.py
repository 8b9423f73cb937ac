"""Oxford-IIIT Pets: breeds that share a first word stay apart, torchvision's reader as the second opinion."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fine_grained_replicas import Pictures, evaluated, even, pets
from torchvision.datasets import OxfordIIITPet

from labkit import LabkitError, data
from labkit.data.fine_grained import layout
from labkit.data.fine_grained import pets as reader
from labkit.errors import MissingError

TRAIN, TEST = [3, 3, 3], [2, 2, 3]


@pytest.fixture
def small(alone: Path, tmp_path: Path) -> Path:
    """oxford-iiit-pet with three breeds."""
    return pets(tmp_path / "sets", TRAIN, TEST, Pictures(tmp_path))


def load(root: Path, **options: object) -> data.DataModule:
    return data.load("pets", root=root, image_size=8, complete=False, **options)


def test_the_whole_set_has_the_published_counts(tmp_path: Path) -> None:
    root = pets(tmp_path, even(3680, 37), even(3669, 37), Pictures(tmp_path, shared=True))
    listing = reader._listing(root)
    layout.check(reader.INFO, listing, reader._COUNTS)
    assert len(listing.files) == reader.INFO.images == 7_349
    (root / "images" / "Abyssinian_3.jpg").rename(root / "images" / "abyssinian_3.jpg")
    with pytest.raises(
        MissingError, match=r"1 of the 7,349 images .* images/abyssinian_3.jpg: were they renamed"
    ):
        layout.check(reader.INFO, listing, reader._COUNTS)


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_it_agrees_with_torchvision(small: Path, split: str) -> None:
    theirs = OxfordIIITPet(small.parent, split)
    listing = reader._listing(small)
    name = "train" if split == "trainval" else "test"
    rows = [i for i, kind in enumerate(listing.splits) if kind == name]
    assert [small / listing.files[i] for i in rows] == theirs._images
    assert [listing.labels[i] for i in rows] == theirs._labels
    assert list(listing.classes) == theirs.classes
    if name == "test":
        test = load(small.parent).test
        assert torch.equal(test.fetch(range(len(test))), evaluated(theirs._images, 8))
        assert test.labels.tolist() == theirs._labels


def test_breeds_with_the_same_first_word_stay_apart(small: Path) -> None:
    module = load(small)
    assert module.classes == ("Abyssinian", "American Bulldog", "American Pit Bull Terrier")
    assert [len(s) for s in (module.train, module.val, module.test)] == [6, 3, 7]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "Abyssinian_1 1 1 1",
            "Abyssinian_1 2 1 1",
            "gives american_bulldog_1 the class 2, which is no number or",
        ),
        ("Abyssinian_1 1 1 1", "Abyssinian_1 x 1 1", "gives Abyssinian_1 the class x, which is no number or"),
        ("Abyssinian_1 1 1 1", "Abyssinian_1", "Line 1 of .*trainval.txt should have 4 columns"),
    ],
)
def test_lines_that_make_no_sense_are_refused(small: Path, old: str, new: str, message: str) -> None:
    path = small / "annotations" / "trainval.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(LabkitError, match=message):
        load(small)


def test_a_missing_list_and_a_part_are_named(small: Path) -> None:
    with pytest.raises(LabkitError, match=r"'pets' has 3,680 train, 3,669 test images of 37 classes, but"):
        data.load("pets", root=small)
    (small / "annotations" / "test.txt").unlink()
    with pytest.raises(MissingError, match=r"incomplete, annotations/test.txt is missing: unpack"):
        load(small)
