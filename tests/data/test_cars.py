"""Stanford Cars: three layouts of the same images, torchvision's reader as the second opinion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fine_grained_replicas import Pictures, cars, cars_folders, cars_one_list, evaluated, even
from torchvision.datasets import StanfordCars

from labkit import LabkitError, data
from labkit.data.fine_grained import cars as reader
from labkit.data.fine_grained import layout
from labkit.data.names import car
from labkit.errors import MissingError

TRAIN, TEST = [3, 2, 4], [2, 3, 1]


@pytest.fixture
def small(alone: Path, tmp_path: Path) -> Path:
    """stanford_cars with three models."""
    return cars(tmp_path / "sets", TRAIN, TEST, Pictures(tmp_path))


def load(root: Path, **options: object) -> data.DataModule:
    return data.load("cars", root=root, image_size=8, complete=False, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "listing"),
    [(cars, reader._devkit), (cars_folders, reader._folders)],
)
def test_the_whole_set_has_the_published_counts(tmp_path: Path, build: Callable, listing: Callable) -> None:
    root = build(tmp_path, even(8144, 196), even(8041, 196), Pictures(tmp_path, shared=True))
    found = listing(root)
    layout.check(reader.INFO, found, reader._COUNTS)
    assert len(found.files) == reader.INFO.images == 16_185
    (root / found.files[-1]).unlink()
    with pytest.raises(MissingError, match=f"1 of the 16,185 images .* first is {found.files[-1]}"):
        layout.check(reader.INFO, found, reader._COUNTS)


@pytest.mark.parametrize("split", ["train", "test"])
def test_it_agrees_with_torchvision(small: Path, split: str) -> None:
    theirs = StanfordCars(small.parent, split)
    files, labels = zip(*theirs._samples, strict=True)
    listing = reader._devkit(small)
    rows = [i for i, kind in enumerate(listing.splits) if kind == split]
    assert [str(small / listing.files[i]) for i in rows] == list(files)
    assert [listing.labels[i] for i in rows] == list(labels)
    if split == "test":
        test = load(small.parent).test
        assert test.labels.tolist() == list(labels)
        assert torch.equal(test.fetch(range(len(test))), evaluated(files, 8))


@pytest.mark.parametrize("build", [cars, cars_one_list, cars_folders])
def test_all_layouts_give_the_same_classes(alone: Path, tmp_path: Path, build: Callable) -> None:
    root = build(tmp_path / "sets", TRAIN, TEST, Pictures(tmp_path))
    for place in (root, tmp_path / "sets"):
        module = load(place)
        assert module.classes == (
            "2000 AM General Hummer SUV",
            "2012 Acura RL Sedan",
            "2012 Ram C/V Cargo Van Minivan",
        )
        assert torch.bincount(module.test.labels).tolist() == TEST
        assert (torch.bincount(module.train.labels) + torch.bincount(module.val.labels)).tolist() == TRAIN


def test_the_list_without_labels_is_recognised(small: Path) -> None:
    labelled = small / "cars_test_annos_withlabels.mat"
    (small / "devkit" / "cars_test_annos.mat").replace(labelled)
    with pytest.raises(
        LabkitError, match=f"{labelled} has no 'class' in its annotations: is it the list with"
    ):
        load(small)
    labelled.unlink()
    with pytest.raises(MissingError, match=r"incomplete, cars_test_annos_withlabels.mat is missing: unpack"):
        load(small)


def test_the_test_list_may_lie_in_the_devkit(small: Path) -> None:
    before = load(small).test
    (small / "cars_test_annos_withlabels.mat").rename(small / "devkit" / "cars_test_annos_withlabels.mat")
    assert torch.equal(load(small).test.labels, before.labels)


@pytest.mark.parametrize("content", [b"", b"no matrix" * 30])
def test_a_damaged_matlab_file_is_named(small: Path, content: bytes) -> None:
    (small / "devkit" / "cars_meta.mat").write_bytes(content)
    with pytest.raises(
        LabkitError, match=f"Can't read class_names from {small}/devkit/cars_meta.mat"
    ) as caught:
        load(small)
    assert "\n" not in str(caught.value)


def test_half_unpacked_archives_are_named(small: Path) -> None:
    for image in (small / "cars_test").iterdir():
        image.unlink()
    with pytest.raises(MissingError, match=r"6 of the 15 images that the lists of devkit list are missing"):
        load(small)


def test_class_folders_that_differ_are_named(alone: Path, tmp_path: Path) -> None:
    root = cars_folders(tmp_path, TRAIN, TEST, Pictures(tmp_path))
    (root / "test" / "Acura RL Sedan 2012").rename(root / "test" / "Acura")
    with pytest.raises(LabkitError, match=r"train and test in .* differ \(Acura, Acura RL Sedan 2012\)"):
        load(root)


def test_a_part_is_refused_as_the_whole(small: Path) -> None:
    with pytest.raises(LabkitError, match=r"'cars' has 8,144 train, 8,041 test images of 196 classes, but"):
        data.load("cars", root=small)


def test_names_without_a_year_stay() -> None:
    assert car("Hyundai Genesis") == "Hyundai Genesis"
    assert car("Ferrari 458 Italia Coupe 2012") == "2012 Ferrari 458 Italia Coupe"
