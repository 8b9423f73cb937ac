"""What nbgrader itself thinks of the notebooks (skipped where it isn't installed)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from labkit.course import build, labs, source
from labkit.course.ipynb import load
from labkit.course.notebooks import assemble

nbgrader = pytest.importorskip("nbgrader")


@pytest.fixture
def notebooks(course):
    """Student and solved notebook of the fixture, not executed."""
    build(root=course, execute=False)
    lab = source.read(course / "solutions" / "99_fixture.py")
    solved = assemble(lab, labs.checks(99), "https://github.com/someone/labkit", solved=True)
    return load(course / "notebooks" / "99_fixture.ipynb"), solved


def test_metadata_satisfies_its_schema(notebooks):
    from nbgrader.nbgraderformat import MetadataValidator
    from nbgrader.preprocessors import CheckCellMetadata

    for notebook in notebooks:
        MetadataValidator().validate_nb(notebook)
        CheckCellMetadata().preprocess(notebook, {})


def test_kinds_of_cells_are_what_nbgrader_takes_them_for(notebooks):
    from nbgrader import utils

    student, _ = notebooks
    cells = {cell.id: cell for cell in student.cells}
    assert [id for id, cell in cells.items() if utils.is_grade(cell)] == [
        "99-soften",
        "99-counter",
        "99-bug",
        "99-why",
    ]
    assert [id for id, cell in cells.items() if utils.is_solution(cell)] == [
        "99-soften-answer",
        "99-counter-answer",
        "99-bug-answer",
        "99-why",
    ]
    assert {id for id, cell in cells.items() if utils.is_locked(cell)} >= {"99-soften", "99-why-question"}


def test_its_release_of_the_solved_notebook_hides_every_solution(notebooks):
    from nbgrader.preprocessors import ClearSolutions, ComputeChecksums, LockCells

    notebook = notebooks[1]
    for step in (LockCells, ClearSolutions, ComputeChecksums):
        notebook, _ = step().preprocess(notebook, {})
    text = "\n".join(cell.source for cell in notebook.cells)
    for hidden in ("softmax(dim", "self.value = start", "bug_line = 4", "gradients shrink", "SOLUTION"):
        assert hidden not in text


def test_its_score_of_a_check_cell_is_our_float(notebooks, lab, monkeypatch):
    from nbformat import v4
    from nbgrader import utils

    import labkit

    student, _ = notebooks
    cell = next(cell for cell in student.cells if cell.id == "99-soften")
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    for answer, points in ((lab.soften, 2), (lambda z, t: z, 0)):
        value = labkit.check("99-soften", answer)
        cell.outputs = [v4.new_output("execute_result", {"text/plain": repr(value)}, execution_count=1)]
        assert utils.determine_grade(cell) == (points, 2)


@pytest.mark.slow
def test_generate_assignment_accepts_the_notebook(notebooks, tmp_path, monkeypatch):
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    from labkit.course.ipynb import dumps

    folder = tmp_path / "grading" / "source" / "lab99"
    folder.mkdir(parents=True)
    (folder / "99_fixture.ipynb").write_text(dumps(notebooks[1]))
    config = Config()
    config.CourseDirectory.root = str(tmp_path / "grading")
    config.CourseDirectory.db_url = f"sqlite:///{tmp_path / 'grading' / 'gradebook.db'}"
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    # nbgrader calls `alembic` by name
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    result = NbGraderAPI(config=config).generate_assignment("lab99")
    assert result["success"], result["log"]
    released = load(tmp_path / "grading" / "release" / "lab99" / "99_fixture.ipynb")
    assert [cell.id for cell in released.cells] == [cell.id for cell in notebooks[0].cells]
