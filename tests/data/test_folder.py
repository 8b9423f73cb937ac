"""Your own images: both layouts, every format, every mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from labkit import LabkitError, data
from labkit.data import FileSet, ImageSet, batches, folder
from labkit.errors import MissingError

Write = Callable[..., list[Path]]


@pytest.fixture
def flat(tmp_path: Path, write_images: Write) -> Path:
    """root/<class>/*: 10 cats and 15 tree frogs, and files that are no images."""
    root = tmp_path / "mine"
    write_images(root / "cat", 10)
    write_images(root / "tree_frog", 15, ".jpg")
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / "cat" / "._0001.png").write_bytes(b"left by another system")
    (root / ".ipynb_checkpoints").mkdir()
    return root


@pytest.fixture
def split(tmp_path: Path, write_images: Write) -> Path:
    """root/{train,val,test}/<class>."""
    for kind, n in (("train", 6), ("val", 2), ("test", 3)):
        for c in "ab":
            write_images(tmp_path / "split" / kind / c, n, seed=n)
    return tmp_path / "split"


def test_class_folders_are_split_by_class(flat: Path) -> None:
    module = data.load("folder", root=flat)
    assert module.classes == ("cat", "tree_frog")
    assert module.prompts("a {description}") == ["a cat", "a tree frog"]
    assert torch.bincount(module.test.labels).tolist() == [2, 3]
    assert torch.bincount(module.val.labels).tolist() == [2, 2]
    assert torch.bincount(module.train.labels).tolist() == [6, 10]
    assert module.train.images.shape == (16, 3, 64, 64)
    ids = torch.cat([s.ids for s in (module.train, module.val, module.test)])
    assert sorted(ids.tolist()) == list(range(25))


def test_the_test_split_is_the_same_whatever_the_seed(flat: Path) -> None:
    a, b = (data.load("folder", root=str(flat), seed=seed, image_size=8) for seed in (0, 1))
    assert torch.equal(a.test.images, b.test.images)
    assert not torch.equal(a.val.ids, b.val.ids)


def test_given_splits_are_kept(split: Path) -> None:
    module = data.load("folder", root=split, image_size=16)
    assert [len(s) for s in (module.train, module.val, module.test)] == [12, 4, 6]
    assert (split / "val").rename(split / "validation")
    assert torch.equal(data.load("folder", root=split, image_size=16).val.images, module.val.images)


@pytest.mark.parametrize(
    ("absent", "sizes"), [("val", [10, 2, 6]), ("test", [10, 4, 2]), ("both", [8, 2, 2])]
)
def test_missing_splits_are_drawn_from_train(split: Path, absent: str, sizes: list[int]) -> None:
    for kind in ("val", "test"):
        if absent in (kind, "both"):
            (split / kind).rename(split.parent / kind)
    module = data.load("folder", root=split, image_size=8)
    assert [len(s) for s in (module.train, module.val, module.test)] == sizes


def test_a_class_may_be_called_train(tmp_path: Path, write_images: Write) -> None:
    for c in ("train", "bus"):
        write_images(tmp_path / c, 5)
    assert data.load("folder", root=tmp_path, image_size=8).classes == ("bus", "train")


def test_large_folders_stay_on_disk(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = data.load("folder", root=flat, image_size=8)
    monkeypatch.setattr(folder, "MEMORY_LIMIT", 1000)
    module = data.load("folder", root=flat, image_size=8)
    assert isinstance(module.train, FileSet)
    assert isinstance(data.load("folder", root=flat, image_size=8, in_memory=True).train, ImageSet)
    for kind in ("train", "val", "test"):
        a, b = (list(batches(getattr(m, kind), 50)) for m in (here, module))
        assert torch.equal(a[0].image, b[0].image)
        assert torch.equal(a[0].index, b[0].index)


def test_budget_and_share_of_the_test(flat: Path) -> None:
    module = data.load("folder", root=flat, image_size=8, per_class=3, val=1, test=4)
    assert [len(s) for s in (module.train, module.val, module.test)] == [6, 2, 8]


def broken(root: Path, write_images: Write, kind: str) -> Path:
    """A root with one mistake."""
    if kind == "file":
        root.write_text("")
    if kind in ("empty", "no folders"):
        root.mkdir()
    if kind == "no folders":
        write_images(root, 3)
    if kind in ("one class", "bare class", "few", "unreadable", "truncated"):
        write_images(root / "a", 5, ".jpg")
    if kind == "bare class":
        (root / "b").mkdir()
    if kind in ("few", "unreadable", "truncated"):
        files = write_images(root / "b", 2 if kind == "few" else 5, ".jpg")
        if kind == "unreadable":
            files[1].write_bytes(b"\xff\xd8 no image")
        if kind == "truncated":
            files[1].write_bytes(files[1].read_bytes()[:300])
    if kind in ("empty train", "empty test", "other classes", "missing class"):
        for part in ("train", "test"):
            for c in "ab":
                write_images(root / part / c, 3)
        for c in {"empty train": "", "empty test": "ab", "other classes": "b", "missing class": "b"}[kind]:
            (root / "test" / c).rename(root / f"gone{c}") if kind != "other classes" else None
        if kind == "empty train":
            (root / "train").rename(root / "gone")
            (root / "train").mkdir()
        if kind == "other classes":
            (root / "test" / "b").rename(root / "test" / "c")
    return root


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("absent", "The image folder {root} doesn't exist: name"),
        ("file", "The image folder {root} is a file, not a directory: name"),
        ("empty", "{root} has no class folders: put"),
        ("no folders", "{root} has no class folders: put"),
        ("one class", "{root} has only one class folder, 'a': a classifier needs at least two."),
        ("bare class", "The class folder {root}/b has no images (jpg, png, webp or bmp): add"),
        ("few", "The class folder {root}/b has fewer than three images"),
        ("unreadable", "Can't read the image {root}/b/0001.jpg (it is no image): delete or replace it."),
        ("truncated", "Can't read the image {root}/b/0001.jpg ("),
        ("empty train", "{root}/train has no class folders: put"),
        ("empty test", "{root}/test has no class folders: put"),
        ("other classes", "The classes of {root}/test are not those of {root}/train (differing: b, c)."),
        ("missing class", "The classes of {root}/test are not those of {root}/train (differing: b)."),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(
    tmp_path: Path, write_images: Write, kind: str, message: str
) -> None:
    root = broken(tmp_path / "root", write_images, kind)
    with pytest.raises(LabkitError) as caught:
        data.load("folder", root=root)
    assert str(caught.value).startswith(message.format(root=root))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, MissingError) == (kind in ("absent", "file"))


def test_a_root_is_needed() -> None:
    with pytest.raises(LabkitError, match="needs root"):
        data.load("folder")
