"""Where files are read and written, and that a failed write leaves the old file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from labkit import LabkitError, paths
from labkit.errors import MissingError


def test_the_tests_run_from_the_clone(root: Path):
    assert paths.clone() == root
    assert paths.shipped("notebooks") == root / "notebooks"
    assert paths.work() == root / "work"


def test_shipped_data_come_from_labkit_data_first_then_from_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
):
    assert paths.asset("results") == root / "data" / "results"
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    assert paths.shipped("data") == tmp_path
    assert paths.asset("results") == root / "data" / "results"
    (tmp_path / "results").mkdir()
    assert paths.asset("results") == tmp_path / "results"
    with pytest.raises(MissingError, match=r"'weights/none' is not under .*: unset LABKIT_DATA"):
        paths.asset("weights/none")


def test_cache_and_datasets_follow_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
):
    monkeypatch.delenv("LABKIT_CACHE", raising=False)
    monkeypatch.delenv("LABKIT_DATASETS", raising=False)
    assert paths.cache() == root / "data" / "cache"
    assert paths.datasets() is None
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("LABKIT_DATASETS", "~/sets")
    assert paths.cache() == tmp_path / "c"
    assert paths.datasets() == Path.home() / "sets"


def test_write_atomic_makes_folders_replaces_and_leaves_nothing_behind(tmp_path: Path):
    target = tmp_path / "a" / "b.txt"
    assert paths.write_atomic(target, "één") == target
    assert target.read_bytes() == "één".encode()
    paths.write_atomic(target, b"\x00two")
    assert target.read_bytes() == b"\x00two"
    assert [p.name for p in target.parent.iterdir()] == ["b.txt"]


def test_write_atomic_into_a_file_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(LabkitError, match=r"Can't write .*file/below: .*choose a writable folder"):
        paths.write_atomic(tmp_path / "file" / "below", "x")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_keeps_the_older_file(tmp_path: Path):
    """A process that may write 1 kB stands for a disk with 1 kB left."""
    target = tmp_path / "weights"
    target.write_text("old")
    code = (
        "import resource, signal, sys; from labkit.paths import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "write_atomic(sys.argv[1], bytes(4096))"
    )
    result = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True)
    assert result.returncode == 1
    assert "The older file is untouched. Free some space" in result.stderr
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]
