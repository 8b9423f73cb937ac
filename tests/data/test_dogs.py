"""Stanford Dogs: Matlab lists of files, and names behind WordNet ids."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from fine_grained_replicas import Pictures, dogs, evaluated
from scipy.io import loadmat, savemat
from test_fetch import mirror

from labkit import LabkitError, data
from labkit.data.fine_grained import dogs as reader
from labkit.data.fine_grained import layout
from labkit.data.names import dog
from labkit.errors import MissingError

TRAIN, TEST = [3, 3, 3], [2, 4, 1]


@pytest.fixture
def small(alone: Path, tmp_path: Path) -> Path:
    """StanfordDogs with three breeds."""
    return dogs(tmp_path / "sets", TRAIN, TEST, Pictures(tmp_path))


def load(root: Path, **options: object) -> data.DataModule:
    return data.load("dogs", root=root, image_size=8, complete=False, **options)


@pytest.mark.slow
def test_the_whole_set_has_the_published_counts(tmp_path: Path) -> None:
    test = [71 + (i < 60) for i in range(120)]  # 8 580
    root = dogs(tmp_path, [100] * 120, test, Pictures(tmp_path, shared=True))
    listing = reader._listing(root)
    layout.check(reader.INFO, listing, reader._COUNTS)
    assert len(listing.files) == reader.INFO.images == 20_580
    shutil.rmtree(root / "Images" / "n02085620-Chihuahua")
    with pytest.raises(
        MissingError, match=r"172 of the 20,580 images .* first is Images/n02085620-Chihuahua/"
    ):
        layout.check(reader.INFO, listing, reader._COUNTS)


def test_images_labels_and_names(small: Path) -> None:
    for module in (load(small), load(small.parent)):
        assert module.classes == ("Chihuahua", "Japanese spaniel", "black-and-tan coonhound")
        assert torch.bincount(module.test.labels).tolist() == TEST
        assert torch.bincount(module.val.labels).tolist() == [1, 1, 1]
    files = loadmat(small / "test_list.mat", squeeze_me=True)["file_list"]
    assert torch.equal(module.test.fetch(range(7)), evaluated([small / "Images" / f for f in files], 8))
    assert module.test.ids.tolist() == list(range(9, 16))


def test_the_lists_may_lie_in_a_folder_of_their_own(small: Path) -> None:
    (small / "lists").mkdir()
    for split in ("train", "test"):
        (small / f"{split}_list.mat").rename(small / "lists" / f"{split}_list.mat")
    assert len(load(small).test) == 7


def test_fetched_archives_get_a_folder_of_their_own(
    small: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "www").mkdir()
    for name, parts in (("images.tar", ["Images"]), ("lists.tar", ["train_list.mat", "test_list.mat"])):
        with tarfile.open(tmp_path / "www" / name, "w") as file:
            for part in parts:
                file.add(small / part, part)
    with mirror(tmp_path / "www") as url:
        sums = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in (tmp_path / "www").iterdir()}
        monkeypatch.setattr(reader, "_ARCHIVES", [(f"{url}{name}", md5) for name, md5 in sums.items()])
        assert data.get("dogs") == alone / "datasets" / "dogs" / "StanfordDogs"
    assert data.load("dogs", image_size=8, complete=False).classes[0] == "Chihuahua"
    assert data.remove("dogs")


def test_a_missing_list_is_named(small: Path) -> None:
    (small / "test_list.mat").unlink()
    with pytest.raises(
        MissingError, match=f"'dogs' in {small} is incomplete, test_list.mat is missing: unpack"
    ):
        load(small)


def test_lists_that_disagree_are_refused(small: Path) -> None:
    lists = loadmat(small / "test_list.mat")
    lists["labels"][0] = 2
    savemat(small / "test_list.mat", {k: v for k, v in lists.items() if not k.startswith("_")})
    with pytest.raises(
        LabkitError, match=r"give label 2 to n02085782-Japanese_spaniel and to n02085620-Chihu"
    ):
        load(small)


def test_an_image_in_both_lists_is_refused(small: Path) -> None:
    (small / "test_list.mat").write_bytes((small / "train_list.mat").read_bytes())
    with pytest.raises(
        LabkitError, match=r"The image 'Images/.*' stands 2 times in train_list.mat and test_list"
    ):
        load(small)


def test_a_part_is_refused_as_the_whole(small: Path) -> None:
    with pytest.raises(LabkitError, match=r"'dogs' has 12,000 train, 8,580 test images of 120 classes, but"):
        data.load("dogs", root=small)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("n02086240-Shih-Tzu", "Shih-Tzu"),
        ("n02098105-soft-coated_wheaten_terrier", "soft-coated wheaten terrier"),
        ("n02108089-boxer", "boxer"),
    ],
)
def test_names_lose_their_number_and_nothing_else(folder: str, name: str) -> None:
    assert dog(folder) == name
