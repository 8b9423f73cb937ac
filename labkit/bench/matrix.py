"""Methods x seeds x label budgets on one data set: `labkit bench --data NAME`, from `presets/NAME.yaml`.

Every method has the same steps, the same student and the same number of tried configurations; these are
compared on validation images, at one budget and over seeds that are never reported. The teacher knows no more
labels than its students. What several methods learn from is made once for each seed and budget. A preset with
a `roster` has a second experiment: some of the methods on other students.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .. import manifest
from ..errors import LabkitError, unknown
from ..paths import shipped
from ..profiles import preset, presets
from . import pair
from .grid import Job, fill, forget_outdated
from .matrix_rows import KINDS, REFERENCES, evaluated, first_stages, job_of, reference
from .matrix_tuning import chosen, tuning_jobs
from .results import Results

EARLY = 3  # seeds that are run at every budget before the rest: a table of all rows soon
VECTORS = ("logits", "embedding")
EVERYTHING = (*VECTORS, *(f"maps.{i}" for i in range(4)))
_FIELDS = ("experiment", "method", "seed", "per_class", "student", "stage1", "calibration")
_COSTS = {"small": 1.6, "mobilenetv2_narrow": 2.2, "shufflenetv2_narrow": 1.6}  # beside a run of the student


def bench_data(
    name: str,
    *,
    methods: Sequence[str] | None = None,
    budgets: Sequence[int] | None = None,
    seeds: int | None = None,
    tune: bool = False,
    estimate: bool = False,
    out: Path | None = None,
    workers: int | None = None,
) -> Results:
    """Run what is missing of a data set's comparison and return all its results.

    Args:
        name: a data set with a preset, such as 'aviary'.
        methods: rows of the table; None takes the preset's, all with their tuned options.
        budgets: labels per class; None takes the preset's.
        seeds: reported seeds; None takes the preset's number.
        tune: run the preset's tried configurations instead, on validation images.
        estimate: time one run, print the hours the rest would take, and stop.
        out: results file; None is `results/NAME.json` in the data folder.
        workers: processes of one thread each; None takes one per core, or two per GPU.

    Raises:
        LabkitError: no such preset or method, a number out of range, or the results can't be written.
    """
    s = setting(name, methods, budgets)
    if (seeds is not None and seeds < 1) or (workers is not None and workers < 1):
        raise LabkitError(f"seeds and workers must be at least 1, but they are {seeds} and {workers}.")
    seeds = seeds or s.seeds
    path = out or shipped("data") / "results" / f"{name}.json"
    wanted = list(tuning_jobs(s) if tune else jobs(s, seeds))
    command = f"labkit bench --data {name} --seeds {seeds}"
    if tune:  # what is reported names the command, not what was tried before
        command = Results.load(path).command if path.is_file() else f"labkit bench --data {name} --tune"
    if estimate:
        return _estimate(wanted, s, path, workers)
    forget_outdated(path, wanted)
    results = fill(__name__, wanted, s, path, command, workers=workers)
    _report(results, s if tune else setting(name, None, budgets), path, tune, ships=out is None)
    return results


def _estimate(wanted: list[Job], s: SimpleNamespace, path: Path, workers: int | None) -> Results:
    """Print the hours that each experiment would take."""
    for experiment in dict.fromkeys(job["experiment"] for job in wanted):
        print(f"{experiment}: ", end="", flush=True)
        own = [job for job in wanted if job["experiment"] == experiment]
        results = fill(__name__, own, s, path, "", estimate=True, workers=workers)
    return results


def _report(results: Results, s: SimpleNamespace, path: Path, tune: bool, *, ships: bool) -> None:
    """Print what was found, write it beside the results, and enter what ships into the manifest."""
    from . import matrix_table

    files = [path]
    if tune:
        matrix_table.write_tuning(results, s)
    else:
        files += matrix_table.write(results, s, path)
    for file in files if ships else []:
        manifest.record(f"results/{file.name}", results.command, machine=results.machine)


def setting(
    name: str, methods: Sequence[str] | None = None, budgets: Sequence[int] | None = None
) -> SimpleNamespace:
    """A data set's preset, narrowed to some methods and budgets.

    Raises:
        LabkitError: there is no such preset, the preset has no such method, or a budget is below 1.
    """
    if name not in presets():
        raise unknown("comparison", name, presets())
    s = copy.deepcopy(preset(name))
    s.references = getattr(s, "references", ["teacher"])
    known = [*s.methods, *s.references]
    for method in methods or ():
        if method not in known:
            raise unknown(f"method of the comparison '{name}'", method, known)
    s.methods = {m: s.methods[m] for m in methods or s.methods if m in s.methods}
    if methods and not s.methods:  # reference rows alone
        s.references = [row for row in s.references if row in methods]
    if budgets is not None and min(budgets, default=0) < 1:
        raise LabkitError(f"A budget is a number of labels per class, at least 1, not {list(budgets)}.")
    s.budgets = list(budgets or s.budgets)
    s.outputs = EVERYTHING if any(KINDS[m].maps for m in s.methods) else VECTORS
    return s


def jobs(s: SimpleNamespace, seeds: int) -> Iterator[Job]:
    """The reported runs, budget by budget: the reference rows, then every method with its chosen options."""
    for some in (range(seeds)[:EARLY], range(seeds)[EARLY:]):
        for per_class, seed in product(s.budgets, some):
            for row in s.references:
                yield job_of("main", row, seed, per_class, **first_stages(s, row))
            for method in s.methods:
                own = chosen(s, method, per_class) | first_stages(s, method)
                yield from (job_of("main", method, seed, per_class, **own, **n) for n in lengths(s))
    yield from _roster(s, seeds)


def _roster(s: SimpleNamespace, seeds: int) -> Iterator[Job]:
    """Some methods on other students; the preset's own student is in the table."""
    roster = getattr(s, "roster", {"per_class": 0})
    if roster["per_class"] not in s.budgets:
        return
    others = [name for name in roster["students"] if name != s.student["name"]]
    seeds = min(seeds, roster.get("seeds", seeds))
    for seed, name, method in product(range(seeds), others, roster["methods"]):
        if method in s.methods:
            own = chosen(s, method, roster["per_class"]) | first_stages(s, method)
            yield job_of("roster", method, seed, roster["per_class"], student=name, **own)


def lengths(s: SimpleNamespace) -> list[dict[str, int]]:
    """The lengths of training that are compared: one, the preset's own, unless it lists `epochs`."""
    return [{"epochs": n} for n in getattr(s, "epochs", ())] or [{}]


def group(job: Job) -> tuple[str, int, int | None]:
    """What shares a teacher and a bank."""
    return job["experiment"], job["seed"], job["per_class"]


def cost(job: Job) -> float:
    """The length of a run beside that of the shortest."""
    kind = KINDS.get(job["method"])
    return (kind.cost if kind else 0.3) * job.get("epochs", 1) * _COSTS.get(job.get("student"), 1.0)


def prepare(job: Job, s: SimpleNamespace) -> None:
    """Make what the jobs of a group share."""
    s, roster = _within(s, job), job["experiment"] == "roster"
    seed, per_class = job["seed"], job["per_class"]
    for row in s.references if not roster else ():
        reference(s, row, seed, per_class)
    for method in [m for m in s.methods if not roster or m in s.roster["methods"]]:
        kind = KINDS[method]
        options = {k: v for k, v in s.methods[method].items() if k not in pair.RECIPE}
        made = pair.create(s, kind.method, seed, per_class, **kind.options | options)
        pair.banks(s, made, seed, per_class)


def _within(s: SimpleNamespace, job: Job) -> SimpleNamespace:
    """The settings with no more views than the training shows of an image: none is encoded for nothing."""
    if "steps" not in s.training:
        return s
    from ..data import steps_per_epoch

    train = pair.few(s, job["per_class"], job["seed"]).train
    epochs = math.ceil(s.training["steps"] / steps_per_epoch(len(train), s.training["batch_size"]))
    return SimpleNamespace(**vars(s) | {"views": min(s.views, epochs)})


def run(job: Job, s: SimpleNamespace) -> Job:
    """One run: the job with its validation accuracy and, outside tuning, what the test images say.

    'inside' is the share of the test errors that stay among look-alikes, where the preset names families;
    'confusion' the counts by true and predicted class, where it names the classes to draw; 'assistant' the
    test accuracy of the assistant that taught the student.
    """
    seed, per_class, tuning = job["seed"], job["per_class"], job["experiment"] == "tuning"
    s, options = _within(s, job), {k: v for k, v in job.items() if k not in _FIELDS}
    anchors, taught = None, []
    if job["method"] in REFERENCES:
        model, anchors, accuracy = reference(s, job["method"], seed, per_class, **options)
    else:
        kind = KINDS[job["method"]]
        options = kind.options | options
        recipe = {k: options.pop(k) for k in pair.RECIPE if k in options}
        student = {"name": job["student"]} if "student" in job else s.student | kind.student
        made = pair.create(s, kind.method, seed, per_class, student=student, **options)
        done = pair.fit(s, made, seed, per_class, bank=True, **recipe)
        model, accuracy = done.model, done.accuracy
        taught = [made.teacher] if kind.method == "takd_clip" else list(getattr(made, "assistants", ()))
    row = {**job, "val": round(accuracy, 5)}
    return row if tuning else row | _tested(s, job, model, anchors, taught)


def _tested(s: SimpleNamespace, job: Job, model: Any, anchors: Any, taught: list) -> dict[str, Any]:
    from ..engine.mistakes import families, mistakes

    at = job["seed"], job["per_class"]
    found = evaluated(s, *at, model, anchors)
    measured = {"test": found.accuracy}
    if getattr(s, "families", None):
        groups = None if s.families == "names" else s.families
        measured["inside"] = mistakes(found.logits, found.labels, families(found.classes, groups)).inside
    if getattr(s, "classes", None):
        measured["confusion"] = found.confusion.tolist()
    if taught:
        measured["assistant"] = evaluated(s, *at, taught[-1], None).accuracy
    return {name: v if isinstance(v, list) else round(v, 5) for name, v in measured.items()}
