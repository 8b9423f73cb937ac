"""Everything that can be wrong with a lab's source, found before a notebook is written."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from .checks import ID, Check
from .source import Cell, Source

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
PROMPT, END_PROMPT = "# BEGIN PROMPT", "# END PROMPT"
_MARKERS = {BEGIN: END, PROMPT: END_PROMPT, END: "", END_PROMPT: ""}


def problems(source: Source, checks: Mapping[str, Check]) -> list[str]:
    """One line per defect, 'solutions/01_x.py:120: exercise '01-foo' has no check cell.'; empty when sound.

    Args:
        checks: the checks of this lab by id.
    """
    return [
        *_title(source),
        *_ids(source, checks),
        *_order(source),
        *_cells(source),
        *_unused(source, checks),
    ]


def _at(source: Source, cell: Cell, message: str, offset: int = 0) -> str:
    return f"{source.shown}:{cell.line + offset}: {cell.label} {message}"


def _title(source: Source) -> Iterator[str]:
    if not source.cells or source.cells[0].kind != "text" or not source.cells[0].source.startswith("# "):
        yield f"{source.shown}:1: the first cell must be markdown that starts with '# ' and the lab's title."


def _ids(source: Source, checks: Mapping[str, Check]) -> Iterator[str]:
    seen: dict[tuple[str, str], Cell] = {}
    group = {"exercise": "task", "question": "task"}  # both become graded cells: one namespace
    for cell in source.cells:
        if not cell.id:
            continue
        if not ID.fullmatch(cell.id) or not cell.id.startswith(source.lab):
            yield _at(source, cell, f"needs an id of the form {source.lab}-kebab-name.")
        key = (group.get(cell.kind, cell.kind), cell.id)
        if key in seen:
            yield _at(source, cell, f"is already on line {seen[key].line}; an id is used once.")
        seen.setdefault(key, cell)
        if cell.kind in ("exercise", "check", "answer") and cell.id not in checks:
            yield _at(source, cell, f"has no Check in labkit/course/labs/lab{source.lab}.py.")


def _order(source: Source) -> Iterator[str]:
    lines = {
        kind: {cell.id: cell.line for cell in source.of(kind)} for kind in ("exercise", "check", "answer")
    }
    for cell in source.of("exercise"):
        if cell.id not in lines["check"]:
            yield _at(source, cell, f'has no check cell; add one with # %% check="{cell.id}".')
    for kind, before in (("check", "exercise"), ("answer", "check")):
        for cell in source.of(kind):
            if cell.id not in lines[before]:
                yield _at(source, cell, f"has no {before} cell.")
            elif cell.line < lines[before][cell.id]:
                yield _at(source, cell, f"stands before its {before} cell on line {lines[before][cell.id]}.")
    for cell, after in zip(source.cells, (*source.cells[1:], None), strict=True):
        if cell.kind == "question" and (after is None or (after.kind, after.id) != ("rubric", cell.id)):
            yield _at(source, cell, f'must be followed by # %% [markdown] rubric="{cell.id}".')
    questions = {cell.id for cell in source.of("question")}
    for cell in source.of("rubric"):
        if cell.id not in questions:
            yield _at(source, cell, "has no question cell before it.")


def _cells(source: Source) -> Iterator[str]:
    for cell in source.cells:
        if not cell.source.strip():
            yield _at(source, cell, "is empty.")
        yield from _markers(source, cell)
        if cell.kind == "exercise":
            yield from _unstubbed(source, cell)
        if cell.kind in ("check", "answer"):
            yield from _call(source, cell)
        if cell.kind == "question" and not _positive(cell.options.get("points")):
            yield _at(source, cell, "needs points, a positive number: points=2.")
        if not isinstance(cell.options.get("tags", []), list):
            yield _at(source, cell, 'needs its tags as a list: tags=["setup"].')


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _markers(source: Source, cell: Cell) -> Iterator[str]:
    opened = ""  # the marker of the region we are in
    begun = regions = 0
    before = ""
    for offset, line in enumerate(cell.source.splitlines(), start=1):
        mark = next((mark for mark in _MARKERS if mark[2:] in line), None)
        if mark is None:
            if opened == PROMPT and not line.strip().startswith("#"):
                yield _at(source, cell, "has a prompt line that isn't a comment.", offset)
        elif cell.kind != "exercise":
            yield _at(source, cell, f"has the marker '{mark}', which belongs in an exercise cell.", offset)
        # nbgrader takes any line with these words, otter only one '#' and one space: we ask for the stricter
        elif line.strip() != mark:
            yield _at(source, cell, f"must write the marker alone on its line as '{mark}'.", offset)
        elif mark in (BEGIN, PROMPT):
            regions += mark == BEGIN
            if opened:
                yield _at(source, cell, f"has a second {mark[2:]} before {_MARKERS[opened][2:]}.", offset)
            if mark == PROMPT and before != END:
                yield _at(source, cell, f"must have its prompt right after '{END}'.", offset)
            opened, begun = mark, offset
        else:
            if _MARKERS.get(opened) != mark:
                yield _at(source, cell, f"has {mark[2:]} without its BEGIN.", offset)
            opened = ""
        before = line.strip()
    if opened:
        yield _at(source, cell, f"has {opened[2:]} without {_MARKERS[opened][2:]}.", begun)
    if cell.kind == "exercise" and not regions:
        yield _at(source, cell, f"has no solution; mark it with '{BEGIN}' and '{END}'.")


def _unstubbed(source: Source, cell: Cell) -> Iterator[str]:
    """A stub that raises would stop an untouched notebook if it stood outside a function."""
    lines = cell.source.splitlines()
    for offset, (line, after) in enumerate(zip(lines, [*lines[1:], ""], strict=True), start=1):
        if line == END and after != PROMPT and "stub" not in cell.options:
            yield _at(source, cell, 'has a solution outside a function: give stub="name = None".', offset)


def _call(source: Source, cell: Cell) -> Iterator[str]:
    """The last statement is `check("id", ...)`, whose value nbgrader reads, or `name = answer("id", ...)`."""
    try:
        last = ast.parse(cell.source).body[-1]
    except (SyntaxError, IndexError):
        yield _at(source, cell, f"must end with a call of {cell.kind}().")
        return
    call = last.value if isinstance(last, ast.Expr if cell.kind == "check" else ast.Assign) else None
    name = getattr(call.func, "id", getattr(call.func, "attr", "")) if isinstance(call, ast.Call) else ""
    first = (
        call.args[0].value
        if name == cell.kind and call.args and isinstance(call.args[0], ast.Constant)
        else None
    )
    if first != cell.id:
        form = f'check("{cell.id}", ...)' if cell.kind == "check" else f'name = answer("{cell.id}", name)'
        yield _at(source, cell, f"must end with {form}.")


def _unused(source: Source, checks: Mapping[str, Check]) -> Iterator[str]:
    exercises = {cell.id for cell in source.of("exercise")}
    for id in checks:
        if id not in exercises:
            yield f"{source.shown}:1: lab{source.lab}.py defines the check '{id}', which no exercise has."
