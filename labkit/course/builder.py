"""From sources to notebooks, and the gate that finds any drift between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import paths
from ..errors import LabkitError, MissingError, unknown
from . import bootstrap, labs, source, validate
from .checks import Check
from .ipynb import dumps, load
from .notebooks import EDITABLE, assemble, sha
from .source import Source


@dataclass(frozen=True)
class Course:
    """A folder with `solutions/`, `notebooks/` and `pyproject.toml`."""

    root: Path

    @property
    def address(self) -> str:
        return bootstrap.repository(self.root)

    def student(self, lab: Source) -> Path:
        return self.root / "notebooks" / f"{lab.name}.ipynb"

    def solution(self, lab: Source) -> Path:
        return self.root / "solutions" / f"{lab.name}.ipynb"

    def sources(self, only: Iterable[str] | None = None) -> list[Path]:
        """The `.py` files, all or those whose number or name is in `only`."""
        found = sorted((self.root / "solutions").glob("[0-9][0-9]_*.py"))
        if not only:
            return found
        chosen: list[Path] = []
        for name in only:
            wanted = Path(str(name)).stem
            wanted = wanted.zfill(2) if wanted.isdigit() else wanted
            fits = [path for path in found if wanted in (path.stem, path.stem[:2])]
            if not fits:
                raise unknown("lab", name, [path.stem for path in found])
            chosen.extend(path for path in fits if path not in chosen)
        return chosen


def build(
    check: bool = False,
    execute: bool = True,
    only: list[str] | None = None,
    force: bool = False,
    root: Path | None = None,
) -> list[str]:
    """Write the student notebooks, and execute the solutions that are out of date.

    Args:
        check: write and execute nothing; find drift between sources and notebooks.
        execute: run stale solutions; without it only student notebooks are written.
        only: labs by number or name, such as ['01'] or ['01_hinton_kd']; default all.
        force: overwrite notebooks edited by hand, and execute all solutions.
        root: the course's folder; default the clone.

    Returns:
        One line per notebook.

    Raises:
        LabkitError: a defect in a source, an edited notebook, a failed execution; with `check`, all drift.
    """
    course = Course(root or _clone())
    paired = [(lab, _checks(lab)) for lab in map(source.read, course.sources(only))]
    faults = [line for lab, checks in paired for line in validate.problems(lab, checks)]
    if faults:
        raise LabkitError("\n".join(faults))
    if check:
        from .drift import drift

        found = [line for lab, checks in paired for line in drift(course, lab, checks)]
        if not only:
            found += _orphans(course)
        if found:
            raise LabkitError("\n".join([*found, "Run `labkit build` and commit what it writes."]))
        return [f"{lab.name}: source, student notebook and solution agree." for lab, _ in paired]
    report = [_write_student(course, lab, checks, force) for lab, checks in paired]
    if execute:
        from .solutions import write_solution

        report += [write_solution(course, lab, checks, force) for lab, checks in paired]
    return report


def _clone() -> Path:
    root = paths.clone()
    if root is None:
        raise MissingError("Building needs a clone of the course; this labkit was installed without one.")
    return root


def _checks(lab: Source) -> dict[str, Check]:
    return labs.checks(lab.lab)


def _write_student(course: Course, lab: Source, checks: dict[str, Check], force: bool) -> str:
    target = course.student(lab)
    new = dumps(assemble(lab, checks, course.address, solved=False))
    if target.is_file() and target.read_text(encoding="utf-8") == new:
        return f"notebooks/{target.name}: up to date."
    if not force:
        refuse_edited(target, lambda cell: cell.metadata.get("labkit", {}).get("kind") in EDITABLE)
    paths.write_atomic(target, new)
    return f"notebooks/{target.name}: written."


def refuse_edited(target: Path, guarded) -> None:
    """Stop if a guarded cell of an existing notebook no longer is what the build wrote.

    Raises:
        LabkitError: names the file and the cell.
    """
    if not target.is_file():
        return
    old = load(target)
    known = old.metadata.get("labkit", {}).get("cells")
    advice = f"Move the edit to solutions/{target.stem}.py, or overwrite it with `labkit build --force`."
    if not isinstance(known, dict):
        raise LabkitError(f"{target} was not written by `labkit build`. {advice}")
    for cell in old.cells:
        if guarded(cell) and known.get(cell.get("id")) != sha(cell.source):
            raise LabkitError(f"{target}: cell '{cell.get('id')}' was edited by hand. {advice}")


def _orphans(course: Course) -> list[str]:
    names = {path.stem for path in course.sources()}
    found = []
    for folder in ("notebooks", "solutions"):
        for path in sorted((course.root / folder).glob("*.ipynb")):
            if path.stem not in names:
                found.append(f"{folder}/{path.name}: has no source solutions/{path.stem}.py; delete it.")
    return found
