"""What the student sees where the solution was."""

from __future__ import annotations

import json
import re

from .checks import Check
from .source import Cell
from .validate import BEGIN, END

WRITE_HERE = "*Write your answer here.*"


def cut(cell: Cell, check: Check) -> str:
    """The student's version of an exercise cell: every solution region becomes a stub at its indentation."""
    kept: list[str] = []
    inside = False
    for line in cell.source.splitlines():
        if line.strip() == BEGIN:
            inside = True
            indent = re.match(r"\s*", line)[0]
            kept.append(indent + (stub(cell, check) if indent else cell.options["stub"]))
        elif line.strip() == END:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def stub(cell: Cell, check: Check) -> str:
    """The line that stands where the solution was; its text names the TODO and the place to look."""
    look = str(cell.options.get("look", "the section above"))
    text = f"TODO {check.id}: {check.title.rstrip('.')}. Look at {look.rstrip('.')}."
    return f"raise NotImplementedError({json.dumps(text, ensure_ascii=False)})"


def is_stub(error: BaseException) -> bool:
    """Whether a call failed because a TODO is still open."""
    return isinstance(error, NotImplementedError) and str(error).startswith("TODO")
