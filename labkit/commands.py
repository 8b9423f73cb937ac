"""The verbs of `labkit` that train: bench and pretrain. `cli` gives them their names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .terminal import mark, new_table, show


def bench(
    lab: Annotated[int, typer.Option(min=0, help="The lab whose committed results to make.")],
    seeds: Annotated[int | None, typer.Option(min=1, help="Default: as in the preset.")] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only say how long it takes.")] = False,
) -> None:
    """Run the multi-seed experiments behind a lab's tables."""
    from .bench import run_lab

    run_lab(lab, seeds=seeds, estimate=estimate)


def pretrain(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Or `cnns`.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides all that is drawn.")] = 0,
    size: Annotated[Literal["full", "small", "test"], typer.Option(help="What ships, or less.")] = "full",
    out: Annotated[Path | None, typer.Option(help="A data folder for LABKIT_DATA; default data/.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only say what ships.")] = False,
) -> None:
    """Make the shipped models again; without a name, the list."""
    from .pretrain import catalogue, pretrain_all

    if names and not list_:
        pretrain_all(names, seed=seed, size=size, out=out, say=show)
        return
    table = new_table("", "name", "kB", "minutes", "what was measured")
    for row in catalogue(out):
        table.add_row(mark(row.here, "here", "not here"), row.name, row.kilobytes, row.minutes, row.measured)
    show(table)
