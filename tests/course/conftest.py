"""A tiny course in a temporary folder: two exercises and a bug, in lab 99."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

FIXTURE = Path(__file__).parent / "fixture"
sys.path.insert(0, str(FIXTURE))


@pytest.fixture(autouse=True)
def _own_progress(tmp_path, monkeypatch):
    """Nothing a test does touches the progress file of whoever runs it."""
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(FIXTURE))


@pytest.fixture(scope="session")
def lab():
    """The module with the fixture's checks, registered."""
    import fixture_lab

    return fixture_lab


@pytest.fixture
def course(tmp_path, lab) -> Path:
    """Root of the fixture course, nothing built yet."""
    root = tmp_path / "course"
    (root / "solutions").mkdir(parents=True)
    shutil.copy(FIXTURE / "99_fixture.py", root / "solutions")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "labkit"\n[tool.labkit]\nrepository = "https://github.com/someone/labkit"\n'
    )
    return root
