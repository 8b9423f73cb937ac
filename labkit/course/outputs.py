"""Making the outputs of two executions the same: what a machine, a clock or a random id left in them goes."""

from __future__ import annotations

import re

from nbformat.notebooknode import NotebookNode

from ..errors import LabkitError

_WIDGET = "application/vnd.jupyter.widget-view+json"
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b", re.IGNORECASE)
_BAR = re.compile(r"\d+%\|")
_PLACE = "An interactive figure: run the notebook to use it."


def normalise(notebook: NotebookNode) -> None:
    """Clean all outputs in place.

    Standard error and progress bars go, widgets become one line of text (their ids are random), code cells
    are numbered from 1 without gaps.

    Raises:
        LabkitError: an output shows a memory address; names the cell.
    """
    notebook.metadata.pop("widgets", None)
    count = 0
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cleaned = (_clean(output, count) for output in cell.outputs)
        cell.outputs = [output for output in cleaned if output is not None]
        for output in cell.outputs:
            _refuse_addresses(output, cell)


def _clean(output: NotebookNode, count: int) -> NotebookNode | None:
    if output.output_type == "stream":
        if output.name == "stderr":
            return None
        lines = output.text.split("\n")
        output.text = "\n".join(line.rsplit("\r", 1)[-1] for line in lines)
        return output if output.text.strip() else None
    if output.output_type == "execute_result":
        output.execution_count = count
    if "data" in output:
        output.get("transient", {}).clear()
        if _WIDGET in output.data:
            if _BAR.search(output.data.get("text/plain", "")):
                return None
            output.data = NotebookNode({"text/plain": _PLACE})
    return output


def _refuse_addresses(output: NotebookNode, cell: NotebookNode) -> None:
    texts = [output.get("text", "")]
    texts += [value for mime, value in output.get("data", {}).items() if mime in ("text/plain", "text/html")]
    for text in texts:
        found = _ADDRESS.search(text)
        if found:
            line = next(line for line in text.splitlines() if found[0] in line).strip()[:80]
            raise LabkitError(f"cell '{cell.id}' shows a memory address, '{line}'; print a value instead.")
