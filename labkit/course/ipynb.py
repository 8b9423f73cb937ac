"""Notebook files: read with one clear sentence when they are broken, written the same way every time."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4.rwbase import rejoin_lines

from ..errors import LabkitError, MissingError


def dumps(notebook: NotebookNode) -> str:
    """The bytes of a notebook file: sorted keys, one trailing newline."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


_TYPES = ("code", "markdown", "raw")
_OURS = {"labkit": dict, "nbgrader": dict, "tags": list}


def load(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        MissingError: there is no such file.
        LabkitError: it is no notebook of format 4.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingError(f"There is no notebook {path}.") from None
    except OSError as error:
        raise LabkitError(f"Can't read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise LabkitError(f"{path} is not a notebook: it isn't UTF-8 text.") from None
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
            raise ValueError("it has no list of cells")
        if content.get("nbformat") != 4:
            raise ValueError(f"its format is {content.get('nbformat')}, not 4")
        notebook = nbformat.from_dict(content)
        rejoin_lines(notebook)
        for cell in [notebook, *notebook.cells]:
            _drop_rubbish(cell.metadata)
        if not all(isinstance(cell.source, str) and cell.cell_type in _TYPES for cell in notebook.cells):
            raise ValueError("a cell has no text or an unknown type")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise LabkitError(
            f"{path} is not a notebook that can be read: {str(error).splitlines()[0]}."
        ) from None
    return notebook


def _drop_rubbish(metadata: NotebookNode) -> None:
    """Remove metadata that we read and that isn't what it should be, so that nobody after us need ask."""
    for name, type in _OURS.items():
        if not isinstance(metadata.get(name, type()), type):
            del metadata[name]
    graded = metadata.get("nbgrader", {})
    if not isinstance(graded.get("grade_id", ""), str) or not isinstance(
        graded.get("points", 0), int | float
    ):
        del metadata["nbgrader"]
    if not isinstance(metadata.get("labkit", {}).get("cells", {}), dict):
        del metadata["labkit"]
