"""CIFAR-10 and CIFAR-100 from replicas of each layout, and the real files where they are."""

from __future__ import annotations

import hashlib
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets

from labkit import LabkitError, data
from labkit.data import cifar
from labkit.paths import datasets

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def jpegs(tmp_path: Path, write_images: Callable[..., list[Path]]) -> Path:
    """A folder cifar10 with 4 training and 2 test JPEGs a class."""
    for split, n in (("train", 4), ("test", 2)):
        for c in NAMES:
            write_images(tmp_path / "cifar10" / split / c, n, ".jpg", (32, 32), seed=n)
    return tmp_path / "cifar10"


@pytest.fixture
def tar(jpegs: Path, tmp_path: Path) -> Path:
    """The same as cifar10_jpg.tar in a folder of its own, test before train as in the real one."""
    path = tmp_path / "sets" / "cifar10_jpg.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as file:
        for split in ("test", "train"):
            file.add(jpegs / split, split)
    return path


def same(a: data.DataModule, b: data.DataModule) -> bool:
    """Whether two modules hold the same images and labels."""
    return all(
        torch.equal(x.images, y.images) and torch.equal(x.labels, y.labels) and torch.equal(x.ids, y.ids)
        for x, y in ((a.train, b.train), (a.val, b.val), (a.test, b.test))
    )


def test_a_tar_and_a_folder_give_the_same_set(
    alone: Path, jpegs: Path, tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = data.load("cifar10", root=jpegs)
    assert module.classes == NAMES
    assert [len(s) for s in (module.train, module.val, module.test)] == [30, 10, 20]
    for i in (0, 7):
        with_pillow = np.asarray(cifar.decode_all([jpegs / "test" / NAMES[i] / "0001.jpg"], 32)[0])
        assert np.array_equal(module.test.images[2 * i + 1].numpy(), with_pillow)
    for root in (jpegs.parent, tar, tar.parent):
        assert same(data.load("cifar10", root=root), module)
    monkeypatch.setenv("LABKIT_DATASETS", str(tar.parent))
    assert same(data.load("cifar10"), module)


def test_images_are_decoded_once(alone: Path, tar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode_all = cifar.decode_all
    monkeypatch.setattr(cifar, "decode_all", lambda *a, **k: decoded.append(1) or decode_all(*a, **k))
    first = data.load("cifar10", root=tar)
    again = data.load("cifar10", root=tar)
    assert len(decoded) == 2  # train and test
    assert same(first, again)
    os.utime(tar, (1, 1))  # another file, as far as one can see
    data.load("cifar10", root=tar)
    assert len(decoded) == 4
    for cache in (alone / "datasets" / "cifar10").glob("*.safetensors"):
        cache.write_bytes(cache.read_bytes()[:1000])
    assert same(data.load("cifar10", root=tar), first)
    assert len(decoded) == 6
    assert data.remove("cifar10")
    assert tar.is_file()
    assert not list(alone.rglob("*.safetensors"))


def test_a_cache_that_cannot_be_written_costs_time_only(
    alone: Path, tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cifar10 will be decoded again next time"):
        assert len(data.load("cifar10", root=tar).test) == 20


def test_budgets_sizes_and_prompts(alone: Path, jpegs: Path) -> None:
    module = data.load("cifar10", root=jpegs, per_class=2, image_size=40)
    assert module.train.images.shape == (20, 3, 40, 40)
    assert module.prompts("a photo of a {}.")[2] == "a photo of a bird."
    assert module.augment.flip


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_tar_without_a_class_is_refused(alone: Path, tar: Path, jpegs: Path, split: str) -> None:
    with tarfile.open(tar, "w") as file:
        for part in ("train", "test"):
            for c in NAMES[: 9 if part == split else 10]:
                file.add(jpegs / part / c, f"{part}/{c}")
    with pytest.raises(LabkitError, match="with the same 10 classes, but it has"):
        data.load("cifar10", root=tar)


def test_damaged_files_are_named(alone: Path, jpegs: Path, tar: Path) -> None:
    bad = jpegs / "train" / "ship" / "0002.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(LabkitError, match=f"Can't read the image {bad}"):
        data.load("cifar10", root=jpegs)
    tar.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(LabkitError, match=f"Can't read cifar10 from {tar}|Can't read the image {tar}"):
        data.load("cifar10", root=tar)
    tar.write_bytes(b"")
    with pytest.raises(LabkitError, match=f"Can't read cifar10 from {tar}"):
        data.load("cifar10", root=tar)


def test_folders_of_another_data_set_are_passed_over(
    alone: Path, tmp_path: Path, write_images: Callable[..., list[Path]]
) -> None:
    for split in ("train", "test"):
        for c in "ab":
            write_images(tmp_path / split / c, 1)
    with pytest.raises(LabkitError, match="was not found"):
        data.load("cifar10", root=tmp_path)


def write_pickles(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict]:
    """torchvision's files with a few random images; only the checksums it compares with are replaced."""
    kind = getattr(torchvision.datasets, name.upper())
    folder, generator, entries = root / kind.base_folder, np.random.default_rng(0), {}
    folder.mkdir(parents=True)
    fine = name == "cifar100"
    for file, _ in [*kind.train_list, *kind.test_list]:
        n = 400 if fine else 20
        labels = [i % (100 if fine else 10) for i in range(n)]
        pixels = generator.integers(0, 256, (n, 3072), dtype=np.uint8)
        entries[file] = {"data": pixels, "fine_labels" if fine else "labels": labels}
    names = [f"kind_{i:02d}" for i in range(100)] if fine else list(NAMES)
    entries[kind.meta["filename"]] = {kind.meta["key"]: names}
    sums = {}
    for file, entry in entries.items():
        content = pickle.dumps(entry, protocol=2)
        (folder / file).write_bytes(content)
        sums[file] = hashlib.md5(content).hexdigest()
    for attribute in ("train_list", "test_list"):
        monkeypatch.setattr(kind, attribute, [[f, sums[f]] for f, _ in getattr(kind, attribute)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums[kind.meta["filename"]]})
    return entries


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("place", ["root", "cache", "./data"])
def test_torchvisions_files(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str
) -> None:
    root = {"root": tmp_path / "tv", "cache": alone / "datasets" / name, "./data": Path("data")}[place]
    entries = write_pickles(root, name, monkeypatch)
    module = data.load(name, root=root if place == "root" else None)
    test = entries["test" if name == "cifar100" else "test_batch"]
    assert np.array_equal(module.test.images.numpy(), test["data"].reshape(-1, 3, 32, 32))
    assert module.test.labels.tolist() == test.get("labels", test.get("fine_labels"))
    assert len(module.train) + len(module.val) == (400 if name == "cifar100" else 100)
    assert module.num_classes == (100 if name == "cifar100" else 10)
    assert module.prompts("{description}")[1] == ("kind 01" if name == "cifar100" else "automobile")
    assert next(i for i in data.info() if i.name == name).present == (place != "root")


def test_altered_torchvision_files_are_refused(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pickles(tmp_path, "cifar10", monkeypatch)
    with open(tmp_path / "cifar-10-batches-py" / "data_batch_2", "ab") as file:
        file.write(b"x")
    with pytest.raises(LabkitError, match=r"Can't read cifar10 from .*corrupted"):
        data.load("cifar10", root=tmp_path)


@pytest.mark.skipif(
    datasets() is None or not (datasets() / "cifar10_jpg.tar").is_file(),
    reason="LABKIT_DATASETS has no cifar10_jpg.tar",
)
def test_the_real_cifar10() -> None:
    module = data.load("cifar10", per_class=100)
    assert module.classes == NAMES
    assert [len(s) for s in (module.train, module.val, module.test)] == [1000, 5000, 10_000]
    assert torch.bincount(module.test.labels).tolist() == [1000] * 10
    means = module.test.images.float().mean((0, 2, 3)) / 255
    torch.testing.assert_close(means, torch.tensor([0.4942, 0.4851, 0.4504]), atol=3e-3, rtol=0)
