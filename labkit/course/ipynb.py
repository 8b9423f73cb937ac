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
        for cell in notebook.cells:
            cell.source, cell.metadata, cell.cell_type  # noqa: B018 - must be there
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise LabkitError(
            f"{path} is not a notebook that can be read: {str(error).splitlines()[0]}."
        ) from None
    return notebook
