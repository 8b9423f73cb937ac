"""From a source to notebook cells: ids, nbgrader metadata, hashes. No execution, no files.

Ids never depend on a cell's position, so a small edit of the source is a small diff of the notebook.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

import nbformat
from nbformat.notebooknode import NotebookNode

from . import bootstrap
from .checks import Check
from .source import Cell, Source
from .stubs import WRITE_HERE, cut, keep

# Fixed, so that the machine that builds leaves no trace in the file.
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}
EDITABLE = ("exercise", "written")  # the cells a student answers in


def sha(text: str) -> str:
    """Short fingerprint of a cell's source; trailing blanks don't count, editors strip them."""
    body = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest()[:12]


def assemble(source: Source, checks: Mapping[str, Check], address: str, solved: bool) -> NotebookNode:
    """The notebook of a lab, without outputs.

    Args:
        checks: the checks of this lab by id.
        address: where labkit is installed from when it is missing.
        solved: keep the solutions (and their markers) instead of the stubs.
    """
    points = {cell.id: cell.options["points"] for cell in source.of("question")}
    made: list[NotebookNode] = []
    for position, cell in enumerate(source.cells):
        made.append(_convert(cell, checks, points, solved))
        if position == 0:
            badge = bootstrap.badge(address, source.name)
            made[0].source += f"\n\n{badge}" if badge else ""
            made.append(_node("code", bootstrap.cell(address), tags=["bootstrap"], kind="bootstrap"))
    _number(made)
    about = {"lab": source.lab, "cells": {cell.id: sha(cell.source) for cell in made}}
    metadata = {"kernelspec": dict(_KERNEL), "language_info": dict(_LANGUAGE), "labkit": about}
    notebook = nbformat.v4.new_notebook(cells=made, metadata=metadata)
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return notebook


def _convert(
    cell: Cell, checks: Mapping[str, Check], points: Mapping[str, float], solved: bool
) -> NotebookNode:
    """One source cell; a rubric becomes the place for the student's written answer."""
    if cell.kind in ("text", "code"):
        return _node("markdown" if cell.markdown else "code", cell.source, cell.tags)
    if cell.kind == "exercise":
        check = checks[cell.id]
        text = f"{check.header}\n{keep(cell) if solved else cut(cell, check)}"
        facts = {"points": check.points, "minutes": check.minutes, "difficulty": check.difficulty}
        return _node("code", text, cell.tags, f"{cell.id}-answer", "exercise", {"solution": True}, facts)
    if cell.kind == "check":
        graded = {"grade": True, "locked": True, "points": checks[cell.id].points}
        return _node("code", cell.source, cell.tags, cell.id, "check", graded)
    if cell.kind == "answer":
        return _node("code", cell.source, cell.tags, f"{cell.id}-use", "answer", {"locked": True})
    if cell.kind == "question":
        return _node("markdown", cell.source, cell.tags, f"{cell.id}-question", "question", {"locked": True})
    text = cell.source if solved else WRITE_HERE
    graded = {"grade": True, "solution": True, "points": points[cell.id]}
    return _node("markdown", text, cell.tags, cell.id, "written", graded)


def _node(
    type: str,
    text: str,
    tags: list[str],
    id: str = "",
    kind: str = "",
    flags: Mapping | None = None,
    facts: Mapping | None = None,
) -> NotebookNode:
    node = nbformat.v4.new_code_cell(text) if type == "code" else nbformat.v4.new_markdown_cell(text)
    node.id = id
    if tags:
        node.metadata.tags = list(tags)
    if kind:
        node.metadata.labkit = {"kind": kind, **(facts or {})}
    if flags:
        base = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
        node.metadata.nbgrader = {**base, "grade_id": id, **flags}
    return node


def _number(cells: list[NotebookNode]) -> None:
    """Give every cell without an id one made of its content, with a counter for cells that say the same."""
    used: Counter[str] = Counter()
    for cell in cells:
        if not cell.id:
            base = sha(cell.cell_type + cell.source)
            used[base] += 1
            cell.id = base if used[base] == 1 else f"{base}-{used[base]}"
