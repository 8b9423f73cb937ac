"""Nobody is stuck: every student notebook runs top to bottom as it is released, within its memory."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from labkit.course import run_checks, run_notebook

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_untouched_notebook_runs_to_its_end(path: Path):
    run_notebook(path)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB, bytes on macOS
    assert peak * (1 if sys.platform == "darwin" else 1024) <= 3 * 2**30


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_check_of_an_untouched_notebook_waits(path: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "progress.json"))
    for row in run_checks([path]):
        # code with a bug to mend is an answer from the start, and a wrong one
        assert row.status in ("not yet", "failed"), row
