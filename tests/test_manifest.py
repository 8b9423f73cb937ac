"""The manifest names every shipped file, and a changed file is noticed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

from labkit import manifest, paths
from labkit.errors import LabkitError, MissingError


def test_every_shipped_file_is_in_the_manifest_and_unchanged():
    folder = paths.shipped("data")
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if p.is_file()]
    shipped = [name for name in files if not name.startswith(("cache/", ".")) and "/." not in name]
    for name in shipped:
        if name != "manifest.json":
            manifest.verified(name)


def test_changed_file_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x.json").write_text("{}")
    manifest.record("results/x.json", "labkit bench --lab 01")
    assert manifest.verified("results/x.json") == tmp_path / "results" / "x.json"
    (tmp_path / "results" / "x.json").write_text("{ }")
    with pytest.raises(LabkitError, match="labkit bench --lab 01") as caught:
        manifest.verified("results/x.json")
    for content in (b"{}", b"{ }"):  # what was expected, what was found
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert "(3 of 2 bytes)" in str(caught.value)


def test_unlisted_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    for name in ("x.json", "y.json"):
        (tmp_path / name).write_text("{}")
    manifest.record("x.json", "command")
    with pytest.raises(LabkitError, match=r"not in data/manifest\.json"):
        manifest.verified("y.json")


def test_a_file_is_read_again_only_when_it_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    path = tmp_path / "x.json"
    path.write_text("{}")
    manifest.record("x.json", "command")
    manifest.verified("x.json")
    reads = []
    digest = manifest._sha256
    monkeypatch.setattr(manifest, "_sha256", lambda content: reads.append(1) or digest(content))
    manifest.verified("x.json")
    assert not reads
    os.utime(path, ns=(1, 1))
    manifest.verified("x.json")
    assert len(reads) == 1


def test_a_manifest_of_ones_own_folder_counts_for_its_files_alone(tmp_path, monkeypatch):
    """Files that LABKIT_DATA lacks still come from the clone, under the clone's manifest."""
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    (tmp_path / "x.json").write_text("{}")
    manifest.record("x.json", "command")
    assert manifest.verified("results/lab01.json").is_relative_to(paths.clone())


def test_damaged_and_missing_manifests_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    with pytest.raises(MissingError, match="There is no file"):
        manifest.record("x.json", "command")
    with pytest.raises(MissingError, match="no manifest"):
        manifest.entries(tmp_path)
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(LabkitError, match="damaged"):
        manifest.verified("x.json")


def test_entries_of_lost_files_are_dropped(tmp_path):
    for name in ("a/x", "a/y", "b/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
        manifest.record(name, "command", root=tmp_path)
    (tmp_path / "a/x").unlink()
    (tmp_path / "b/x").unlink()
    manifest.prune("a/", root=tmp_path)
    assert list(manifest.entries(tmp_path)) == ["a/y", "b/x"]


def test_processes_that_record_at_once_lose_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; from labkit import manifest\n"
        "root, who = Path(sys.argv[1]), sys.argv[2]\n"
        "for i in range(20):\n"
        "    (root / f'{who}{i}').write_text(who)\n"
        "    manifest.record(f'{who}{i}', 'command', root=root)\n"
    )
    environment = {**os.environ, "LABKIT_CACHE": str(tmp_path / "cache")}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), who], env=environment) for who in "abc"
    ]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    files = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert set(files) == {f"{who}{i}" for who in "abc" for i in range(20)}
