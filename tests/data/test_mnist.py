"""MNIST from every place and in both formats; replicas hold a few random images in the real formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mnist_replica import arrays, write_idx, write_npz

from labkit import LabkitError, data
from labkit.paths import datasets


@pytest.mark.parametrize("write", [write_npz, write_idx])
def test_both_formats_give_the_official_order(alone: Path, tmp_path: Path, write) -> None:
    write(tmp_path / "root")
    module, source = data.load("mnist", root=tmp_path / "root"), arrays()
    assert np.array_equal(module.test.images[:, 0].numpy(), source["test_images"])
    assert np.array_equal(module.test.labels.numpy(), source["test_labels"])
    for split in (module.train, module.val):
        assert np.array_equal(split.images[:, 0].numpy(), source["train_images"][split.ids])
    assert len(module.train) + len(module.val) == 60
    assert module.prompts("{description}")[3] == "three"


def test_places_are_read_in_order(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first() -> int:
        """Which replica was read."""
        pixels = data.load("mnist").test.images[:, 0].numpy()
        return next(i for i in range(5) if np.array_equal(pixels, arrays(i)["test_images"]))

    write_idx(Path("data"), 3)
    assert first() == 3
    write_idx(alone / "datasets" / "mnist", 2)
    assert first() == 2
    monkeypatch.setenv("LABKIT_DATASETS", str(tmp_path / "sets"))
    assert first() == 2
    write_npz(tmp_path / "sets", 1)
    assert first() == 1
    npz = write_npz(tmp_path / "mine", 0)
    module = data.load("mnist", root=npz)  # the file itself will do
    assert np.array_equal(module.test.images[:, 0].numpy(), arrays(0)["test_images"])


def test_incomplete_raw_files_count_as_missing(alone: Path, tmp_path: Path) -> None:
    (write_idx(tmp_path) / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(LabkitError, match="was not found in"):
        data.load("mnist", root=tmp_path)


def damaged_npz(folder: Path, content: bytes | dict) -> None:
    if isinstance(content, bytes):
        (folder / "mnist.npz").write_bytes(content)
    else:
        np.savez(folder / "mnist.npz", **content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zip at all",
        b"PK\x03\x04 truncated",
        {"train_images": np.zeros((2, 28, 28), np.uint8)},
        arrays() | {"test_images": np.zeros((20, 28, 28), np.float32)},
        arrays() | {"test_labels": np.zeros(3, np.uint8)},
        arrays() | {"test_labels": np.array([{}], dtype=object)},
    ],
    ids=["empty", "text", "truncated", "incomplete", "float", "lengths", "pickle"],
)
def test_a_damaged_npz_is_named(alone: Path, tmp_path: Path, content: bytes | dict) -> None:
    damaged_npz(tmp_path, content)
    with pytest.raises(LabkitError, match=f"Can't read MNIST from {tmp_path}.*fetch it again"):
        data.load("mnist", root=tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", b"text instead of numbers"])
def test_a_damaged_raw_file_is_named(alone: Path, tmp_path: Path, content: bytes) -> None:
    (write_idx(tmp_path) / "MNIST" / "raw" / "t10k-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(LabkitError, match=f"Can't read MNIST from {tmp_path}"):
        data.load("mnist", root=tmp_path)


@pytest.mark.skipif(
    datasets() is None or not (datasets() / "mnist.npz").is_file(), reason="LABKIT_DATASETS has no mnist.npz"
)
def test_the_real_mnist() -> None:
    module = data.load("mnist", per_class=10)
    assert (len(module.train), len(module.test)) == (100, 10_000)
    assert torch.bincount(module.test.labels).tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    train = data.load("mnist")
    ids = torch.cat([train.train.ids, train.val.ids])
    labels = torch.cat([train.train.labels, train.val.labels])[ids.argsort()]
    assert labels[:5].tolist() == [5, 0, 4, 1, 9]
