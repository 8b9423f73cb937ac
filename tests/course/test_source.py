"""The source format: what is understood, and a message with file, line and cell for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.course import source, validate
from labkit.errors import LabkitError, MissingError

GOOD = (Path(__file__).parent / "fixture" / "99_fixture.py").read_text(encoding="utf-8")


@pytest.fixture
def problems(tmp_path, lab):
    """Text -> list of problems of a source with that text."""
    folder = tmp_path / "solutions"
    folder.mkdir()

    def find(text: str) -> list[str]:
        file = folder / "99_x.py"
        file.write_text(text, encoding="utf-8")
        return validate.problems(source.read(file), {check.id: check for check in lab.CHECKS})

    return find


def test_good_source_has_no_problem(problems):
    assert problems(GOOD) == []


def test_cells_know_their_kind_line_and_options(tmp_path):
    file = tmp_path / "99_x.py"
    file.write_text(GOOD, encoding="utf-8")
    lab = source.read(file)
    assert (lab.name, lab.lab) == ("99_x", "99")
    exercise = lab.of("exercise")[0]
    assert (exercise.id, exercise.options["look"]) == ("99-soften", "section 1, formula (1)")
    assert GOOD.splitlines()[exercise.line - 1].startswith('# %% exercise="99-soften"')
    assert [cell.kind for cell in lab.cells[:3]] == ["text", "code", "text"]
    assert lab.cells[1].tags == ["setup"]


BROKEN = [
    (
        "a missing END",
        GOOD.replace("    # END SOLUTION\n\n\n# %% check", "\n# %% check", 1),
        "without END SOLUTION",
    ),
    ("a missing BEGIN", GOOD.replace("    # BEGIN SOLUTION\n", "", 1), "END SOLUTION without its BEGIN"),
    (
        "two signs",
        GOOD.replace("    # BEGIN SOLUTION", "    ## BEGIN SOLUTION", 1),
        "alone on its line as '# BEGIN",
    ),
    (
        "a marker behind code",
        GOOD.replace("bug_line = 4", "bug_line = 4  # END SOLUTION"),
        "alone on its line",
    ),
    (
        "no check cell",
        GOOD.replace('# %% check="99-bug"\ncheck("99-bug", bug_line)\n', ""),
        "has no check cell",
    ),
    ("an unknown exercise", GOOD.replace("99-bug", "99-bag"), "exercise '99-bag' has no Check in"),
    ("another lab's id", GOOD.replace("99-bug", "98-bug"), "needs an id of the form 99-kebab-name"),
    ("a bad id", GOOD.replace("99-why", "99-Why_not"), "needs an id of the form 99-kebab-name"),
    ("a duplicate", GOOD.replace("99-counter", "99-soften"), "an id is used once"),
    ("a question without points", GOOD.replace(" points=2", ""), "needs points, a positive number"),
    ("a question without rubric", GOOD.replace('rubric="99-why"', ""), "must be followed by"),
    ("a solution outside a function", GOOD.replace(' stub="bug_line = None"', ""), 'give stub="name = None"'),
    (
        "a check cell that ends otherwise",
        GOOD.replace('check("99-bug", bug_line)', "bug_line"),
        "must end with check(",
    ),
    (
        "a check of another id",
        GOOD.replace('check("99-bug", b', 'check("99-soften", b'),
        'end with check("99-bug"',
    ),
    (
        "an answer cell that ends otherwise",
        GOOD.replace('soften = answer("99-soften"', 'soften = str("x"'),
        "answer(",
    ),
    ("no title", GOOD.replace("# # 99 · A fixture", "# A fixture"), "the first cell must be markdown"),
    (
        "a marker in plain code",
        GOOD.replace("counter.step(2)\n", "# BEGIN SOLUTION\n", 1),
        "belongs in an exercise",
    ),
    (
        "no solution",
        GOOD.replace("# BEGIN SOLUTION\nbug_line = 4\n# END SOLUTION", "bug_line = 4"),
        "has no solution",
    ),
]


@pytest.mark.parametrize(("text", "words"), [pytest.param(*row[1:], id=row[0]) for row in BROKEN])
def test_defect_is_named_with_file_line_and_cell(problems, text, words):
    assert text != GOOD
    found = problems(text)
    fitting = [line for line in found if words in line]
    assert fitting, found
    file, line, _ = fitting[0].split(":", 2)
    assert file == "solutions/99_x.py"
    assert 1 <= int(line) <= len(text.splitlines())


def test_check_before_its_exercise(problems):
    start = GOOD.index('# %% exercise="99-bug"')
    middle = GOOD.index('# %% check="99-bug"')
    end = GOOD.index('# %% [markdown] question="99-why"')
    swapped = GOOD[:start] + GOOD[middle:end] + GOOD[start:middle] + GOOD[end:]
    assert any("check '99-bug' stands before its exercise cell" in line for line in problems(swapped))


def test_check_without_exercise_in_the_source(problems):
    start, end = GOOD.index('# %% exercise="99-bug"'), GOOD.index('# %% [markdown] question="99-why"')
    assert problems(GOOD[:start] + GOOD[end:]) == [
        "solutions/99_x.py:1: lab99.py defines the check '99-bug', which no exercise has."
    ]


def test_prompt_must_follow_its_solution_and_be_commented(problems):
    prompt = "# END SOLUTION\n# BEGIN PROMPT\nbug_line = 3\n# END PROMPT\n"
    text = GOOD.replace("bug_line = 4\n# END SOLUTION\n", "bug_line = 4\n" + prompt)
    assert any("a prompt line that isn't a comment" in line for line in problems(text))
    text = GOOD.replace(
        "bug_line = 4\n# END SOLUTION\n", "bug_line = 4\n# END SOLUTION\n\n# BEGIN PROMPT\n# END PROMPT\n"
    )
    assert any("right after '# END SOLUTION'" in line for line in problems(text))


UNREADABLE = [
    ("99_x.py", '# %% exercize="99-a"\nx', "no metadata key 'exercize'"),
    ("99_x.py", "# %% exercise=99-a\nx", "can't read the cell header"),
    ("99_x.py", '# %% exercise="99-a" check="99-a"\nx', "can't be both"),
    ("99_x.py", '# %% [markdown] exercise="99-a"\n# x', "must start with '# %%'"),
    ("99_x.py", '# %% question="99-a" points=1\nx', r"must start with '# %% \[markdown\]'"),
    ("99_x.py", "# %% [raw]\n# x", "must start with"),
    ("fixture.py", "# %%\nx", "is called NN_name.py"),
]


@pytest.mark.parametrize(("name", "text", "words"), UNREADABLE)
def test_unreadable_source_is_one_sentence(tmp_path, name, text, words):
    file = tmp_path / name
    file.write_text("# %% [markdown]\n# # Title\n\n" + text + "\n", encoding="utf-8")
    with pytest.raises(LabkitError, match=words):
        source.read(file)


def test_missing_and_undecodable_sources(tmp_path):
    with pytest.raises(MissingError, match="no lab source"):
        source.read(tmp_path / "99_x.py")
    (tmp_path / "99_x.py").write_bytes(b"# %%\n\xff")
    with pytest.raises(LabkitError, match="save the file as UTF-8"):
        source.read(tmp_path / "99_x.py")


def test_digest_ignores_the_kind_of_line_ends(tmp_path):
    assert source.digest("a\r\nb\r\n") == source.digest("a\nb\n")
