"""Building: student notebooks, executed solutions, drift, and edits that are not overwritten."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from labkit import paths
from labkit.course import bootstrap, build, drift, solutions, stubs
from labkit.course.ipynb import load
from labkit.course.source import read
from labkit.errors import LabkitError, MissingError

NAME = "99_fixture"


@pytest.fixture(scope="module")
def built(tmp_path_factory, lab) -> Path:
    """A course that has been built and executed once; copy it before changing it."""
    root = tmp_path_factory.mktemp("built")
    fixture = Path(__file__).parent / "fixture"
    (root / "solutions").mkdir()
    shutil.copy(fixture / f"{NAME}.py", root / "solutions")
    (root / "pyproject.toml").write_text('[tool.labkit]\nrepository = "https://github.com/someone/labkit"\n')
    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(fixture)
    try:
        build(root=root)
    finally:
        os.environ.pop("PYTHONPATH") if old is None else os.environ.update(PYTHONPATH=old)
    return root


@pytest.fixture
def copied(built, tmp_path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copied"))


def student(root: Path) -> Path:
    return root / "notebooks" / f"{NAME}.ipynb"


def solution(root: Path) -> Path:
    return root / "solutions" / f"{NAME}.ipynb"


def source(root: Path) -> Path:
    return root / "solutions" / f"{NAME}.py"


def cells(path: Path) -> dict:
    return {cell.id: cell for cell in load(path).cells}


def edit(path: Path, id: str, text: str) -> None:
    notebook = load(path)
    next(cell for cell in notebook.cells if cell.id == id).source = text
    path.write_text(nbformat.writes(notebook))


@pytest.mark.slow
def test_student_notebook_has_stubs_and_no_solution(built):
    text = student(built).read_text()
    for hidden in ("SOLUTION", "softmax(dim", "self.value", "bug_line = 4", "gradients shrink"):
        assert hidden not in text
    made = cells(student(built))
    lines = made["99-soften-answer"].source.splitlines()
    assert lines[0] == "# TODO 99-soften · 2 points · ~5 min · difficulty ●○○○○"
    stub = "TODO 99-soften: softmax at a temperature. Look at section 1, formula (1)."
    assert lines[-1] == f'    raise NotImplementedError("{stub}")'
    both = made["99-counter-answer"].source
    assert (
        both.count(
            '        raise NotImplementedError("TODO 99-counter: a counter. Look at the section above.")'
        )
        == 2
    )
    assert made["99-bug-answer"].source.endswith("\nbug_line = None")
    assert made["99-why"].source == "*Write your answer here.*"


@pytest.mark.slow
def test_metadata_says_what_each_cell_is(built):
    made = cells(student(built))

    def flags(id: str) -> tuple:
        grader = made[id].metadata.nbgrader
        assert (grader.schema_version, grader.grade_id, grader.task) == (3, id, False)
        return grader.grade, grader.solution, grader.locked, grader.get("points")

    assert flags("99-soften-answer") == (False, True, False, None)
    assert flags("99-soften") == (True, False, True, 2)
    assert flags("99-soften-use") == (False, False, True, None)
    assert flags("99-why-question") == (False, False, True, None)
    assert flags("99-why") == (True, True, False, 2)
    facts = {"kind": "exercise", "points": 2, "minutes": 5, "difficulty": 1}
    assert made["99-soften-answer"].metadata.labkit == facts
    assert [cell.id for cell in made.values() if cell.metadata.get("tags") == ["setup"]]
    assert [cell.id for cell in made.values() if cell.metadata.get("tags") == ["nbval-check-output"]]
    others = [c for c in made.values() if not c.id.startswith("99-")]
    assert all("nbgrader" not in cell.metadata for cell in others)


@pytest.mark.slow
def test_notebooks_are_valid_4_5_with_unique_ids(built):
    for path in (student(built), solution(built)):
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
        assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
        ids = [cell.id for cell in notebook.cells]
        assert len(set(ids)) == len(ids)
        assert notebook.metadata.language_info == {
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
        }


def test_ids_do_not_depend_on_position(copied):
    before = set(cells(student(copied)))
    text = source(copied).read_text()
    at = text.index("# %% [markdown]\n# ## Section 1")
    source(copied).write_text(text[:at] + "# %% [markdown]\n# A new paragraph.\n\n" + text[at:])
    build(root=copied, execute=False)
    after = set(cells(student(copied)))
    assert before < after
    assert len(after) == len(before) + 1


@pytest.mark.slow
def test_student_build_is_reproducible_in_another_process(built, tmp_path):
    other = Path(shutil.copytree(built, tmp_path / "other"))
    student(other).unlink()
    code = "import fixture_lab, pathlib, sys; from labkit.course import build\n"
    code += "build(execute=False, root=pathlib.Path(sys.argv[1]))"
    env = {**os.environ, "PYTHONHASHSEED": "77", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(other)], check=True, env=env, timeout=60)
    assert student(other).read_bytes() == student(built).read_bytes()


@pytest.mark.slow
def test_windows_line_ends_change_nothing(copied):
    before = student(copied).read_bytes()
    source(copied).write_bytes(source(copied).read_bytes().replace(b"\n", b"\r\n"))
    build(root=copied, execute=False, force=True)
    assert student(copied).read_bytes() == before
    assert build(root=copied, check=True)


def test_solution_is_executed_and_keeps_its_markers(built):
    made = cells(solution(built))
    assert "    # BEGIN SOLUTION\n" in made["99-soften-answer"].source
    codes = [cell for cell in made.values() if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    for id in ("99-soften", "99-counter", "99-bug"):
        (output,) = made[id].outputs
        assert output.output_type == "display_data"
        assert "✓ Passed" in output.data["text/plain"]
    assert made["99-soften-use"].outputs == []
    assert made["99-why"].source.startswith("The gradients shrink")
    about = load(solution(built)).metadata.labkit
    assert "labkit/course/verdict.py" in about.modules
    assert not any("builder" in name or "fixture" in name for name in about.modules)


@pytest.mark.slow
def test_two_executions_give_the_same_bytes(copied):
    before = solution(copied).read_bytes()
    assert "executed" in build(root=copied, force=True)[-1]
    assert solution(copied).read_bytes() == before


def test_nothing_is_done_when_all_is_current(built):
    stamps = student(built).stat().st_mtime_ns, solution(built).stat().st_mtime_ns
    assert build(root=built) == [
        f"notebooks/{NAME}.ipynb: up to date.",
        f"solutions/{NAME}.ipynb: up to date.",
    ]
    assert (student(built).stat().st_mtime_ns, solution(built).stat().st_mtime_ns) == stamps


def test_check_is_fast_and_silent_when_all_agrees(built):
    start = time.perf_counter()
    assert build(root=built, check=True) == [f"{NAME}: source, student notebook and solution agree."]
    assert time.perf_counter() - start < 5


def drifts(root: Path) -> str:
    with pytest.raises(LabkitError) as caught:
        build(root=root, check=True)
    return str(caught.value)


def test_check_finds_every_drift_at_once(copied):
    edit(student(copied), "99-soften-answer", "# mine")
    edit(solution(copied), "99-counter-use", "Counter = None")
    source(copied).write_text(source(copied).read_text().replace("Two small", "Three small"))
    (copied / "notebooks" / "98_gone.ipynb").write_text("{}")
    found = drifts(copied)
    assert f"notebooks/{NAME}.ipynb: differs from solutions/{NAME}.py, first in cell" in found
    assert f"solutions/{NAME}.ipynb: solutions/{NAME}.py has changed since it was executed" in found
    assert f"solutions/{NAME}.ipynb: its cells differ from the source" in found
    assert "notebooks/98_gone.ipynb: has no source" in found
    assert "labkit build" in found


def test_check_finds_missing_broken_unrun_and_stale_notebooks(copied, monkeypatch):
    student(copied).unlink()
    notebook = load(solution(copied))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code[3].execution_count = None
    notebook.metadata.labkit.modules["labkit/course/verdict.py"] = "0" * 64
    notebook.metadata.labkit.modules["labkit/gone.py"] = "0" * 64
    solution(copied).write_text(nbformat.writes(notebook))
    found = drifts(copied)
    assert f"notebooks/{NAME}.ipynb: missing." in found
    assert "was not executed top to bottom" in found
    assert "executed with older code: labkit/course/verdict.py, labkit/gone.py" in found
    monkeypatch.setattr(drift, "LARGEST", 100)
    assert "larger than 0.5 MB" in drifts(copied)
    solution(copied).write_text("{")
    assert "is not a notebook that can be read" in drifts(copied)
    solution(copied).unlink()
    assert f"solutions/{NAME}.ipynb: missing." in drifts(copied)


def test_outputs_alone_are_no_drift(copied):
    notebook = load(solution(copied))
    next(cell for cell in notebook.cells if cell.id == "99-soften").outputs = []
    solution(copied).write_text(nbformat.writes(notebook))
    assert build(root=copied, check=True)


def test_edited_answers_are_not_overwritten(copied):
    edit(student(copied), "99-why", "My own words")
    source(copied).write_text(source(copied).read_text().replace("Two small", "Three small"))
    with pytest.raises(LabkitError, match=r"cell '99-why' was edited by hand.*labkit build --force"):
        build(root=copied, execute=False)
    assert cells(student(copied))["99-why"].source == "My own words"
    build(root=copied, execute=False, force=True)
    assert cells(student(copied))["99-why"].source == "*Write your answer here.*"


def test_edited_solution_code_is_not_overwritten(copied):
    edit(solution(copied), "99-counter-use", "Counter = None")
    with pytest.raises(LabkitError, match="cell '99-counter-use' was edited by hand"):
        build(root=copied)


def test_a_notebook_of_someone_else_is_not_overwritten(copied):
    student(copied).write_text(nbformat.writes(nbformat.v4.new_notebook()))
    with pytest.raises(LabkitError, match="was not written by `labkit build`"):
        build(root=copied, execute=False)


def test_edited_text_of_a_student_notebook_is_restored(copied):
    notebook = load(student(copied))
    notebook.cells[0].source = "# Another title"
    student(copied).write_text(nbformat.writes(notebook))
    build(root=copied, execute=False)
    assert build(root=copied, check=True)


def replace_in_source(root: Path, old: str, new: str) -> None:
    text = source(root).read_text()
    assert old in text
    source(root).write_text(text.replace(old, new))


FAILING = [
    (
        "assert counter.value == 3",
        "assert counter.value == 4",
        r"99_fixture.py:\d+: code cell raised AssertionError",
    ),
    ("bug_line = 4", "bug_line = 5", "the solution of '99-bug' does not pass its check"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "words"), FAILING)
def test_failing_execution_is_one_sentence_and_writes_nothing(copied, old, new, words):
    before = solution(copied).read_bytes()
    replace_in_source(copied, old, new)
    with pytest.raises(LabkitError, match=words) as caught:
        build(root=copied)
    assert "\n" not in str(caught.value)
    assert solution(copied).read_bytes() == before


def test_too_large_a_solution_is_refused(copied):
    notebook = load(solution(copied))
    notebook.cells[0].source += "x" * solutions.LARGEST
    with pytest.raises(LabkitError, match=r"0\.5\d MB of at most 0\.5: show less"):
        solutions.write(copied / "solutions" / "98_new.ipynb", notebook)
    assert not (copied / "solutions" / "98_new.ipynb").exists()


def test_defective_sources_stop_before_anything_is_written(copied):
    replace_in_source(copied, "    # END SOLUTION\n\n\n", "\n\n\n")
    before = student(copied).read_bytes()
    with pytest.raises(LabkitError, match="without END SOLUTION"):
        build(root=copied)
    assert student(copied).read_bytes() == before


def test_only_chooses_labs_by_number_or_name(built):
    for name in ("99", NAME, f"solutions/{NAME}.py"):
        assert len(build(root=built, execute=False, only=[name])) == 1
    with pytest.raises(LabkitError, match="Unknown lab '7'"):
        build(root=built, only=["7"])


def test_building_without_a_clone_says_so(monkeypatch):
    monkeypatch.setattr(paths, "clone", lambda: None)
    with pytest.raises(MissingError, match="needs a clone"):
        build()


def test_prompt_gives_the_student_code_to_mend(copied):
    replace_in_source(
        copied,
        "    return (logits / temperature).softmax(dim=1)\n    # END SOLUTION\n",
        "    return (logits / temperature).softmax(dim=1)\n    # END SOLUTION\n    # BEGIN PROMPT\n"
        "    # rows = logits * temperature\n    # return rows.softmax(dim=1)\n    # END PROMPT\n",
    )
    build(root=copied, execute=False)
    text = cells(student(copied))["99-soften-answer"].source
    assert text.endswith("    rows = logits * temperature\n    return rows.softmax(dim=1)")
    assert "PROMPT" not in text
    assert "NotImplementedError" not in text
    solved = stubs.keep(read(source(copied)).of("exercise")[0])
    end = "    # BEGIN SOLUTION\n    return (logits / temperature).softmax(dim=1)\n    # END SOLUTION"
    assert solved.endswith(end)


def test_repository_setting(tmp_path):
    with pytest.raises(LabkitError, match="must say where the course lives"):
        bootstrap.repository(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.labkit]\nrepository = "git@x"\n')
    with pytest.raises(LabkitError, match="must be an https address"):
        bootstrap.repository(tmp_path)
    assert bootstrap.badge("https://example.org/course", "01_x") == ""
    link = bootstrap.badge("https://github.com/a/b.git", "01_x")
    assert link.endswith("/github/a/b/blob/main/notebooks/01_x.ipynb)")


_FIRST_CELL = """
import subprocess, sys
from importlib import metadata, util
real = util.find_spec
util.find_spec = lambda name, *a: None if name in {missing!r} else real(name, *a)
metadata.version = lambda name: "1.2+cu1"
subprocess.run = lambda argv, check: print(argv[1:])
"""


@pytest.mark.parametrize("missing", [(), ("labkit",), ("labkit", "torchvision")])
@pytest.mark.parametrize("near", ["", 'name = "labkit"', 'name = "other"'])
def test_first_cell_installs_only_what_is_missing(tmp_path, missing, near):
    cell = bootstrap.cell("https://example.org/course")
    assert len(cell.splitlines()) <= 12
    (tmp_path / "notebooks").mkdir()
    if near:
        (tmp_path / "pyproject.toml").write_text(near)
    code = _FIRST_CELL.format(missing=missing) + cell
    run = {"cwd": tmp_path / "notebooks", "capture_output": True, "text": True, "timeout": 30}
    done = subprocess.run([sys.executable, "-c", code], **run)
    assert done.returncode == 0, done.stderr
    if not missing:
        assert done.stdout == ""
        return
    place = ".." if "labkit" in near else "git+https://example.org/course"
    pins = [f"{name}==1.2+cu1" for name in ("torch", "torchvision", "numpy") if name not in missing]
    assert json.loads(done.stdout.replace("'", '"')) == ["-m", "pip", "install", "-q", place, *pins]
