"""`run_checks` and `run_notebook`: everything that can be wrong with a notebook is a finding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nbformat import v4

from labkit.course import build, run_checks, run_notebook
from labkit.course.carry import carry_over
from labkit.course.ipynb import dumps, load
from labkit.errors import LabkitError


@pytest.fixture
def path(course) -> Path:
    """A built student notebook."""
    build(root=course, execute=False)
    return course / "notebooks" / "99_fixture.ipynb"


def write(path: Path, **sources: str) -> Path:
    notebook = load(path)
    for cell in notebook.cells:
        name = cell.id.replace("-", "_")
        if f"_{name}" in sources:
            cell.source = sources[f"_{name}"]
    path.write_text(dumps(notebook))
    return path


def status(rows) -> dict[str, str]:
    return {row.id: row.status for row in rows}


SOFT = "import torch\ndef soften(logits, temperature):\n    return {}\n"


@pytest.mark.slow
def test_mixture_of_answers(path, tmp_path):
    write(
        path,
        _99_soften_answer=SOFT.format("(logits * temperature).softmax(1)"),
        _99_bug_answer="bug_line = 4",
    )
    notebook = load(path)
    notebook.cells.insert(3, v4.new_code_cell(f"open({str(tmp_path / 'ran')!r}, 'w')", id="mine"))
    path.write_text(dumps(notebook))
    before = path.read_bytes()
    rows = run_checks([path])
    assert status(rows) == {"99-soften": "failed", "99-counter": "not yet", "99-bug": "passed"}
    first, last = rows[0], rows[2]
    assert (first.notebook, first.title) == ("99_fixture.ipynb", "softmax at a temperature")
    assert (first.points, first.possible, first.hint) == (0, 2, "Multiplying sharpens; `divide`.")
    assert (last.points, last.passed) == (1, True)
    assert not (tmp_path / "ran").exists()  # only what the checks need is run
    assert path.read_bytes() == before
    attempts = json.loads((tmp_path / "progress.json").read_text())["checks"]  # as in the notebook
    assert {id: row["attempts"] for id, row in attempts.items()} == {"99-soften": 1, "99-bug": 1}


@pytest.mark.slow
def test_syntax_error_dead_kernel_and_endless_loop_are_findings(path, tmp_path):
    crash = write(path, _99_soften_answer="def soften(:", _99_counter_answer="import os; os._exit(3)")
    rows = run_checks([crash, tmp_path / "missing.ipynb"], timeout=20)
    assert [row.status for row in rows] == ["broken", "not run", "not run", "not run", "broken"]
    assert "Cell '99-counter-answer' killed the Python kernel" in rows[0].message
    assert "Cell '99-soften-answer' raised SyntaxError" in rows[1].message
    assert "There is no notebook" in rows[-1].message
    for row in rows:
        assert "\n" not in row.message
        assert row.message.endswith(".")


@pytest.mark.slow
def test_endless_loop_is_stopped_and_the_others_go_on(path):
    write(path, _99_soften_answer="while True: pass", _99_bug_answer="bug_line = 4")
    rows = run_checks([path], timeout=3)
    found = status(rows)
    assert found["99-soften"] == "not run"
    assert found["99-bug"] == "passed"
    assert rows[0].message == "Cell '99-soften-answer' ran longer than 3 s and was stopped."


def test_broken_setup_is_one_row_above_the_checks(path):
    notebook = load(path)
    next(
        c for c in notebook.cells if "setup" in c.metadata.get("tags", [])
    ).source = "import nothing_like_this"
    path.write_text(dumps(notebook))
    rows = run_checks([path])
    assert rows[0].status == "broken"
    assert "ModuleNotFoundError: No module named 'nothing_like_this'" in rows[0].message
    assert {row.status for row in rows[1:]} == {"not run"}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"cells": [], "nbformat": 4, "metadata": {}}', "\x00"])
def test_not_a_notebook_is_a_finding(tmp_path, text):
    file = tmp_path / "x.ipynb"
    file.write_text(text)
    (row,) = run_checks([file])
    assert (row.status, row.id) == ("broken", "")
    assert str(file) in row.message
    assert "\n" not in row.message
    assert run_checks([tmp_path])[0].status == "broken"


RUBBISH = [
    {"labkit": 3, "nbgrader": [], "tags": "setup"},
    {"nbgrader": {"grade_id": 3, "points": "many"}},
    {"labkit": {"kind": ["check"]}, "nbgrader": {"grade_id": "99-soften", "points": None}},
    {"labkit": {"kind": "check"}, "id": 7},
]


@pytest.mark.parametrize("metadata", RUBBISH)
def test_rubbish_in_the_metadata_is_no_traceback(path, metadata):
    fresh = load(path)
    content = json.loads(path.read_text())
    content["cells"] = [{**cell, "metadata": metadata} for cell in content["cells"][:2]]
    content["metadata"]["labkit"] = {"cells": 3}
    path.write_text(json.dumps(content))
    for row in run_checks([path]):
        assert row.status in ("broken", "not run")
    carry_over(load(path), fresh)


@pytest.mark.parametrize(
    "cell", [{}, {"cell_type": "code"}, {"cell_type": "x", "source": "", "metadata": {}}, None]
)
def test_rubbish_for_a_cell_is_one_sentence(path, cell):
    content = json.loads(path.read_text())
    content["cells"].append(cell)
    path.write_text(json.dumps(content))
    (row,) = run_checks([path])
    assert "is not a notebook that can be read" in row.message


@pytest.mark.slow
def test_untouched_notebook_runs_to_its_end_with_visible_notes(path, tmp_path):
    before = path.read_bytes()
    done = {cell.id: cell for cell in run_notebook(path).cells}
    assert "○ To do" in done["99-soften"].outputs[0].data["text/plain"]
    assert "the reference for 99-soften" in done["99-soften-use"].outputs[0].data["text/plain"]
    assert path.read_bytes() == before
    assert not (tmp_path / "progress.json").exists()


@pytest.mark.slow
def test_a_cell_that_raises_is_named(path):
    write(path, _99_bug_answer="1 / 0")
    with pytest.raises(LabkitError, match="Cell '99-bug-answer' raised ZeroDivisionError: division by zero"):
        run_notebook(path)
