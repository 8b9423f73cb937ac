"""The one source of a lab: a jupytext percent script, read into cells and validated.

What a cell is stands in its header, `# %% exercise="01-kd-loss" look="section 3"`; see CONTRIBUTING.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import LabkitError, MissingError

KINDS = ("exercise", "check", "answer", "question", "rubric")
_KEYS = {
    "text": {"tags"},
    "code": {"tags"},
    "exercise": {"exercise", "look", "stub", "tags"},
    "check": {"check", "tags"},
    "answer": {"answer", "tags"},
    "question": {"question", "points", "tags"},
    "rubric": {"rubric", "tags"},
}
# jupytext's own notes on blank lines and cell titles: no part of the notebook
_IGNORED = {"lines_to_next_cell", "lines_to_end_of_cell_marker", "cell_marker", "title", "region_name"}
_HEADER = re.compile(r"^# ?%%(?!%)", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """One cell of a source. `kind` is 'text', 'code' or one of KINDS; `id` belongs to the last five."""

    kind: str
    source: str
    line: int
    id: str = ""
    options: dict = field(default_factory=dict)

    @property
    def markdown(self) -> bool:
        return self.kind in ("text", "question", "rubric")

    @property
    def tags(self) -> list[str]:
        return list(self.options.get("tags", []))

    @property
    def label(self) -> str:
        """The cell in words, for messages."""
        return f"{self.kind} '{self.id}'" if self.id else f"{self.kind} cell"


@dataclass(frozen=True)
class Source:
    """A parsed lab: `name` is 'NN_name', `digest` the sha256 of its text with Unix line ends."""

    path: Path
    cells: tuple[Cell, ...]
    digest: str

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def lab(self) -> str:
        return self.path.stem[:2]

    @property
    def shown(self) -> str:
        """The path as messages give it: 'solutions/01_hinton_kd.py'."""
        return f"{self.path.parent.name}/{self.path.name}"

    def of(self, kind: str) -> list[Cell]:
        """The cells of one kind, in order."""
        return [cell for cell in self.cells if cell.kind == kind]


def digest(text: str) -> str:
    """sha256 of a text, the same whether git wrote Unix or Windows line ends."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


def read(path: Path) -> Source:
    """Parse a source. `labkit.course.validate.problems` says what is wrong with its content.

    Raises:
        MissingError: there is no such file.
        LabkitError: the name isn't `NN_name.py`, the text isn't UTF-8, or a cell header can't be understood.
    """
    import jupytext

    path = Path(path)
    if not path.is_file():
        raise MissingError(f"There is no lab source {path}.")
    if not re.fullmatch(r"\d\d_[a-z0-9_]+\.py", path.name):
        raise LabkitError(
            f"{path}: a lab source is called NN_name.py, in small letters, such as 01_hinton_kd.py."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LabkitError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8.") from None
    percent = {"extension": ".py", "format_name": "percent", "comment_magics": False}
    parsed = jupytext.reads(text, fmt=percent).cells
    lines = [text.count("\n", 0, match.start()) + 1 for match in _HEADER.finditer(text)]
    if len(parsed) == len(lines) + 1:  # text before the first header
        lines.insert(0, 1)
    if len(parsed) != len(lines):
        raise LabkitError(
            f"{path}: a line that starts with '# %%' inside a string or a comment hides a cell."
        )
    where = f"{path.parent.name}/{path.name}"
    cells = [_cell(cell, line, where) for cell, line in zip(parsed, lines, strict=True)]
    return Source(path=path, cells=tuple(cells), digest=digest(text))


def _cell(parsed, line: int, where: str) -> Cell:
    options = {key: value for key, value in parsed.metadata.items() if key not in _IGNORED}
    garbled = options.pop("incorrectly_encoded_metadata", "")
    if garbled:
        raise LabkitError(
            f"{where}:{line}: can't read the cell header '{garbled}'; write key=\"text\" or key=2."
        )
    kinds = [kind for kind in KINDS if kind in options]
    if len(kinds) > 1:
        raise LabkitError(f"{where}:{line}: one cell can't be both {kinds[0]} and {kinds[1]}.")
    markdown = parsed.cell_type == "markdown"
    kind = kinds[0] if kinds else "text" if markdown else "code"
    extra = sorted(set(options) - _KEYS[kind])
    if extra:
        known = ", ".join(sorted(_KEYS[kind]))
        raise LabkitError(f"{where}:{line}: a {kind} cell has no metadata key '{extra[0]}' (known: {known}).")
    cell = Cell(kind=kind, source=parsed.source, line=line, id=str(options.get(kind, "")), options=options)
    if cell.markdown != markdown or parsed.cell_type == "raw":
        wanted = "# %% [markdown]" if cell.markdown else "# %%"
        raise LabkitError(f"{where}:{line}: {cell.label} must start with '{wanted}'.")
    return cell
