"""Carrying a student's work from an old copy of a notebook into a new release, by cell id."""

from __future__ import annotations

import copy
import itertools
from collections import Counter

import nbformat
from nbformat.notebooknode import NotebookNode

from .notebooks import EDITABLE, sha

_LEFT = "## Your answers to exercises that are no longer part of this lab"


def carry_over(old: NotebookNode, new: NotebookNode) -> tuple[NotebookNode, str]:
    """The new release with everything the student wrote in the old copy.

    Answers (exercise cells and written answers that differ from their stub) go into the cell with the same
    id, and so do edits of other cells that the release left as they were. Cells of the student's own stay
    after the cell they followed; answers whose exercise has gone are kept at the end under a heading. Outputs
    stay with cells that haven't changed. Neither notebook is changed.

    Returns:
        the merged notebook, and what was carried in words.
    """
    merged = copy.deepcopy(new)
    merged.metadata = nbformat.from_dict({**old.metadata, "labkit": new.metadata.labkit})
    places = {key(cell): cell for cell in merged.cells}
    stubs = _hashes(old) or {name: sha(cell.source) for name, cell in places.items()}
    counts: Counter[str] = Counter()
    order: list[str] = []  # release cells of the old copy, as the student left them
    own: dict[int, list[NotebookNode]] = {}  # position in `order` -> cells that followed it
    left: list[NotebookNode] = []
    for cell in old.cells:
        name = _name(cell, stubs, order)
        if not name:
            if cell.source.strip():
                own.setdefault(len(order), []).append(_own(cell))
                counts["own cell"] += cell.source != _LEFT
            continue
        order.append(name)
        fate = _place(cell, places.get(name), stubs[name])
        counts["answer"] += fate != "same" and _answer(cell)
        if fate == "left":
            left.append(_own(cell))
    _keep_apart([*itertools.chain.from_iterable(own.values()), *left], set(places))
    merged.cells = _weave(merged.cells, own, order, left)
    words = [f"{n} {what}{'s' if n != 1 else ''}" for what, n in sorted(counts.items()) if n]
    return merged, " and ".join(words) or "nothing to carry over"


def _hashes(notebook: NotebookNode) -> dict[str, str]:
    cells = notebook.metadata.get("labkit", {}).get("cells")
    return dict(cells) if isinstance(cells, dict) else {}


def _name(cell: NotebookNode, stubs: dict[str, str], seen: list[str]) -> str:
    """The id under which a cell was released; '' for a cell of the student's own, or a second copy of one."""
    name = key(cell)
    if name in stubs:
        return "" if name in seen else name
    fingerprint = sha(cell.source)  # an editor may have renumbered the cells
    return next((name for name, stub in stubs.items() if stub == fingerprint and name not in seen), "")


def _place(cell: NotebookNode, target: NotebookNode | None, stub: str) -> str:
    """Put an old cell into its new place. 'same': not edited; 'placed'; 'left': an answer without place."""
    edited = cell.source.strip() and sha(cell.source) != stub
    if target is None or target.cell_type != cell.cell_type:
        return "left" if edited and _answer(cell) else "same"
    locked = target.metadata.get("nbgrader", {}).get("locked", False)
    if edited and (_answer(cell) or (not locked and sha(target.source) == stub)):
        target.source = cell.source
    if cell.cell_type == "code" and sha(target.source) == sha(cell.source):
        target.outputs, target.execution_count = cell.get("outputs", []), cell.get("execution_count")
    return "placed" if edited else "same"


def key(cell: NotebookNode) -> str:
    """A cell's identity, wherever the editor put it: Colab has ids in the metadata, nbgrader its grade_id."""
    metadata = cell.metadata
    return metadata.get("nbgrader", {}).get("grade_id") or cell.get("id") or metadata.get("id") or ""


def _answer(cell: NotebookNode) -> bool:
    return cell.metadata.get("labkit", {}).get("kind") in EDITABLE


def _own(cell: NotebookNode) -> NotebookNode:
    """A cell as the student's own: not graded, not taken for one of the release's."""
    mine = copy.deepcopy(cell)
    mine.metadata.pop("nbgrader", None)
    mine.metadata.pop("labkit", None)
    return mine


def _weave(
    cells: list[NotebookNode], own: dict[int, list[NotebookNode]], order: list[str], left: list[NotebookNode]
) -> list[NotebookNode]:
    """Put own cells after their predecessor; where that has gone, after the nearest one before it."""
    present = {key(cell) for cell in cells}
    anchored: dict[str, list[NotebookNode]] = {}
    for position, mine in own.items():
        anchor = next((name for name in reversed(order[:position]) if name in present), "")
        anchored.setdefault(anchor, []).extend(mine)
    woven = list(anchored.get("", []))
    for cell in cells:
        woven.append(cell)
        woven.extend(anchored.get(key(cell), []))
    if left and not any(cell.source == _LEFT for cell in woven):
        woven.append(nbformat.v4.new_markdown_cell(_LEFT, id=sha(_LEFT)))
    return woven + left


def _keep_apart(mine: list[NotebookNode], taken: set[str]) -> None:
    """Give the student's cells ids that neither the release nor another of them has."""
    used = {*taken, sha(_LEFT)}
    for cell in mine:
        base = cell.get("id") or cell.metadata.get("id") or sha(cell.source)
        numbered = (f"{base[:56]}-{count}" for count in itertools.count(2))
        cell.id = next(name for name in itertools.chain([base], numbered) if name not in used)
        used.add(cell.id)
