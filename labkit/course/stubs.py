"""What the student sees where the solution was."""

from __future__ import annotations

import json
import re

from .checks import Check
from .source import Cell
from .validate import BEGIN, END, END_PROMPT, PROMPT

WRITE_HERE = "*Write your answer here.*"


def cut(cell: Cell, check: Check) -> str:
    """The student's version of an exercise cell.

    Every solution region becomes a stub at its indentation, or the commented lines of the prompt that follows
    it (code with a bug to mend, say).
    """
    kept: list[str] = []
    lines = cell.source.splitlines()
    region = ""
    for position, line in enumerate(lines):
        mark = line.strip()
        if mark in (BEGIN, PROMPT):
            region = mark
        elif mark in (END, END_PROMPT):
            prompted = lines[position + 1 : position + 2]
            if mark == END and [text.strip() for text in prompted] != [PROMPT]:
                indent = re.match(r"\s*", line)[0]
                kept.append(indent + (stub(cell, check) if indent else cell.options["stub"]))
            region = ""
        elif region == PROMPT:
            kept.append(re.sub(r"^(\s*)# ?", r"\1", line))
        elif not region:
            kept.append(line)
    return "\n".join(kept)


def keep(cell: Cell) -> str:
    """The solved version: solutions with their markers, without the prompts."""
    kept: list[str] = []
    prompt = False
    for line in cell.source.splitlines():
        prompt = prompt or line.strip() == PROMPT
        if not prompt:
            kept.append(line)
        prompt = prompt and line.strip() != END_PROMPT
    return "\n".join(kept)


def stub(cell: Cell, check: Check) -> str:
    """The line that stands where the solution was; its text names the TODO and the place to look."""
    look = str(cell.options.get("look", "the section above"))
    text = f"TODO {check.id}: {check.title.rstrip('.')}. Look at {look.rstrip('.')}."
    return f"raise NotImplementedError({json.dumps(text, ensure_ascii=False)})"
