"""The gate: does what is committed still follow from the sources? Executes nothing."""

from __future__ import annotations

from ..errors import LabkitError
from .builder import Course
from .checks import Check
from .ipynb import dumps, load
from .notebooks import assemble
from .solutions import LARGEST, cells, stale
from .source import Source


def drift(course: Course, lab: Source, checks: dict[str, Check]) -> list[str]:
    """One line per difference between a source and its two notebooks."""
    return [*_student(course, lab, checks), *_solution(course, lab, checks)]


def _student(course: Course, lab: Source, checks: dict[str, Check]) -> list[str]:
    target = course.student(lab)
    name = f"notebooks/{target.name}"
    if not target.is_file():
        return [f"{name}: missing."]
    wanted = assemble(lab, checks, course.address, solved=False)
    if target.read_text(encoding="utf-8") == dumps(wanted):
        return []
    try:
        return [f"{name}: differs from {lab.shown}{_first(cells(load(target)), cells(wanted))}."]
    except LabkitError as error:
        return [str(error)]


def _solution(course: Course, lab: Source, checks: dict[str, Check]) -> list[str]:
    target = course.solution(lab)
    name = f"solutions/{target.name}"
    if not target.is_file():
        return [f"{name}: missing."]
    try:
        old = load(target)
    except LabkitError as error:
        return [str(error)]
    fresh = assemble(lab, checks, course.address, solved=True)
    found = [f"{name}: {reason}." for reason in stale(old, fresh, lab)]
    counts = [cell.get("execution_count") for cell in old.cells if cell.cell_type == "code"]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"{name}: was not executed top to bottom.")
    if target.stat().st_size > LARGEST:
        found.append(f"{name}: is larger than 0.5 MB.")
    return found


def _first(old: list[tuple], new: list[tuple]) -> str:
    """Where two lists of cells part, in words."""
    for mine, wanted in zip(old, new, strict=False):
        if mine != wanted:
            return f", first in cell '{mine[0]}'"
    return ", in the number of its cells" if len(old) != len(new) else ", in its metadata"
