"""Notebook files: read with one clear sentence when they are broken, written the same way every time.

nbformat takes seconds to import (its schema checker does), so it is loaded only where a notebook is changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LabkitError, MissingError

if TYPE_CHECKING:
    from nbformat.notebooknode import NotebookNode

_TYPES = ("code", "markdown", "raw")
_OURS = {"labkit": dict, "nbgrader": dict, "tags": list}


def dumps(notebook: NotebookNode) -> str:
    """The bytes of a notebook file: sorted keys, one trailing newline."""
    import nbformat

    return nbformat.writes(notebook).rstrip("\n") + "\n"


def load(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        MissingError: there is no such file.
        LabkitError: it is no notebook of format 4.
    """
    import nbformat
    from nbformat.v4.rwbase import rejoin_lines

    content = parse(path)
    try:
        return rejoin_lines(nbformat.from_dict(content))
    except (ValueError, TypeError, AttributeError, KeyError):
        raise LabkitError(f"{path} is not a notebook that can be read: its outputs are malformed.") from None


def parse(path: Path) -> dict:
    """Read a notebook as plain dicts, sources joined to strings; raises as `load` does."""
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
        for cell in content["cells"]:
            cell["source"] = "".join(cell["source"])
            if cell["cell_type"] not in _TYPES:
                raise ValueError(f"there is no cell type '{cell['cell_type']}'")
        for part in [content, *content["cells"]]:
            _drop_rubbish(part["metadata"])
    except (ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise LabkitError(f"{path} is not a notebook that can be read: {reason}.") from None
    except KeyError as error:
        raise LabkitError(f"{path} is not a notebook that can be read: {error} is missing in it.") from None
    return content


def _drop_rubbish(metadata: dict) -> None:
    """Remove metadata that we read and that isn't what it should be, so that nobody after us need ask."""
    for name, type in _OURS.items():
        if not isinstance(metadata.get(name, type()), type):
            del metadata[name]
    graded = metadata.get("nbgrader", {})
    id, points = graded.get("grade_id", ""), graded.get("points", 0)
    if not isinstance(id, str) or not isinstance(points, int | float):
        del metadata["nbgrader"]
    if not isinstance(metadata.get("labkit", {}).get("cells", {}), dict):
        del metadata["labkit"]
