"""The `labkit` command. Every verb calls one function; what is heavy is imported inside the verb.

A `LabkitError` is one sentence on stderr and exit code 1; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import commands
from .errors import LabkitError
from .terminal import mark, new_table, show

app = typer.Typer(
    help="Distilling vision models, hands on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
data_app = typer.Typer(help="List, fetch and remove data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Profile = Annotated[str | None, typer.Option(help="cpu, gpu or paper; else LABKIT_PROFILE, else cpu.")]


def main() -> None:
    """Entry point: run the command and turn an error of the user's into one sentence."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal that has no ✓ prints ? instead of stopping
    try:
        app(prog_name="labkit")
    except LabkitError as error:
        if os.environ.get("LABKIT_DEBUG"):
            raise
        print(f"labkit: {error}", file=sys.stderr)
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        print(f"labkit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error; also LABKIT_DEBUG=1.")] = False,
) -> None:
    if debug:
        os.environ["LABKIT_DEBUG"] = "1"


@app.command()
def doctor() -> None:
    """Say whether this machine is ready for the labs, and how to mend what is not."""
    from .doctor import examine

    findings = examine()
    table = new_table("", "", "", title="labkit doctor")
    for finding in findings:
        table.add_row(mark(finding.ok, "ok", "to mend"), finding.what, finding.found)
    show(table)
    failed = [f for f in findings if not f.ok]
    for finding in failed:
        show(f"{finding.what}: {finding.mend}.")
    if failed:
        raise typer.Exit(1)
    show("Ready: start with `labkit lab 0`.")


@app.command()
def lab(
    number: Annotated[int | None, typer.Argument(help="Which lab; without it, the list.", min=0)] = None,
    fresh: Annotated[bool, typer.Option(help="Start again; the old copy is kept with a date.")] = False,
    profile: Profile = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Start JupyterLab on it.")] = True,
) -> None:
    """Open your own copy of a lab in JupyterLab, or list the labs and your progress."""
    from . import course
    from .profiles import profile as choose

    chosen = choose(profile).name
    if number is None:
        table = new_table("lab", "title", "passed", "points")
        for row in course.progress():
            passed, points = f"{row.passed} of {row.checks}", f"{row.points:g} of {row.possible:g}"
            table.add_row(row.lab, row.title.removeprefix(f"{row.lab} · "), passed, points)
        show(table)
        show("Open one with `labkit lab N`.")
        return
    path = course.open_lab(number, fresh=fresh)
    show(f"Your copy: {path}")
    if open_:
        raise typer.Exit(_jupyter(path, chosen))


def _jupyter(path: Path, profile: str) -> int:
    """Run JupyterLab on a notebook until the user stops it; its exit code."""
    import subprocess

    command = [sys.executable, "-m", "jupyterlab", str(path)]
    child = subprocess.Popen(command, env={**os.environ, "LABKIT_PROFILE": profile})
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # Jupyter has got it too, and asks whether to stop
            continue


@app.command()
def update(
    number: Annotated[int | None, typer.Argument(help="Which lab; default all opened.", min=0)] = None,
) -> None:
    """After a new release: carry your answers over into its notebooks."""
    from . import course

    for line in course.update(number) or ["You have opened no lab yet: `labkit lab` lists them."]:
        show(line)


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="What to distil: aviary or digits.")] = "aviary",
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs with different seeds.")] = None,
    out: Annotated[Path, typer.Option(help="For report, history and weights.")] = Path("runs/demo"),
) -> None:
    """Students that learn from a larger model, and the same student alone, in minutes."""
    from . import bench

    bench.demo(name, seeds=seeds, out=out)


@data_app.command("list")
def data_list() -> None:
    """The data sets labkit can load, and which are here."""
    from . import data

    table = new_table("", "name", "images", "download", "licence")
    for entry in data.info():
        here = mark(entry.present, "here", "not here")
        count = f"{entry.images:,}" if entry.images else "yours"
        table.add_row(here, entry.name, count, entry.size, entry.licence)
    show(table)


@data_app.command("get")
def data_get(name: Annotated[str, typer.Argument(help="Name from `labkit data list`.")]) -> None:
    """Fetch a data set."""
    from . import data

    show(f"{name} is in {data.get(name)}")


@data_app.command("remove")
def data_remove(name: Annotated[str, typer.Argument(help="Name from `labkit data list`.")]) -> None:
    """Remove what `labkit data get` fetched and what labkit drew or decoded itself."""
    from . import data

    removed = data.remove(name)
    show(f"Removed what labkit had kept of {name}." if removed else f"labkit keeps nothing of {name}.")


@data_app.command("banks")
def data_banks(
    remove: Annotated[bool, typer.Option("--remove", help="Delete them all; they are made again.")] = False,
) -> None:
    """The features and answers that labkit keeps of frozen networks, the last used first."""
    from .engine import banks, remove_banks

    found = banks()
    table = new_table("encoder", "of", "views", "MB")
    for kept in found:
        table.add_row(kept.encoder, f"{kept.n:,} {kept.kind}", str(kept.views), f"{kept.bytes / 1e6:.1f}")
    if found:
        show(table)
    freed = remove_banks(idle_days=0) if remove else 0
    count = f"{len(found)} feature bank{'s' * (len(found) != 1)}"
    show(f"Removed {count}, {freed / 1e6:.1f} MB." if remove else f"labkit keeps {count}.")


@app.command()
def build(
    labs: Annotated[list[str] | None, typer.Argument(help="Numbers such as 01; default all.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail on any drift.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite notebooks edited by hand.")] = False,
    execute: Annotated[bool, typer.Option(help="Run stale solutions.")] = True,
) -> None:
    """Make notebooks/ and the executed solutions from solutions/*.py (in a clone)."""
    from . import course

    for line in course.build(check=check, execute=execute, only=labs, force=force):
        show(line)


@app.command()
def check(
    notebooks: Annotated[list[Path], typer.Argument(help="Your notebooks, such as work/01_*.ipynb.")],
) -> None:
    """Run notebooks without a browser and show which checks pass."""
    from . import course

    rows = course.run_checks(notebooks)
    table = new_table("", "check", "points", "what was found")
    for row in rows:
        found = " ".join(filter(None, (row.message, row.hint)))
        points = f"{row.points:g} of {row.possible:g}" if row.id else ""
        table.add_row(f"{'✓' if row.passed else '✗'} {row.status}", row.id or row.notebook, points, found)
    show(table)
    show(f"{sum(row.passed for row in rows)} of {sum(row.id != '' for row in rows)} checks passed.")
    if not all(row.passed for row in rows):
        raise typer.Exit(1)


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that a training run wrote.")]


@app.command()
def evaluate(
    run: RunFolder,
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which images.")] = "test",
    data: Annotated[str | None, typer.Option(help="Another data set than the run's.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where its files are.")] = None,
) -> None:
    """Accuracy, calibration and per-class accuracy of a trained run, with 95 % intervals."""
    from .trained import evaluate_run

    result = evaluate_run(run, split, data=data, root=root)
    low, high = result.ece_interval
    show(f"{run}, {split} split: {result}; 95 % interval of the ECE {low:.3f} to {high:.3f}")
    table = new_table("class", "accuracy", "95 % interval")
    for name, accuracy in result.per_class.items():
        low, high = result.per_class_interval[name]
        table.add_row(name, f"{accuracy:.1%}", f"{low:.1%} to {high:.1%}")
    show(table)


@app.command()
def predict(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to show per image.")] = 5,
) -> None:
    """The most probable classes of image files."""
    from .trained import predict_images

    table = new_table("image", "class", "probability")
    for image, ranking in zip(images, predict_images(run, images, top), strict=True):
        for place, (name, probability) in enumerate(ranking):
            shown = "" if place else str(image)
            table.add_row(shown, name, f"{probability:.1%}", end_section=place + 1 == top)
    show(table)


app.command()(commands.distill)
app.command()(commands.bench)
app.command()(commands.intermediates)
app.command()(commands.pretrain)
