"""The verbs of `labkit` that train: distill, bench and pretrain. `cli` makes them commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .errors import LabkitError
from .terminal import mark, new_table, show

SET = (
    "Of the method or its training; with a prefix of something else: stage1. (dait's first stage, also its k"
    " and b), calibration. (pand's), teacher. and intermediate. (their trainings), data."
)


def distill(
    method: Annotated[str, typer.Argument(help="Such as hinton; an unknown name lists them.")],
    data: Annotated[
        str | None, typer.Option(help="Data set, a folder of class folders, or settings NAME.yaml.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="Network to train; it starts as the data set's own does.")
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="Pretrained network, or a run's folder.")] = None,
    assistant: Annotated[str | None, typer.Option(help="Network between the two, for takd.")] = None,
    vlm: Annotated[str | None, typer.Option(help="Vision-language model, such as aviary-clip.")] = None,
    prompts: Annotated[str | None, typer.Option(help="'a photo of a {}.', or a file of prompts.")] = None,
    intermediate: Annotated[
        str | None, typer.Option(help="Network between model and student, or its run's folder.")
    ] = None,
    anchors: Annotated[str | None, typer.Option(help="fixed, calibrated, or a file of anchors.")] = None,
    only: Annotated[
        int | None, typer.Option(min=1, max=1, help="1 for the first stage alone, of dait, takd_clip, pand.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs with different seeds.")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Length of each training.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length in steps instead.")] = None,
    per_class: Annotated[int | None, typer.Option(min=1, help="Labels per class; default all.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help=SET)] = None,
    stored: Annotated[
        int | None, typer.Option(min=1, help="Ask the teacher once about so many views.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Default runs/METHOD-DATA-STUDENT.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what the folder holds.")] = False,
    profile: Annotated[str | None, typer.Option(help="cpu, gpu or paper: the default data.")] = None,
) -> None:
    """Distil a teacher into a student on any data, beside the same student alone."""
    from .bench.distill import distill as run

    asked = {"data": data, "student": student, "teacher": teacher, "assistant": assistant, "vlm": vlm}
    asked |= {"prompts": prompts, "intermediate": intermediate, "anchors": anchors, "only": only}
    asked |= {"seeds": seeds, "epochs": epochs, "steps": steps, "per_class": per_class, "stored": stored}
    run(method, **asked, options=parse_options(set_ or []), out=out, resume=resume, profile=profile)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """`["lr=0.01", "layers=[1,2]"]` as a dict; what is no JSON is a word.

    Raises:
        LabkitError: a pair without '='.
    """
    found = {}
    for text in pairs:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise LabkitError(f"--set takes option=value, such as --set temperature=4, not '{text}'.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def bench(
    lab: Annotated[int | None, typer.Option(min=0, help="The lab whose committed results to make.")] = None,
    data: Annotated[str | None, typer.Option(help="The data set to compare methods on.")] = None,
    methods: Annotated[str | None, typer.Option(help="Some of its methods, a,b; default all.")] = None,
    budgets: Annotated[str | None, typer.Option(help="Labels per class, 3,5; default the preset's.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Default: as in the preset.")] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Try each method's configurations instead.")] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only say how long it takes.")] = False,
    out: Annotated[Path | None, typer.Option(help="Results file; default in data/results/.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one per core.")] = None,
) -> None:
    """Run the multi-seed experiments behind a lab's tables, or compare methods on a data set."""
    from .bench import bench_data, run_lab

    if (lab is None) == (data is None):
        raise LabkitError("Say what to run, one of the two: --lab NN or --data NAME.")
    if lab is not None:
        for name, value in {"methods": methods, "budgets": budgets, "tune": tune}.items():
            if value:
                raise LabkitError(f"--{name} belongs to --data NAME: a lab's grid is as its preset says.")
        run_lab(lab, seeds=seeds, estimate=estimate, out=out, workers=workers)
        return
    chosen = [name.strip() for name in methods.split(",")] if methods else None
    bench_data(
        data,
        methods=chosen,
        budgets=_numbers("budgets", budgets),
        seeds=seeds,
        tune=tune,
        estimate=estimate,
        out=out,
        workers=workers,
    )


def intermediates(
    candidates: Annotated[
        str | None, typer.Option(help="Pretrained networks, a,b; else the profile's.")
    ] = None,
    students: Annotated[bool, typer.Option("--students", help="Train what the results lack.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Of these runs; default the preset's.")] = None,
    profile: Annotated[str | None, typer.Option(help="cpu, gpu or paper.")] = None,
    folder: Annotated[Path, typer.Option(help="For the report.")] = Path("runs/intermediates"),
    out: Annotated[Path | None, typer.Option(help="Results file; default in data/results/.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default one per core.")] = None,
) -> None:
    """Compare networks that could stand between a vision-language model and a student."""
    from .bench.intermediates import intermediates as run

    run(
        candidates=[name.strip() for name in candidates.split(",")] if candidates else None,
        students=students,
        seeds=seeds,
        name=profile,
        folder=folder,
        out=out,
        workers=workers,
    )


def _numbers(option: str, text: str | None) -> list[int] | None:
    """'3,5' as whole numbers."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise LabkitError(f"--{option} takes whole numbers such as 3,5, not '{text}'.") from error


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
