"""What there is to do and what is done, lab by lab, without importing torch or nbformat."""

from __future__ import annotations

from dataclasses import dataclass

from . import record
from .ipynb import parse
from .workspace import released


@dataclass(frozen=True)
class LabProgress:
    """One row of the table: checks passed and points earned of all in a lab."""

    lab: str
    title: str
    passed: int
    checks: int
    points: float
    possible: float
    attempts: int


def progress() -> list[LabProgress]:
    """One row per released lab, from its notebook and the student's progress file.

    Raises:
        LabkitError: there are no notebooks, or one can't be read.
    """
    done = record.read()
    return [_row(parse(path), path.name[:2], done) for path in released()]


def _row(notebook: dict, lab: str, done: dict[str, dict]) -> LabProgress:
    cells = notebook["cells"]
    title = cells[0]["source"].partition("\n")[0].lstrip("# ") if cells else ""
    graded = (cell for cell in cells if cell["metadata"].get("labkit", {}).get("kind") == "check")
    grading = (cell["metadata"].get("nbgrader", {}) for cell in graded)
    points = {cell.get("grade_id", ""): float(cell.get("points", 0)) for cell in grading}
    rows = {id: done[id] for id in points if id in done}
    passed = [id for id, row in rows.items() if row["passed"]]
    return LabProgress(
        lab=lab,
        title=title,
        passed=len(passed),
        checks=len(points),
        points=sum(points[id] for id in passed),
        possible=sum(points.values()),
        attempts=sum(row["attempts"] for row in rows.values()),
    )
