"""The manifest names every shipped file, and a changed file is noticed."""

from __future__ import annotations

import pytest

from labkit import manifest, paths
from labkit.errors import LabkitError


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
    with pytest.raises(LabkitError, match="labkit bench --lab 01"):
        manifest.verified("results/x.json")


def test_unlisted_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    for name in ("x.json", "y.json"):
        (tmp_path / name).write_text("{}")
    manifest.record("x.json", "command")
    with pytest.raises(LabkitError, match=r"not in data/manifest\.json"):
        manifest.verified("y.json")
