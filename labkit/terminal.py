"""What the command prints: lines, tables, and a mark for what is there or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def show(what: str | Table) -> None:
    """Print a line as it is, or a table in the terminal's width."""
    from rich.console import Console

    Console(highlight=False, markup=False, soft_wrap=isinstance(what, str)).print(what)


def new_table(*columns: str, title: str | None = None) -> Table:
    """An empty table; empty column names show no head."""
    from rich import box
    from rich.table import Table

    return Table(*columns, title=title, box=box.SIMPLE_HEAD, show_header=any(columns), title_justify="left")


def mark(well: bool, yes: str, no: str) -> str:
    """`✓ yes` or `✗ no`."""
    return f"✓ {yes}" if well else f"✗ {no}"
