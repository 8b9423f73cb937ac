"""`labkit distill METHOD`: any student learns from any teacher on any data, beside the same student alone."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabkitError
from . import distill_vlm
from .distill_seed import OneSeed
from .distill_settings import Asked, settings

if TYPE_CHECKING:
    from ..data import DataModule
    from ..engine import Evaluation, Run


@dataclass
class Outcome:
    """What `distill` found, one evaluation and one run per seed for each network.

    Attributes:
        method: its name.
        tests: by 'teacher', or 'zero-shot', 'calibrated' and 'intermediate'; 'scratch', and the method.
        runs: by 'intermediate', 'scratch' and the method.
        words: what each of `tests` is called.
        module: the first seed's data.
        report: the page; None in all processes but the first.
    """

    method: str
    tests: dict[str, list[Evaluation]] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    module: DataModule | None = field(default=None, repr=False)
    report: Path | None = None


def distill(
    method: str,
    *,
    data: str | None = None,
    student: str | None = None,
    teacher: str | None = None,
    assistant: str | None = None,
    vlm: str | None = None,
    prompts: str | None = None,
    intermediate: str | None = None,
    anchors: str | None = None,
    only: int | None = None,
    seeds: int = 3,
    epochs: int | None = None,
    steps: int | None = None,
    per_class: int | None = None,
    options: Mapping[str, Any] | None = None,
    stored: int | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    profile: str | None = None,
) -> Outcome:
    """Train what teaches, distilled student and the same student alone for every seed; print and report.

    Args:
        method: a name of `labkit.methods.available()`.
        data: a data set's name, or a folder of class folders; None takes the profile's. Where it has a preset
            (`presets/NAME.yaml`), all that isn't given comes from there. Or a file of such settings of one's
            own, NAME.yaml.
        student: a name for `models.build`. Its weights are random, or pretrained where the preset's student
            has such.
        teacher: such a name, whose pretrained weights (where there are any) are adapted to the same labels;
            or the folder of a finished run, taken as it is.
        assistant: a name, for the method 'takd'.
        vlm: the vision-language model, where the method learns from one.
        prompts: a template for it, or a file of templates or of one sentence per class.
        intermediate: as `teacher`, of what 'dait' and 'takd_clip' train between model and student.
        anchors: 'fixed' for the prompts, 'calibrated' for PAND's first stage, or the file that one wrote.
        only: 1 to stop after the first stage of 'dait', 'takd_clip' or 'pand': its artefacts can be given to
            other runs as `intermediate` and `anchors`, and with `resume` this one goes on to its students.
        seeds: each draws labels, initialisation and order.
        epochs, steps: length of the training, one of them; of what teaches, too.
        per_class: label budget; None takes all labels.
        options: of the method; of `fit`'s recipe; with the prefix 'teacher.' or 'intermediate.' of that
            recipe, with 'data.' of `data.load`, with 'stage1.' of DAIT's first stage, with 'calibration.' of
            PAND's.
        stored: ask the frozen network once about so many augmented views, kept in the cache, and not in every
            step; a vision-language model always is.
        out: folder for seedN/ and report.html; default runs/METHOD-DATA-STUDENT. In seedN/ METHOD, 'scratch',
            and the artefacts of what teaches.
        resume: go on with what the folder holds.
        profile: 'cpu', 'gpu' or 'paper', for default data and model; None takes LABKIT_PROFILE's.

    Raises:
        LabkitError: a name, an option or a number is wrong, networks, prompts and data don't fit together, or
            the folder holds other runs.
    """
    started = time.perf_counter()
    asked = Asked(
        *(method, data, student, teacher, assistant, vlm, prompts, intermediate, anchors),
        *(only, epochs, steps),
        options=options or {},
        stored=stored,
        profile=profile,
    )
    s, own = settings(asked)
    if seeds < 1:
        raise LabkitError(f"distill needs at least one seed, but got {seeds}.")
    out = Path(out or f"runs/{method}-{s.data['name']}-{s.student['name']}")
    main = int(os.environ.get("RANK", 0)) == 0  # of several processes under accelerate launch
    if main and not resume and any(out.glob("seed*/**/*.safetensors")):
        raise LabkitError(
            f"{out} already holds runs: go on with --resume, or name another folder with --out."
        )
    say = print if main else lambda *words: None
    found = Outcome(method)
    for number in range(seeds):
        seed = OneSeed.of(s, found, number, per_class, out / f"seed{number}", resume, say)
        _seed(seed, own, only)
    if main:
        from .distill_report import report

        found.report = report(found, s, out, time.perf_counter() - started)
    return found


def _seed(seed: OneSeed, own: dict[str, Any], only: int | None) -> None:
    """All networks of one seed, or those of the first stage; `own` are the method's options."""
    from .. import methods
    from ..engine import evaluate, load_run

    s, found, out = seed.s, seed.found, seed.out
    guide = None
    if methods.asks_vlm(found.method):
        own = distill_vlm.prepare(seed, own)
        if (out / "intermediate").is_dir():
            found.runs.setdefault("intermediate", []).append(load_run(out / "intermediate"))
    elif s.teacher["name"]:
        guide = seed.teacher()
        seed.note("teacher", f"teacher {s.teacher['name']}", evaluate(guide, seed.module.test))
    for name in dict.fromkeys((found.method, "scratch") if only is None else ()):
        teacher, options = (guide, own) if name == found.method else (None, s.alone)
        run = seed.student(name, teacher, options)
        found.runs.setdefault(name, []).append(run)
        seed.note(name, f"student {s.student['name']}, {name}", evaluate(run.model, seed.module.test))
