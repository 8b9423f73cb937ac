"""Resized photographs: made once, keyed by content, whole or not at all, read without copying."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from labkit import LabkitError
from labkit.data import Augment, ImageSet, StoredSet, batches, store
from labkit.data.images import decode, decode_all
from labkit.data.store import Rows
from labkit.engine.bank_key import sample_digests, split_digest

Write = Callable[..., list[Path]]


@pytest.fixture
def photos(alone: Path, tmp_path: Path, write_images: Write) -> Path:
    """A folder with 2 x 6 photographs; the cache is empty."""
    write_images(tmp_path / "photos" / "a", 6, ".jpg", (40, 30))
    write_images(tmp_path / "photos" / "b", 6, ".png", (24, 36))
    return tmp_path / "photos"


def names(photos: Path) -> list[str]:
    return sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))


def make(photos: Path, size: int = 16, **options: object) -> Rows:
    return store.store("birds", photos, names(photos), size, **options)


def files(cache: Path) -> list[str]:
    """What lies in the cache, locks apart."""
    return sorted(p.name for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The photographs that were decoded, in order."""
    calls, square = [], store._square
    monkeypatch.setattr(store, "_square", lambda file, *a: calls.append(file) or square(file, *a))
    return calls


def test_the_squares_are_those_of_a_plain_decoding(photos: Path) -> None:
    rows = make(photos)
    wanted = decode_all([photos / name for name in names(photos)], 16)
    assert torch.equal(rows[torch.arange(12)], wanted)
    assert torch.equal(rows[3], wanted[3])
    assert torch.equal(rows[2:5], wanted[2:5])
    assert torch.equal(rows[[11, 0]], wanted[[11, 0]])
    assert torch.equal(torch.cat(list(rows.split(5))), wanted)
    assert (len(rows), rows.shape, rows.dtype) == (12, wanted.shape, torch.uint8)


def test_photographs_are_decoded_once(photos: Path, decoded: list[Path]) -> None:
    first = make(photos)[:]
    assert len(decoded) == 12
    assert torch.equal(make(photos)[:], first)
    assert len(decoded) == 12


def test_of_several_readers_one_decodes(photos: Path, decoded: list[Path]) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: make(photos)[:], range(4)))
    assert len(decoded) == 12
    assert all(torch.equal(result, results[0]) for result in results)


def test_another_size_content_or_cut_is_another_store(photos: Path, alone: Path, decoded: list[Path]) -> None:
    make(photos)
    assert make(photos, 8).shape[-1] == 8
    assert not torch.equal(make(photos, bottom=10)[:], make(photos)[:])
    assert len(decoded) == 36
    os.utime(photos / "a" / "0003.jpg", (1, 1))  # another photograph, as far as one can see
    make(photos)
    assert len(decoded) == 48
    assert len(files(alone)) == 4


def test_a_folder_may_move(photos: Path, decoded: list[Path]) -> None:
    make(photos)
    photos.rename(photos.with_name("elsewhere"))
    make(photos.with_name("elsewhere"))
    assert len(decoded) == 12


@pytest.mark.parametrize("damage", ["empty", "short", "no array", "other shape"])
def test_a_damaged_store_is_made_again(photos: Path, alone: Path, damage: str) -> None:
    wanted = make(photos)[:]
    (path,) = alone.rglob("*.npy")
    if damage == "other shape":
        np.save(path, np.zeros((2, 3, 16, 16), np.uint8))
    else:
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "short": content[:-5], "no array": b"x" * len(content)}[damage])
    assert torch.equal(make(photos)[:], wanted)


def test_unreadable_photographs_are_counted_and_nothing_is_kept(photos: Path, alone: Path) -> None:
    bad = photos / "a" / "0002.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    with pytest.raises(LabkitError) as caught:
        make(photos, mend="unpack it again")
    assert str(caught.value).startswith(f"Can't read the image {bad} (")
    assert str(caught.value).endswith("): unpack it again.")
    (photos / "b" / "0001.png").write_bytes(b"text")
    (photos / "b" / "0005.png").write_bytes(b"")
    with pytest.raises(LabkitError, match=r"unpack it again\. Nor can 2 others be read\.$"):
        make(photos, mend="unpack it again")
    with pytest.raises(LabkitError, match=f"Can't read the image {bad} "):
        make(photos, bottom=2)
    assert not files(alone)


def test_a_stopped_decoding_leaves_nothing(
    photos: Path, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "_square", stop)
        with pytest.raises(KeyboardInterrupt):
            make(photos)
    assert not files(alone)
    assert len(make(photos)) == 12


def test_a_cache_that_cannot_be_written_or_is_too_small_is_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=free.total, free=1000))
        with pytest.raises(LabkitError, match=r"'birds' need .* GB, but .*smaller image_size"):
            make(photos)
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(LabkitError, match=r"Can't write the resized images of 'birds' .*LABKIT_CACHE"):
        make(photos)


def test_rows_at_the_bottom_are_cut_off_before_scaling(photos: Path) -> None:
    picture = photos / "b" / "0000.png"  # 24 x 36
    with Image.open(picture) as image:
        image.crop((0, 0, 24, 24)).save(photos / "cut.png")
    rows = store.store("birds", photos, ["b/0000.png"], 24, bottom=12)
    assert np.array_equal(rows[0].permute(1, 2, 0).numpy(), decode(photos / "cut.png", 24))


@pytest.fixture
def both(photos: Path) -> tuple[StoredSet, ImageSet]:
    """The same images in the file and in memory."""
    labels, ids = [0] * 6 + [1] * 6, torch.arange(12) * 3 + 7
    rows = make(photos)
    return StoredSet(rows, labels, "ab", ids), ImageSet(rows[:], labels, "ab", ids)


def test_it_behaves_as_a_set_in_memory(both: tuple[StoredSet, ImageSet]) -> None:
    stored, memory = both
    for change in (
        lambda s: s,
        lambda s: s.subset([9, 2, 3]),
        lambda s: s.few(2, seed=3),
        lambda s: s.subset([1, 8, 10, 4]).subset([3, 1]).resized(10),
    ):
        a, b = change(stored), change(memory)
        assert isinstance(a, StoredSet)
        assert isinstance(a.images, Rows)  # nothing was copied
        assert (len(a), a.channels, a.image_size) == (len(b), b.channels, b.image_size)
        assert torch.equal(a[1][0], b[1][0])
        for kwargs in ({}, {"shuffle": True, "seed": 4, "augment": "rrc-jitter"}):
            for x, y in zip(batches(a, 2, **kwargs), batches(b, 2, **kwargs), strict=True):
                assert torch.equal(x.image, y.image)
                assert torch.equal(x.label, y.label)
                assert torch.equal(x.index, y.index)


def test_feature_banks_know_its_images(both: tuple[StoredSet, ImageSet]) -> None:
    stored, memory = (s.subset([9, 2, 3]) for s in both)
    assert torch.equal(sample_digests(stored), sample_digests(memory))
    assert split_digest(stored, sample_digests(stored)) != split_digest(both[0], sample_digests(both[0]))


def test_a_process_gets_the_file_and_not_its_content(both: tuple[StoredSet, ImageSet]) -> None:
    stored = both[0].subset([9, 2, 3])
    content = pickle.dumps(stored)
    assert len(content) < 3000
    again = pickle.loads(content)
    assert torch.equal(again.fetch([0, 2]), stored.fetch([0, 2]))


def test_evaluation_sees_the_middle_and_random_crops_all_of_a_border(photos: Path) -> None:
    from torchvision.transforms.v2.functional import center_crop

    whole = make(photos, 20)
    labels = [0] * 6 + [1] * 6
    stored = StoredSet(whole, labels, "ab", image_size=16, border=1.25)
    assert stored.fetch_whole([0, 5]).shape[-2:] == (20, 20)
    assert torch.equal(stored.fetch([0, 5]), center_crop(whole[torch.tensor([0, 5])], [16, 16]))
    assert torch.equal(next(iter(batches(stored, 12))).image, stored.fetch(range(12)) / 255)
    plain = Augment(scale=(1.0, 1.0), ratio=(1.0, 1.0))  # all of it, scaled to the image's side
    shown = next(iter(batches(stored, 12, augment=plain))).image
    assert shown.shape[-2:] == (16, 16)
    wanted = F.interpolate(whole[torch.arange(12)] / 255, (16, 16), mode="bilinear")
    torch.testing.assert_close(shown, wanted, rtol=0, atol=1e-5)
    assert stored.subset([3]).fetch([0]).shape == (1, 3, 16, 16)
