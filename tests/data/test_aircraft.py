"""FGVC-Aircraft: three official splits, torchvision's reader as the second opinion, and the banner."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fine_grained_replicas import Pictures, aircraft, evaluated, even
from PIL import Image
from torchvision.datasets import FGVCAircraft

from labkit import LabkitError, data
from labkit.data.fine_grained import aircraft as reader
from labkit.data.fine_grained import layout
from labkit.errors import MissingError

COUNTS = {"train": [3, 2, 2], "val": [1, 2, 1], "test": [2, 1, 3]}


@pytest.fixture
def small(alone: Path, tmp_path: Path) -> Path:
    """fgvc-aircraft-2013b with three variants."""
    return aircraft(tmp_path / "sets", COUNTS, Pictures(tmp_path))


def load(root: Path, **options: object) -> data.DataModule:
    return data.load("aircraft", root=root, image_size=8, complete=False, **options)


def test_the_whole_set_has_the_published_counts(tmp_path: Path) -> None:
    counts = {split: even(n, 100) for split, n in (("train", 3334), ("val", 3333), ("test", 3333))}
    root = aircraft(tmp_path, counts, Pictures(tmp_path, shared=True)) / "data"
    for trainval, wanted in ((False, reader._COUNTS), (True, {"train": 6667, "test": 3333})):
        listing = reader._listing(root, trainval, 20)
        layout.check(reader.INFO, listing, wanted)
        assert len(listing.files) == reader.INFO.images
    next((root / "images").iterdir()).unlink()
    with pytest.raises(MissingError, match=r"1 of the 10,000 images that images_variant_\*.txt list"):
        layout.check(reader.INFO, listing, wanted)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_it_agrees_with_torchvision(small: Path, split: str) -> None:
    module = load(small, banner=True)
    ours, theirs = getattr(module, split), FGVCAircraft(small.parent, split)
    assert ours.labels.tolist() == theirs._labels
    assert module.classes == tuple(theirs.classes) == ("707-320", "Cessna 172", "F-16A/B")
    assert torch.equal(ours.fetch(range(len(ours))), evaluated(theirs._image_files, 8))


def test_official_validation_is_kept_or_joined_to_training(small: Path) -> None:
    kept = load(small, seed=3)
    assert [len(s) for s in (kept.train, kept.val, kept.test)] == [7, 4, 6]
    assert torch.equal(kept.val.ids, load(small, seed=4).val.ids)
    joined = load(small, trainval=True, seed=3)
    assert [len(s) for s in (joined.train, joined.val, joined.test)] == [8, 3, 6]
    assert sorted(torch.cat([joined.train.ids, joined.val.ids]).tolist()) == list(range(11))
    assert torch.equal(joined.test.ids, kept.test.ids)


def test_descriptions_name_the_maker(small: Path) -> None:
    assert load(small).descriptions == ("Boeing 707-320", "Cessna 172", "Lockheed Martin F-16A/B")
    for path in (small / "data").glob("images_manufacturer_*.txt"):
        path.unlink()
    assert load(small).descriptions == ("707-320", "Cessna 172", "F-16A/B")


def test_the_banner_is_cut_off(small: Path) -> None:
    (path,) = [p for p in (small / "data" / "images").iterdir() if p.stem == "0034309"]
    pixels = np.zeros((64, 44, 3), np.uint8)
    pixels[44:] = 255  # twenty white rows
    Image.fromarray(pixels).save(path, quality=95)
    assert load(small).train.fetch([0]).max() < 30
    assert load(small, banner=True).train.fetch([0]).max() > 200


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("variants.txt", "Cessna 172\n", "", "is a 'Cessna 172', which is not in variants.txt"),
        ("images_variant_val.txt", "Cessna 172", "Cessna 999", "is a 'Cessna 999', which is not in variants"),
        ("images_variant_test.txt", " 707-320", "", "Line 1 of .* should have 2 columns, but it is"),
        ("variants.txt", "Cessna 172", "707-320", "is a 'Cessna 172', which|'707-320' stands 2 times"),
    ],
)
def test_lists_that_disagree_are_refused(small: Path, name: str, old: str, new: str, message: str) -> None:
    path = small / "data" / name
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(LabkitError, match=message) as caught:
        load(small)
    assert "\n" not in str(caught.value)


def test_a_missing_list_and_a_part_are_named(small: Path) -> None:
    with pytest.raises(LabkitError, match=r"'aircraft' has 3,334 train, 3,333 val, 3,333 test images of 100"):
        data.load("aircraft", root=small)
    (small / "data" / "images_variant_val.txt").unlink()
    wanted = f"'aircraft' in {small / 'data'} is incomplete, images_variant_val.txt is missing: unpack"
    with pytest.raises(MissingError, match=re.escape(wanted)):
        load(small)
