"""The student's copies: never overwritten, nothing lost in an update."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import threading

import nbformat
import pytest
from nbformat import v4

from labkit import paths
from labkit.course import build, open_lab, progress, record, update
from labkit.course.carry import carry_over
from labkit.course.ipynb import dumps, load
from labkit.errors import LabkitError, MissingError

NAME = "99_fixture.ipynb"


@pytest.fixture
def released(course, tmp_path, monkeypatch):
    """The built course as what ships, and a work folder of its own."""
    build(root=course, execute=False)
    monkeypatch.setattr(paths, "shipped", lambda kind: course / kind)
    monkeypatch.setattr(paths, "work", lambda: tmp_path / "work")
    return course


def answer(path, **sources):
    """Write into cells of a copy, by id with '_' for '-'."""
    notebook = load(path)
    for id, text in sources.items():
        next(cell for cell in notebook.cells if cell.id == id.replace("_", "-")[1:]).source = text
    path.write_text(dumps(notebook))


def source_of(path, id):
    return next(cell for cell in load(path).cells if cell.id == id).source


def new_release(course, old, new):
    file = course / "solutions" / "99_fixture.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    build(root=course, execute=False)


def test_open_makes_a_copy_once(released, tmp_path):
    path = open_lab(99)
    assert path == tmp_path / "work" / NAME
    assert path.read_bytes() == (released / "notebooks" / NAME).read_bytes()
    path.write_text("mine")
    assert open_lab("99").read_text() == "mine"
    assert os.listdir(tmp_path / "work") == [NAME]


def test_fresh_keeps_every_older_copy(released, tmp_path):
    for count in range(4):
        open_lab(99).write_text(f"mine {count}")
        path = open_lab(99, fresh=True)
        assert path.read_bytes() == (released / "notebooks" / NAME).read_bytes()
    kept = sorted(file.read_text() for file in (tmp_path / "work").iterdir() if file.name != NAME)
    assert kept == ["mine 0", "mine 1", "mine 2", "mine 3"]


def test_fresh_from_several_programs_at_once_loses_nothing(released, tmp_path):
    open_lab(99).write_text("mine")

    def again():
        with contextlib.suppress(LabkitError):  # another one was quicker
            open_lab(99, fresh=True)

    threads = [threading.Thread(target=again) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [file.read_text() for file in (tmp_path / "work").glob("*.ipynb")]
    assert "mine" in texts
    assert not list((tmp_path / "work").glob(".*.new"))


def test_fresh_without_a_copy_just_opens(released):
    assert open_lab(99, fresh=True).is_file()


@pytest.mark.parametrize("number", [7, "seven", "", -1, "9"])
def test_unknown_lab_is_one_sentence(released, number):
    with pytest.raises(LabkitError, match="Unknown lab"):
        open_lab(number)


def test_no_notebooks_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "shipped", lambda kind: tmp_path / "nothing")
    with pytest.raises(MissingError, match="There are no notebooks"):
        open_lab(1)


def test_unwritable_work_folder_is_one_sentence(released, tmp_path):
    (tmp_path / "work").write_text("a file")
    with pytest.raises(LabkitError, match="Can't write"):
        open_lab(99)


def test_update_carries_answers_and_own_cells(released, tmp_path):
    path = open_lab(99)
    answer(path, _99_soften_answer="def soften(z, t):\n    return mine", _99_why="Because.")
    notebook = load(path)
    at = [cell.id for cell in notebook.cells].index("99-soften-use")
    notebook.cells.insert(at + 1, v4.new_code_cell("my = 1", id="abc"))
    notebook.cells.insert(at + 2, v4.new_markdown_cell("my note", id="def"))
    notebook.cells.insert(0, v4.new_markdown_cell("on top", id="top"))
    notebook.metadata.kernelspec = {"name": "mykernel", "display_name": "Mine"}
    path.write_text(dumps(notebook))
    before = path.read_bytes()
    new_release(released, "# Two small exercises.", "# Two small exercises, revised.")
    (line,) = update(99)
    assert "updated with 2 answers and 3 own cells; the old copy is 99_fixture." in line
    merged = load(path)
    nbformat.validate(merged)
    ids = [cell.id for cell in merged.cells]
    assert ids[0] == "top"
    at = ids.index("99-soften-use")
    assert ids[at + 1 : at + 3] == ["abc", "def"]
    assert source_of(path, "99-why") == "Because."
    assert source_of(path, "99-soften-answer").endswith("return mine")
    assert "NotImplementedError" in source_of(path, "99-counter-answer")
    assert "revised" in merged.cells[1].source
    assert merged.metadata.kernelspec.name == "mykernel"
    (kept,) = [file for file in path.parent.iterdir() if file.name != NAME]
    assert kept.read_bytes() == before
    assert update() == [f"{NAME}: up to date."]


def test_update_keeps_answers_whose_exercise_has_gone(released, tmp_path):
    path = open_lab(99)
    answer(path, _99_counter_answer="class Counter: pass", _99_soften_answer="mine")
    text = (released / "notebooks" / NAME).read_text()
    smaller = load(released / "notebooks" / NAME)
    gone = ("99-counter", "99-counter-answer", "99-counter-use")
    smaller.cells = [cell for cell in smaller.cells if cell.id not in gone]
    smaller.metadata.labkit.cells = {
        cell.id: smaller.metadata.labkit.cells[cell.id] for cell in smaller.cells
    }
    (released / "notebooks" / NAME).write_text(dumps(smaller))
    update(99)
    merged = load(path)
    assert [cell.source for cell in merged.cells[-2:]] == [
        "## Your answers to exercises that are no longer part of this lab",
        "class Counter: pass",
    ]
    assert "nbgrader" not in merged.cells[-1].metadata
    (released / "notebooks" / NAME).write_text(text)  # and they stay through the next release
    update(99)
    assert [cell.source for cell in load(path).cells].count("class Counter: pass") == 1
    assert source_of(path, "99-soften-answer") == "mine"


def test_untouched_stub_gets_the_new_stub(released):
    path = open_lab(99)
    new_release(released, 'look="section 1, formula (1)"', 'look="section 1, formula (7)"')
    update(99)
    assert "formula (7)" in source_of(path, "99-soften-answer")


def test_edits_of_other_cells_survive_while_the_release_leaves_them_alone(released):
    path = open_lab(99)
    notebook = load(path)
    (cell,) = [cell for cell in notebook.cells if ".sum().item()" in cell.source]
    id, cell.source = cell.id, "my_prediction = 0.5"
    cell.outputs = [v4.new_output("stream", text="kept")]
    path.write_text(dumps(notebook))
    new_release(released, "# Two small exercises.", "# Two small exercises, revised.")
    update(99)
    (cell,) = [cell for cell in load(path).cells if cell.id == id]
    assert (cell.source, cell.outputs[0].text) == ("my_prediction = 0.5", "kept")


def test_deleted_cells_come_back_and_nothing_is_doubled(released):
    path = open_lab(99)
    answer(path, _99_why="Because.")
    notebook = load(path)
    notebook.cells = [cell for cell in notebook.cells if cell.id in ("99-why", "99-soften")]
    path.write_text(dumps(notebook))
    new_release(released, "# Two small exercises.", "# Two small exercises, revised.")
    update(99)
    fresh = load(released / "notebooks" / NAME)
    assert [cell.id for cell in load(path).cells] == [cell.id for cell in fresh.cells]
    assert source_of(path, "99-why") == "Because."


def test_answers_survive_editors_that_drop_or_move_ids(released):
    """Colab writes format 4.0 with ids in the metadata; others renumber the cells."""
    fresh = load(released / "notebooks" / NAME)
    for style in ("colab", "renumbered", "none"):
        old = copy.deepcopy(fresh)
        for number, cell in enumerate(old.cells):
            if style == "colab":
                cell.metadata.id = cell.id
            if style == "renumbered":
                cell.id = f"x{number}"
            else:
                del cell["id"]
            if cell.metadata.get("nbgrader", {}).get("grade_id") == "99-why":
                cell.source = "Because."
        new = copy.deepcopy(fresh)
        new.cells[0].source += " changed"
        merged, words = carry_over(old, new)
        assert [cell.id for cell in merged.cells] == [cell.id for cell in fresh.cells], style
        assert words == "1 answer"


def test_a_pasted_copy_of_an_exercise_is_kept_as_an_own_cell(released):
    old = load(released / "notebooks" / NAME)
    at = [cell.id for cell in old.cells].index("99-soften-answer")
    old.cells[at].source = "first"
    twin = copy.deepcopy(old.cells[at])
    twin.id, twin.source = "twin", "second try"
    old.cells.insert(at + 1, twin)
    merged, _ = carry_over(old, load(released / "notebooks" / NAME))
    sources = [cell.source for cell in merged.cells]
    assert sources[at : at + 2] == ["first", "second try"]
    assert "nbgrader" not in merged.cells[at + 1].metadata
    nbformat.validate(merged)


def test_own_cell_with_an_id_of_the_release_keeps_both(released):
    old, new = load(released / "notebooks" / NAME), load(released / "notebooks" / NAME)
    old.cells.append(v4.new_code_cell("mine", id="newcomer"))
    new.cells.append(v4.new_code_cell("theirs", id="newcomer"))
    merged, _ = carry_over(old, new)
    assert {"mine", "theirs"} <= {cell.source for cell in merged.cells}
    ids = [cell.id for cell in merged.cells]
    assert len(set(ids)) == len(ids)


BROKEN = [
    "",
    "{",
    "[]",
    '{"cells": 3}',
    '{"cells": [1], "nbformat": 4}',
    '{"cells": [], "nbformat": 3}',
    "\udcff",
]


@pytest.mark.parametrize("text", BROKEN)
def test_malformed_copy_is_one_sentence_and_is_left_alone(released, text):
    path = open_lab(99)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(LabkitError) as caught:
        update(99)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(path.parent) == [NAME]


def test_update_of_a_lab_that_was_not_opened(released):
    assert "not opened yet; `labkit lab 99` opens it" in update(99)[0]
    assert update() == []


def test_full_disk_during_an_update_keeps_the_copy(released, monkeypatch):
    path = open_lab(99)
    answer(path, _99_why="Because.")
    before = path.read_bytes()
    new_release(released, "# Two small exercises.", "# Two small exercises, revised.")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LabkitError, match="No space left on device"):
        update(99)
    assert path.read_bytes() == before


def test_progress_counts_points_from_the_notebook_and_the_file(released):
    record.add("99-soften", False, 2)
    record.add("99-soften", True, 2)
    record.add("99-bug", False, 1)
    (row,) = progress()
    assert (row.lab, row.title) == ("99", "99 · A fixture")
    assert (row.passed, row.checks, row.points, row.possible, row.attempts) == (1, 3, 2.0, 4.0, 3)


def test_progress_needs_no_torch(released, tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, pathlib; from labkit import paths; root = pathlib.Path(sys.argv[1])\n"
        "paths.shipped = lambda kind: root / kind\n"
        "from labkit.course import open_lab, progress, update; progress(); open_lab; update\n"
        "print([name for name in ('torch', 'nbformat', 'jupytext') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(released)], capture_output=True, text=True, timeout=60
    )
    assert run.stdout.strip() == "[]", run.stderr
    assert json.loads((released / "notebooks" / NAME).read_text())["nbformat"] == 4
