"""Checks without a browser: run what a notebook's checks need in a fresh kernel and collect the outcomes.

Whatever is wrong with a notebook is a row of the table, never a traceback.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.notebooknode import NotebookNode

from ..errors import LabkitError
from . import kernel
from .carry import key
from .ipynb import load

_NEEDED = ("exercise", "check", "answer")
NOT_RUN, BROKEN = "not run", "broken"


@dataclass(frozen=True)
class Row:
    """One check of one notebook; `status` is 'passed', 'failed', 'not yet', 'not run' or 'broken'."""

    notebook: str
    id: str
    title: str
    status: str
    points: float = 0.0
    possible: float = 0.0
    message: str = ""
    hint: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"


def run_checks(paths: Iterable[str | Path], timeout: float = 120) -> list[Row]:
    """Run the checks of notebooks, each in its own kernel.

    Only cells tagged 'setup', exercise, check and answer cells are executed, so it takes seconds.

    Args:
        paths: notebooks.
        timeout: seconds for one cell.

    Returns:
        a row per check, in the notebook's order. A notebook that can't be read is one row with status
        'broken' and an empty id; so is a failing set-up or a kernel that dies, above the checks it stopped.
    """
    rows: list[Row] = []
    for path in map(Path, paths):
        try:
            rows.extend(_one(load(path), path, timeout))
        except LabkitError as error:
            rows.append(Row(path.name, "", "", BROKEN, message=str(error)))
    return rows


def _one(notebook: NotebookNode, path: Path, timeout: float) -> list[Row]:
    short = copy.deepcopy(notebook)
    short.cells = [_plain(cell) for cell in notebook.cells if _wanted(cell)]
    checks = [cell for cell in short.cells if _kind(cell) == "check"]
    if not checks:
        return [Row(path.name, "", "", BROKEN, message=f"{path} has no check cells: is it a lab's notebook?")]
    with tempfile.TemporaryDirectory(prefix="labkit-check-") as scratch:
        results = Path(scratch) / "results.jsonl"
        env = {"LABKIT_RESULTS": str(results), "LABKIT_QUIET": "1", "NBGRADER_EXECUTION": ""}
        fault = _run(short, path.parent, env, timeout)
        lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    found = {row["id"]: row for row in map(json.loads, lines)}
    reasons = _errors(short, timeout)
    rows = [_row(cell, path.name, found.get(key(cell)), reasons.get(key(cell)) or fault) for cell in checks]
    general = fault or reasons.get("")
    return [Row(path.name, "", "", BROKEN, message=general), *rows] if general else rows


def _run(notebook: NotebookNode, folder: Path, env: dict[str, str], timeout: float) -> str:
    """Execute, and say in one sentence what stopped the kernel; '' if nothing did."""
    running = ""

    def remember(cell: NotebookNode, cell_index: int) -> None:
        nonlocal running
        running = key(cell) or f"number {cell_index + 1}"

    try:
        kernel.run(notebook, folder, env, timeout, keep_going=True, on_cell=remember)
    except CellTimeoutError:
        return f"Cell '{running}' ran longer than {timeout:g} s and was stopped."
    except DeadKernelError:
        return f"Cell '{running}' killed the Python kernel (out of memory, or a call of exit)."
    except (RuntimeError, OSError) as error:
        return f"The Python kernel did not start: {error}."
    return ""


def _errors(notebook: NotebookNode, timeout: float) -> dict[str, str]:
    """What went wrong in each cell, filed under the check it belongs to ('' for set-up cells)."""
    found: dict[str, str] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                text = " ".join(f"raised {output.ename}: {output.evalue}".split())
                if output.ename == "KeyboardInterrupt":
                    text = f"ran longer than {timeout:g} s and was stopped"
                name = key(cell).removesuffix("-answer").removesuffix("-use") if _kind(cell) else ""
                found.setdefault(name, f"Cell '{key(cell)}' {text[:300].rstrip('.:')}.")
    return found


def _row(cell: NotebookNode, name: str, result: dict | None, reason: str) -> Row:
    id = key(cell)
    possible = float(cell.metadata.get("nbgrader", {}).get("points", 0))
    if result is None:
        why = reason or "The check did not run: is its cell complete?"
        return Row(name, id, "", NOT_RUN, possible=possible, message=why)
    fields = {part: result[part] for part in ("title", "status", "points", "possible", "message", "hint")}
    return Row(name, id, **fields)


def _kind(cell: NotebookNode) -> str:
    return cell.metadata.get("labkit", {}).get("kind", "")


def _wanted(cell: NotebookNode) -> bool:
    setup = "setup" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and (setup or _kind(cell) in _NEEDED)


def _plain(cell: NotebookNode) -> NotebookNode:
    """The cell without stored outputs, which would be taken for this run's."""
    plain = copy.deepcopy(cell)
    plain.outputs, plain.execution_count = [], None
    return plain


def run_notebook(path: str | Path, timeout: float = 300) -> NotebookNode:
    """Run a whole notebook top to bottom in a fresh kernel, in a temporary folder; the file is not changed.

    Raises:
        LabkitError: it can't be read, a cell raised or took too long, or the kernel died.
    """
    path = Path(path)
    notebook = load(path)
    notebook.cells = [_plain(cell) if cell.cell_type == "code" else cell for cell in notebook.cells]
    with tempfile.TemporaryDirectory(prefix="labkit-run-") as folder:
        env = {"LABKIT_QUIET": "1", "LABKIT_PROGRESS": str(Path(folder) / ".progress.json")}
        fault = _run(notebook, Path(folder), env, timeout)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                fault = f"Cell '{key(cell)}' raised {output.ename}: {' '.join(output.evalue.split())[:300]}."
                raise LabkitError(f"{path}: {fault}")
    if fault:
        raise LabkitError(f"{path}: {fault}")
    nbformat.validate(notebook)
    return notebook
