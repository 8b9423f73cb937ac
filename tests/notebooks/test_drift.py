"""What is committed follows from the sources, and no student notebook gives an answer away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from labkit.course import build
from labkit.course.ipynb import load

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "solutions").glob("[0-9][0-9]_*.py"))


@pytest.mark.slow
def test_sources_notebooks_and_solutions_agree():
    start = time.process_time()
    assert len(build(check=True)) == len(NAMES)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("name", NAMES)
def test_student_notebook_holds_no_answer_and_no_output(name: str):
    student = load(ROOT / "notebooks" / f"{name}.ipynb")
    solved = {cell.id: cell for cell in load(ROOT / "solutions" / f"{name}.ipynb").cells}
    assert all(not cell.get("outputs") for cell in student.cells)
    for cell in student.cells:
        kind = cell.metadata.get("labkit", {}).get("kind")
        if kind in ("exercise", "written"):
            assert cell.source != solved[cell.id].source
            assert "SOLUTION" not in cell.source
        else:
            assert cell.source == solved[cell.id].source
