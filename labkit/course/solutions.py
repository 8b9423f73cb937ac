"""Executed solution notebooks: run when stale, outputs normalised, hashes of what they came from stored."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.notebooknode import NotebookNode

from .. import paths
from ..errors import LabkitError
from . import kernel
from .builder import Course, refuse_edited
from .checks import Check
from .ipynb import dumps, load
from .notebooks import assemble
from .outputs import normalise
from .source import Source, digest
from .verdict import PASSED

LARGEST = 500_000  # bytes of one solution notebook
CELL_SECONDS = 600
_PACKAGE = Path(__file__).resolve().parents[1]
_MODULES = """\
import json, sys
print(json.dumps([m.__file__ for n, m in list(sys.modules.items())
    if n.split(".")[0] == "labkit" and getattr(m, "__file__", None)]))"""


def write_solution(course: Course, lab: Source, checks: dict[str, Check], force: bool) -> str:
    """Execute the solution of a lab if it is stale (or forced) and write its notebook."""
    target = course.solution(lab)
    fresh = assemble(lab, checks, course.address, solved=True)
    if not force:
        if target.is_file() and not stale(load(target), fresh, lab):
            return f"solutions/{target.name}: up to date."
        refuse_edited(target, lambda cell: cell.cell_type == "code")
    notebook, modules = execute(lab, fresh)
    notebook.metadata.labkit.update(source=lab.digest, modules=hashes(modules, lab.lab))
    write(target, notebook)
    return f"solutions/{target.name}: executed."


def write(target: Path, notebook: NotebookNode) -> None:
    """Write an executed notebook.

    Raises:
        LabkitError: it is larger than 0.5 MB, or can't be written.
    """
    nbformat.validate(notebook)
    text = dumps(notebook)
    size = len(text.encode())
    if size > LARGEST:
        raise LabkitError(
            f"{target.name} would have {size / 1e6:.2f} MB of at most 0.5: show less, or smaller."
        )
    paths.write_atomic(target, text)


def stale(old: NotebookNode, fresh: NotebookNode, lab: Source) -> list[str]:
    """Reasons why a solution notebook must be executed again; empty when it is current."""
    about = old.metadata.get("labkit", {})
    reasons = []
    if about.get("source") != lab.digest:
        reasons.append(f"{lab.shown} has changed since it was executed")
    if cells(old) != cells(fresh):
        reasons.append("its cells differ from the source")
    recorded = about.get("modules", {})
    now = {name: _hash(_PACKAGE.parent / name) for name in recorded}
    changed = sorted(name for name in recorded if recorded[name] != now[name])
    if changed or not recorded:
        what = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        reasons.append(f"executed with older code: {what or 'unknown'}")
    return reasons


def cells(notebook: NotebookNode) -> list[tuple]:
    """What must agree with the source: everything but the outputs."""
    return [
        (cell.get("id"), cell.cell_type, cell.source, json.dumps(cell.metadata, sort_keys=True))
        for cell in notebook.cells
    ]


def execute(lab: Source, notebook: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """Run a solution top to bottom and normalise its outputs.

    Returns:
        the notebook, and the files of the labkit modules its kernel had loaded at the end.

    Raises:
        LabkitError: a cell raised, took too long, killed the kernel, or a check did not pass.
    """
    running = 0

    def remember(cell: NotebookNode, cell_index: int) -> None:
        nonlocal running
        running = cell_index

    metadata = nbformat.from_dict(json.loads(json.dumps(notebook.metadata)))
    notebook.cells.append(nbformat.v4.new_code_cell(_MODULES, id="labkit-modules"))
    with tempfile.TemporaryDirectory(prefix="labkit-build-") as folder:
        results = Path(folder) / ".results.jsonl"
        env = {
            "LABKIT_PROFILE": "cpu",
            "LABKIT_QUIET": "1",
            "LABKIT_PROGRESS": str(Path(folder) / ".progress.json"),
            "LABKIT_RESULTS": str(results),
            "PYTHONHASHSEED": "0",
            "NBGRADER_EXECUTION": "",
        }
        try:
            kernel.run(notebook, Path(folder), env, CELL_SECONDS, on_cell=remember)
        except CellExecutionError as error:
            raise _failed(lab, running, f"raised {error.ename}: {error.evalue}") from None
        except CellTimeoutError:
            raise _failed(lab, running, f"ran longer than {CELL_SECONDS} s") from None
        except DeadKernelError:
            raise _failed(lab, running, "killed its kernel (out of memory?)") from None
        _refuse_failures(lab, results)
    modules = json.loads(notebook.cells.pop().outputs[0].text)
    notebook.metadata = metadata  # nbclient notes this machine's Python version
    try:
        normalise(notebook)
    except LabkitError as error:
        raise LabkitError(f"{lab.shown}: {error}") from None
    return notebook, modules


def _failed(lab: Source, index: int, what: str) -> LabkitError:
    # the bootstrap cell stands second in the notebook and nowhere in the source
    place = lab.cells[min(max(index - 1, 0), len(lab.cells) - 1)]
    return LabkitError(f"{lab.shown}:{place.line}: {place.label} {what}.")


def _refuse_failures(lab: Source, results: Path) -> None:
    text = results.read_text(encoding="utf-8") if results.is_file() else ""
    for row in map(json.loads, text.splitlines()):
        if row["status"] != PASSED:
            raise LabkitError(
                f"{lab.shown}: the solution of '{row['id']}' does not pass its check: {row['message']}"
            )


def hashes(modules: list[str], lab: str) -> dict[str, str]:
    """sha256 of each module file by its path below the package's parent, and of the presets the lab reads."""
    presets = (_PACKAGE / "presets" / name for name in ("profiles.yaml", f"lab{lab}.yaml"))
    files = {Path(name).resolve() for name in modules} | {path for path in presets if path.is_file()}
    inside = sorted(path for path in files if path.is_relative_to(_PACKAGE))
    return {path.relative_to(_PACKAGE.parent).as_posix(): _hash(path) for path in inside}


def _hash(path: Path) -> str:
    return digest(path.read_text(encoding="utf-8")) if path.is_file() else ""
