"""Order, slices over processes, views, and decoding by workers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import LabkitError
from labkit.data import Augment, Batch, FileSet, ImageSet, batches
from labkit.data import loader as loader_module
from labkit.data.loader import slices


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 60), st.integers(1, 20), st.integers(0, 9), st.integers(1, 4), st.booleans())
def test_the_slices_of_all_processes_make_up_one(
    n: int, size: int, epoch: int, world: int, shuffle: bool
) -> None:
    options = {"seed": 1, "epoch": epoch, "shuffle": shuffle}
    ranks = [slices(n, size, rank=r, world=world, **options) for r in range(world)]
    one = slices(n, size, **options)
    if shuffle:
        assert len({len(r) for r in ranks}) == 1
        for step, whole in enumerate(one):
            parts = [r[step] for r in ranks]
            assert torch.equal(torch.cat(parts), whole)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
        seen = torch.cat(one).tolist() if one else []
        assert len(seen) == len(set(seen)) == (n // size * size or n)
    else:
        seen = [p for rank in ranks for part in rank for p in part.tolist()]
        assert sorted(seen) == list(range(n))
        assert [p.tolist() for p in one] == [list(range(i, min(i + size, n))) for i in range(0, n, size)]


def joined(parts: list[Batch]) -> list[torch.Tensor]:
    """All columns but `stored`, batches put together."""
    return [torch.cat(column) for column in list(zip(*parts, strict=True))[:4]]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", ["crop-flip", "rrc-jitter"])
def test_processes_together_see_the_batches_of_one(
    make_set: Callable[..., ImageSet], name: str, world: int
) -> None:
    data = make_set(50)
    options = {"seed": 4, "epoch": 2, "shuffle": True, "augment": name}
    whole = list(batches(data, 12, **options))
    ranks = [list(batches(data, 12, rank=r, world=world, **options)) for r in range(world)]
    assert len(whole) == 4
    for step, batch in enumerate(whole):
        for column, own in zip(joined([r[step] for r in ranks]), batch[:4], strict=True):
            assert torch.equal(column, own)


def test_a_batch_holds_images_labels_ids_and_views(make_set: Callable[..., ImageSet]) -> None:
    data = make_set(20)
    for batch in batches(data, 6, seed=0, epoch=3, shuffle=True):
        position = (batch.index - 3) // 7
        assert torch.equal(batch.image, data.images[position] / 255)
        assert torch.equal(batch.label, data.labels[position])
        assert (batch.image.dtype, batch.label.dtype) == (torch.float32, torch.int64)
        assert batch.view.tolist() == [3] * 6
        assert batch.stored == {}


def test_evaluation_keeps_order_and_every_image(make_set: Callable[..., ImageSet]) -> None:
    data = make_set(20)
    image, label, index, view = joined(list(batches(data, 6, epoch=5)))
    assert torch.equal(image, data.images / 255)
    assert torch.equal(label, data.labels)
    assert torch.equal(index, data.ids)
    assert view.tolist() == [0] * 20


def test_views_in_order_are_those_of_training(make_set: Callable[..., ImageSet]) -> None:
    data = make_set(24)
    options = {"seed": 1, "epoch": 2, "augment": "rrc-jitter"}
    ordered = joined(list(batches(data, 5, **options)))
    trained = joined(list(batches(data, 8, shuffle=True, **options)))
    order = trained[2].argsort()
    assert torch.equal(trained[0][order], ordered[0])
    assert ordered[3].tolist() == [2] * 24


def test_skipped_batches_are_not_touched(
    make_set: Callable[..., ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, options = make_set(40), {"shuffle": True, "augment": "crop-flip", "epoch": 1}
    whole = list(batches(data, 8, **options))
    asked: list[int] = []
    fetch = ImageSet.fetch
    monkeypatch.setattr(ImageSet, "fetch", lambda self, p: asked.extend(p.tolist()) or fetch(self, p))
    rest = batches(data, 8, start=3, **options)
    assert len(rest) == 2
    for a, b in zip(rest, whole[3:], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))
    assert len(asked) == 16
    assert len(batches(data, 8, start=9, **options)) == 0


def test_batches_do_not_depend_on_how_many_are_made_at_once(
    make_set: Callable[..., ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, options = make_set(50), {"shuffle": True, "augment": "rrc-jitter"}
    together = joined(list(batches(data, 7, **options)))
    monkeypatch.setattr(loader_module, "_RUN_BYTES", 1)
    for a, b in zip(joined(list(batches(data, 7, **options))), together, strict=True):
        assert torch.equal(a, b)


def test_epochs_and_seeds_differ_and_repeat(make_set: Callable[..., ImageSet]) -> None:
    data = make_set(30)

    def ids(**options: int) -> list[int]:
        return joined(list(batches(data, 10, shuffle=True, **options)))[2].tolist()

    assert ids(epoch=1) == ids(epoch=1) != ids(epoch=2)
    assert ids(seed=1) != ids(seed=2)


def test_the_global_random_state_and_the_threads_stay(
    make_set: Callable[..., ImageSet], tmp_path: Path, write_images: Callable[..., list[Path]]
) -> None:
    files = FileSet(list(map(str, write_images(tmp_path, 4))), [0, 1, 0, 1], "ab", image_size=8)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    for data in (make_set(20), files):
        for _ in batches(data, 2, shuffle=True, augment="rrc"):
            assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)


SCRIPT = """
import hashlib, torch
from labkit.data import batches, load
digest = hashlib.sha256()
data = load("digits", per_class=20, seed=3)
for batch in batches(data.train, 32, seed=3, epoch=1, shuffle=True, augment="rrc-jitter"):
    for column in batch[:4]:
        digest.update(column.numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_another_process_makes_the_same_batches() -> None:
    def digest(threads: str, hash_seed: str) -> str:
        environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment)
        assert run.returncode == 0, run.stderr
        return run.stdout

    assert digest("1", "1") == digest("2", "2")


@pytest.mark.parametrize("workers", [0, 2])
def test_files_give_the_batches_of_memory(
    tmp_path: Path, write_images: Callable[..., list[Path]], workers: int
) -> None:
    files = list(map(str, write_images(tmp_path, 14)))
    on_disk = FileSet(files, [0, 1] * 7, "ab", image_size=8, workers=workers)
    in_memory = ImageSet(on_disk.fetch(range(14)), on_disk.labels, "ab")
    options = {"shuffle": True, "augment": Augment.named("crop-flip"), "epoch": 1}
    for a, b in zip(batches(on_disk, 3, **options), batches(in_memory, 3, **options), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))


def test_a_worker_names_the_unreadable_file_in_one_sentence(
    tmp_path: Path, write_images: Callable[..., list[Path]]
) -> None:
    files = write_images(tmp_path, 10)
    files[7].write_bytes(b"no image")
    data = FileSet(list(map(str, files)), [0, 1] * 5, "ab", image_size=8, workers=2)
    with pytest.raises(LabkitError) as caught:
        list(batches(data, 2))
    assert str(caught.value) == f"Can't read the image {files[7]} (it is no image): delete or replace it."


@pytest.mark.parametrize(
    ("n", "size", "options", "message"),
    [
        (1, 8, {}, "at least 2 images a batch"),
        (0, 8, {}, "the split has 0"),
        (9, 2, {"world": 3}, "Training in 3 processes needs at least 3"),
        (9, 0, {}, "batch_size must be at least 1"),
        (9, 4, {"rank": 2, "world": 2}, "rank within"),
        (9, 4, {"start": -1}, "start at least 0"),
        (9, 4, {"augment": "mixup"}, "Unknown augmentation 'mixup'"),
    ],
)
def test_impossible_batches_are_refused(
    make_set: Callable[..., ImageSet], n: int, size: int, options: dict, message: str
) -> None:
    with pytest.raises(LabkitError, match=message):
        batches(make_set(n), size, shuffle=True, **options)


def test_an_empty_split_has_no_evaluation_batches(make_set: Callable[..., ImageSet]) -> None:
    assert list(batches(make_set(0), 8)) == []
    assert list(batches(make_set(1), 8, rank=1, world=2)) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["crop-flip", "rrc-jitter"])
def test_a_device_gives_the_views_of_the_cpu(make_set: Callable[..., ImageSet], name: str) -> None:
    data, options = make_set(64, size=32), {"shuffle": True, "augment": name}
    here = list(batches(data, 16, **options))
    for there in (batches(data, 16, device="cuda", **options), batches(data.to("cuda"), 16, **options)):
        for a, b in zip(there, here, strict=True):
            assert a.image.is_cuda
            assert torch.equal(a.index.cpu(), b.index)
            torch.testing.assert_close(a.image.cpu(), b.image, atol=1e-5, rtol=0)
