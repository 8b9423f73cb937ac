"""`labkit doctor` finds what is wrong and says how to mend it; a check that breaks is a line too."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from labkit import doctor
from labkit.doctor import Finding, examine


def named(findings: list[Finding], what: str) -> Finding:
    (found,) = [f for f in findings if f.what == what]
    return found


@pytest.fixture(scope="module")
def here() -> list[Finding]:
    return examine()


@pytest.mark.parametrize(
    "what", ["Python", "labkit", "torch", "profile", "processor", "GPU", "data set digits", "Jupyter kernel"]
)
def test_this_machine_is_well(here: list[Finding], what: str):
    finding = named(here, what)
    assert finding.ok, finding
    assert finding.found


def test_every_failing_finding_says_how_to_mend(here: list[Finding]):
    assert all(f.mend for f in here if not f.ok)


def test_unknown_profile(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LABKIT_PROFILE", "gqu")
    finding = named(examine(), "profile")
    assert not finding.ok
    assert "Did you mean 'gpu'?" in finding.found
    assert "LABKIT_PROFILE" in finding.mend


def test_missing_data_set_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LABKIT_PROFILE", "gpu")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    monkeypatch.delenv("LABKIT_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path)
    finding = named(examine(), "data set mnist")
    assert not finding.ok
    assert "labkit data get mnist" in finding.mend


def test_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file" / "cache"))
    finding = named(examine(), "cache folder")
    assert not finding.ok
    assert "LABKIT_CACHE" in finding.mend


def test_shipped_files_are_checked_against_the_manifest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path / "nowhere"))
    finding = named(examine(), "shipped data")
    assert not finding.ok
    assert finding.mend == "unset LABKIT_DATA"

    (tmp_path / "a.bin").write_bytes(b"weights")
    manifest = {"files": {"a.bin": {"sha256": sha256(b"weights").hexdigest(), "command": "labkit ..."}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    assert named(examine(), "shipped data").ok
    (tmp_path / "a.bin").write_bytes(b"damage")
    finding = named(examine(), "shipped data")
    assert not finding.ok
    assert finding.found == "missing or damaged: a.bin"


def test_a_version_out_of_range_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A labkit whose metadata ask for a torch of the far future, found before the installed one."""
    folder = tmp_path / "labkit-9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: labkit\nVersion: 9\n"
        "Requires-Dist: torch>=99\nRequires-Dist: no-such-package>=1\nRequires-Dist: typer>=0.1\n"
        'Requires-Dist: pytest>=99 ; extra == "test"\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {f.what: f for f in examine()}
    assert not found["torch"].ok
    assert "but >=99 is needed" in found["torch"].found
    assert found["torch"].mend == 'python -m pip install "torch>=99"'
    assert found["no-such-package"].found == "not installed"
    assert "typer" not in found
    assert "pytest" not in found


def test_a_check_that_breaks_is_a_failing_line():
    def _weather():
        raise RuntimeError("it\n  rains")
        yield

    (finding,) = doctor._guarded(_weather)
    assert finding == Finding("weather", False, "it rains", finding.mend)
    assert finding.mend
