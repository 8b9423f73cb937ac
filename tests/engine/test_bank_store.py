"""Banks on the disk: used again, gone on with, mended, shared by processes, and done without."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bank_toys import CHUNKS, Plain, Seeing, encode, small
from engine_toys import sentence
from filelock import FileLock

from labkit.data import Augment
from labkit.engine import bank_store, banks, remove_banks
from labkit.engine.bank_store import Store, journal


@pytest.fixture(autouse=True)
def features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder of banks; a warning that no test expects is an error."""
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield tmp_path / "cache" / "features"


def contents(folder: Path) -> dict[str, bytes]:
    """The arrays' files and the set of journal lines."""
    found = {path.name: path.read_bytes() for path in folder.glob("*.npy")}
    return found | {"chunks": b"\n".join(sorted((folder / "chunks.jsonl").read_bytes().splitlines()))}


def test_a_second_bank_runs_no_encoder():
    first = encode(Seeing())
    again = Seeing()
    bank = encode(again)
    assert again.seen == 0
    assert torch.equal(bank.features(), first.features())
    assert bank.folder == first.folder
    assert len(list(first.folder.glob("*.npy"))) == 1
    unkept = Seeing()
    assert encode(unkept, keep=False).folder is None
    assert unkept.seen == 48


def test_plain_numpy_files():
    import numpy as np

    bank = encode(Plain(), views=2, augment=Augment(flip=True))
    array = np.load(bank.folder / "features.npy")
    assert array.shape == (2, 48, 36)
    assert torch.equal(torch.from_numpy(array[1]), bank.features(view=1))


class Stop(Exception):
    pass


class Stopping(Seeing):
    """Raises at one call; of the same class for all, so that the key is the same."""

    _stop_at = 0

    def forward(self, x):
        out = super().forward(x)
        if len(self._seen) == self._stop_at:
            raise Stop
        return out


@pytest.mark.parametrize("views", [1, 2])
def test_goes_on_where_it_was_stopped(views: int):
    options = {"views": views, "augment": Augment(flip=True), "outputs": ("embedding", "pixels")}
    whole = encode(Stopping(), **options, keep=False)
    for chunk in (4, 3, 1):  # 3, then 2 more, then none
        encoder = Stopping()
        encoder._stop_at = chunk
        with pytest.raises(Stop):
            encode(encoder, **options)
    encoder = Stopping()
    bank = encode(encoder, **options)
    assert encoder.seen == 8 * (views * CHUNKS - 5)
    for view in range(views):
        for name in bank.names:
            assert torch.equal(bank.features(name, view), whole.features(name, view))
    again = Stopping()
    encode(again, **options)
    assert again.seen == 0


def test_another_batch_size_goes_on_with_the_old_chunks():
    encoder = Stopping()
    encoder._stop_at = 4
    with pytest.raises(Stop):
        encode(encoder)
    encoder = Stopping()
    bank = encode(encoder, batch_size=5, chunk=20)
    assert encoder.seen == 24
    torch.testing.assert_close(bank.features(), encode(Stopping(), keep=False).features())


# Damage --------------------------------------------------------------------------------------------------


def flip_a_byte(path: Path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    ("damage", "encoded"),
    [
        (lambda folder: flip_a_byte(folder / "embedding.npy", 128 + 9 * 16 + 3), 8),
        (lambda folder: flip_a_byte(folder / "embedding.npy", 5), 48),  # the header
        (lambda folder: os.truncate(folder / "embedding.npy", 400), 48),
        (lambda folder: os.truncate(folder / "embedding.npy", 0), 48),
        (lambda folder: (folder / "embedding.npy").unlink(), 48),
        (lambda folder: (folder / "about.json").write_text("{"), 48),
        (lambda folder: (folder / "about.json").write_text("[]"), 48),
    ],
    ids=["byte", "header", "truncated", "empty", "gone", "torn about", "other about"],
)
def test_damage_is_found_and_mended_with_one_sentence(damage, encoded: int):
    bank = encode(Seeing())
    before, files = bank.features().clone(), contents(bank.folder)
    damage(bank.folder)
    encoder = Seeing()
    with pytest.warns(UserWarning, match=r"is damaged .*computed again\.$") as caught:
        mended = encode(encoder)
    assert len(caught) == 1
    assert encoder.seen == encoded
    assert torch.equal(mended.features(), before)
    assert contents(bank.folder)["embedding.npy"] == files["embedding.npy"]
    encoder = Seeing()
    encode(encoder)
    assert encoder.seen == 0


def test_a_torn_journal_costs_only_its_last_chunk():
    bank = encode(Seeing())
    path = bank.folder / "chunks.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    encoder = Seeing()
    assert torch.equal(encode(encoder).features(), bank.features())
    assert encoder.seen == 8
    assert len(journal(bank.folder)) == CHUNKS
    (bank.folder / "about.json").unlink()  # not begun, whatever else lies there
    encoder = Seeing()
    assert torch.equal(encode(encoder).features(), bank.features())
    assert encoder.seen == 48


# Disks that fail -----------------------------------------------------------------------------------------


def test_a_cache_that_cannot_be_written_leaves_the_bank_in_memory(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        encoder = Seeing()
        with pytest.warns(UserWarning, match="stays in memory"):
            bank = encode(encoder, outputs=("pixels",))
        assert encoder.seen == 48
        assert bank.folder is None
        assert torch.equal(bank.features(), small().images.float() / 255)
        assert torch.equal(bank.stored(bank.ids[3:5])["pixels"], bank.features()[3:5])


@pytest.mark.parametrize("call", [1, 2, 5, 2 * CHUNKS])
def test_a_disk_that_fills_up(call: int, features: Path, monkeypatch: pytest.MonkeyPatch):
    """Rows and journal are synced in turn: whichever fails, nothing is lost or left on the disk."""
    calls = 0

    def full(file) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    real = bank_store._sync
    monkeypatch.setattr(bank_store, "_sync", full)
    encoder = Seeing()
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        bank = encode(encoder, outputs=("pixels",))
    assert len(caught) == 1
    assert encoder.seen == 48
    assert torch.equal(bank.features(), small().images.float() / 255)
    assert bank.folder is None
    assert not [path for path in features.iterdir() if path.is_dir()]


def test_a_disk_too_full_to_begin(features: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bank_store, "_empty_npy", full)
    with pytest.warns(UserWarning, match="No space left"):
        bank = encode(Plain())
    assert torch.equal(bank.features(), small().images.float().flatten(1) / 255)


def test_a_finished_bank_is_read_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch):
    bank = encode(Seeing())

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(bank_store, "locked", refuse)
    monkeypatch.setattr(bank_store.os, "utime", refuse)
    encoder = Seeing()
    assert torch.equal(encode(encoder).features(), bank.features())
    assert encoder.seen == 0


# Several processes ---------------------------------------------------------------------------------------


def start(cache: Path, kill_at: int = 0, pause: float = 0.0) -> subprocess.Popen:
    environment = os.environ | {"LABKIT_CACHE": str(cache), "OMP_NUM_THREADS": "1", "LABKIT_QUIET": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    code = f"import bank_toys; bank_toys.main('{kill_at}', '{pause}')"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", code], **pipes, text=True, env=environment)


def go(processes: list[subprocess.Popen]) -> list[list[str]]:
    """Let all begin at the same time, and return the words that each ends with."""
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120) for process in processes]
    assert not any(err for _, err in outputs), outputs
    return [out.split() for out, _ in outputs]


@pytest.mark.slow
def test_killed_and_concurrent_processes(tmp_path: Path):
    """One is killed at its fourth chunk; two at once then share what is left, and read the same."""
    killed, *both = [
        start(tmp_path / "cache", kill_at=4),
        *(start(tmp_path / "cache", pause=0.3) for _ in "ab"),
    ]
    assert go([killed]) == [[]]
    assert killed.returncode == -9
    (kept,) = banks()
    assert not kept.complete
    assert len(journal(kept.folder)) == 3
    words = go(both)
    assert sorted(int(seen) for _, seen, _ in words) == [0, 24], "chunks 4 to 6, once"
    encoder = Seeing()
    bank = encode(encoder)
    assert encoder.seen == 0
    assert {key for key, *_ in words} == {bank.key} == {kept.key}
    assert {total for *_, total in words} == {bank.features().sum().item().hex()}
    assert torch.equal(bank.features(), encode(Seeing(), keep=False).features())


def test_threads_make_a_bank_once():
    from concurrent.futures import ThreadPoolExecutor

    encoders = [Seeing(pause=0.02) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(encode, encoders))
    assert sorted(encoder.seen for encoder in encoders) == [0, 0, 48]
    assert all(torch.equal(bank.features(), found[0].features()) for bank in found)


# Housekeeping --------------------------------------------------------------------------------------------


def test_list_and_remove(features: Path):
    assert banks() == []
    first = encode(Seeing())
    second = encode(Plain(), views=2, augment=Augment(flip=True))
    (features / "something-else").mkdir()
    old = first.folder / "about.json"
    os.utime(old, (0, old.stat().st_mtime - 3 * 86_400))
    listed = {kept.key: kept for kept in banks()}
    assert list(listed) == [second.key, first.key]
    assert listed[first.key].outputs == {"embedding": (4,)}
    assert (listed[second.key].views, listed[second.key].n, listed[second.key].kind) == (2, 48, "images")
    assert all(kept.complete for kept in listed.values())
    assert "Seeing: 48 images" in str(listed[first.key])
    assert "Did you mean" in sentence(lambda: remove_banks(first.key[:-1] + "_"))
    sentence(lambda: remove_banks())
    sentence(lambda: remove_banks(first.key, idle_days=1))
    with FileLock(features / f"{first.key}.lock"):
        assert "another process" in sentence(lambda: remove_banks(idle_days=2))
    assert remove_banks(idle_days=2) == listed[first.key].bytes
    assert [kept.key for kept in banks()] == [second.key]
    before = second.features(view=1).clone()
    remove_banks(second.key)
    assert banks() == []
    assert torch.equal(second.features(view=1), before), "an open bank keeps what it holds"
    assert torch.equal(second.stored(second.ids, 1)["features"], before)


def test_opening_a_bank_counts_as_using_it():
    path = encode(Plain()).folder / "about.json"
    os.utime(path, (0, 0))
    encode(Plain())
    assert banks()[0].idle_days < 1


def test_chunks_follow_each_other_in_runs(tmp_path: Path):
    store = Store("key", {}, views=2, n=10, chunk=4, dtype="float32", kept=False)
    assert list(store._runs()) == [(0, 0, 10), (1, 0, 10)]
    store.done = {(0, 0), (1, 4)}
    assert list(store._runs()) == [(0, 4, 10), (1, 0, 4), (1, 8, 10)]
