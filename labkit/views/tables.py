"""Small tables that read well in a notebook, in a terminal and in a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape


@dataclass(frozen=True)
class Table:
    """Rows of ready-made strings under a header; numbers are aligned right.

    Args:
        columns: header cells.
        rows: one sequence of cells each; other types are turned into text.
        caption: one line above the table.
        note: one line below it, such as the command that made the numbers.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    note: str = ""
    _cells: list[list[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cells = [[str(cell) for cell in row] for row in self.rows]
        if any(len(row) != len(self.columns) for row in cells):
            raise ValueError(f"Every row needs {len(self.columns)} cells, one per column.")
        object.__setattr__(self, "_cells", cells)

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.columns, *self._cells, strict=True)]
        lines = [self._line(self.columns, widths), "  ".join("-" * w for w in widths)]
        lines += [self._line(row, widths) for row in self._cells]
        return "\n".join(
            [*([self.caption] if self.caption else []), *lines, *([self.note] if self.note else [])]
        )

    __repr__ = __str__

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        pairs = list(zip(row, widths, strict=True))
        return "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(pairs)).rstrip()

    def markdown(self) -> str:
        """The table in Markdown, for the README."""
        rule = ["---"] + ["---:"] * (len(self.columns) - 1)
        head, *rows = ([cell.replace("|", r"\|") for cell in row] for row in (self.columns, *self._cells))
        return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], tag: str) -> str:
            align = ["left"] + ["right"] * (len(cells) - 1)
            return (
                "<tr>"
                + "".join(
                    f'<{tag} style="text-align:{a};padding:2px 10px">{escape(c)}</{tag}>'
                    for a, c in zip(align, cells, strict=True)
                )
                + "</tr>"
            )

        caption = f'<caption style="text-align:left">{escape(self.caption)}</caption>' if self.caption else ""
        note = f"<p><small>{escape(self.note)}</small></p>" if self.note else ""
        body = "".join(row(cells, "td") for cells in self._cells)
        return f"<table>{caption}<thead>{row(self.columns, 'th')}</thead><tbody>{body}</tbody></table>{note}"
