"""Methods x seeds x label budgets on one data set: `labkit bench --data NAME`, from `presets/NAME.yaml`.

Every method has the same steps, the same student and the same number of tried configurations; these are
compared on validation images, at one budget and with a seed that is never reported. The teacher knows no more
labels than its students. Teacher and bank are made once for each seed and budget, and serve all methods.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .. import manifest
from ..errors import LabkitError, unknown
from ..paths import shipped
from ..profiles import preset, presets
from . import pair
from .grid import Job, fill
from .results import Results

if TYPE_CHECKING:
    from ..models import Classifier

TUNING_SEED = 100  # never reported
VECTORS = ("logits", "embedding")
EVERYTHING = (*VECTORS, *(f"maps.{i}" for i in range(4)))
_FIELDS = ("experiment", "method", "seed", "per_class")


@dataclass(frozen=True)
class Kind:
    """A row of the table: its words, the method behind it, and the options that make it what it is.

    `maps` says whether it reads the teacher's feature maps, `cost` how long a run takes beside the shortest,
    `student` what it builds the student with beside the preset's options.
    """

    words: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    maps: bool = False
    cost: float = 1.0
    student: dict[str, Any] = field(default_factory=dict)


_PRETRAINED = {"weights": "pretrained"}  # where the teacher starts, too
KINDS = {
    "scratch": Kind("student alone", "scratch"),
    "label_smoothing": Kind("label smoothing", "label_smoothing"),
    "finetuned": Kind("pretrained student alone", "scratch", student=_PRETRAINED),
    "hinton": Kind("Hinton's KD", "hinton"),
    "hinton finetuned": Kind("Hinton's KD, pretrained student", "hinton", student=_PRETRAINED),
    "takd": Kind("teacher assistant", "takd", cost=2.7),
    "pre_fc": Kind("pre-fc feature", "pre_fc"),
    "fitnet": Kind("FitNet, joint", "fitnet", maps=True, cost=1.1),
    "fitnet two-phase": Kind("FitNet, two phases", "fitnet", {"phases": 2}, maps=True, cost=1.1),
    "attention": Kind("attention transfer", "attention", maps=True, cost=1.2),
    "attention + kd": Kind("attention transfer + KD", "attention", {"kd_weight": 1.0}, maps=True, cost=1.2),
    "reviewkd": Kind("ReviewKD", "reviewkd", maps=True, cost=1.8),
}


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
        workers: processes of one thread each; None takes one per core.

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
    if not estimate:
        _drop_outdated(path, wanted)
    results = fill(__name__, wanted, s, path, command, estimate=estimate, workers=workers)
    if not estimate:
        _report(results, s if tune else setting(name, None, budgets), path, tune, ships=out is None)
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
    for method in methods or ():
        if method not in s.methods:
            raise unknown(f"method of the comparison '{name}'", method, s.methods)
    s.methods = {m: s.methods[m] for m in methods or s.methods}
    if budgets is not None and min(budgets, default=0) < 1:
        raise LabkitError(f"A budget is a number of labels per class, at least 1, not {list(budgets)}.")
    s.budgets = list(budgets or s.budgets)
    s.outputs = EVERYTHING if any(KINDS[m].maps for m in s.methods) else VECTORS
    return s


def jobs(s: SimpleNamespace, seeds: int) -> Iterator[Job]:
    """The reported runs, budget by budget: the teacher, then every method with its chosen options."""
    for per_class in s.budgets:
        for seed in range(seeds):
            yield _job("main", "teacher", seed, per_class)
            for method, options in s.methods.items():
                yield from (_job("main", method, seed, per_class, **options, **n) for n in lengths(s))


def lengths(s: SimpleNamespace) -> list[dict[str, int]]:
    """The lengths of training that are compared: one, the preset's own, unless it lists `epochs`."""
    return [{"epochs": n} for n in getattr(s, "epochs", ())] or [{}]


def tuning_jobs(s: SimpleNamespace) -> Iterator[Job]:
    """The tried configurations of every method."""
    for method in s.methods:
        for options in configurations(s, method):
            yield _job("tuning", method, TUNING_SEED, s.tuned_at, **options)


def configurations(s: SimpleNamespace, method: str) -> list[dict[str, Any]]:
    """All combinations of the values that the preset names as tried for a method."""
    tried = s.tried[method]
    return [dict(zip(tried, values, strict=True)) for values in product(*tried.values())]


def _job(experiment: str, method: str, seed: int, per_class: int | None, **options: Any) -> Job:
    return {"experiment": experiment, "method": method, "seed": seed, "per_class": per_class, **options}


def group(job: Job) -> tuple[int, int | None]:
    """What shares a teacher and a bank."""
    return job["seed"], job["per_class"]


def cost(job: Job) -> float:
    """The length of a run beside that of the shortest."""
    kind = KINDS.get(job["method"])
    return (kind.cost if kind else 0.3) * job.get("epochs", 1)


def prepare(job: Job, s: SimpleNamespace) -> None:
    """Make what the jobs of a group share."""
    guide, _ = pair.adapted(s, job["seed"], job["per_class"])
    pair.teacher_bank(s, job["seed"], job["per_class"], guide, s.outputs)


def run(job: Job, s: SimpleNamespace) -> Job:
    """One run: the job with its validation accuracy and, outside tuning, what the test images say.

    'inside' is the share of the test errors that stay among look-alikes, where the preset names families;
    'confusion' the counts by true and predicted class, where it names the classes to draw; 'assistant' the
    test accuracy of the assistant that taught the student.
    """
    seed, per_class = job["seed"], job["per_class"]
    if job["method"] == "teacher":
        model, accuracy = pair.adapted(s, seed, per_class)
        taught = []
    else:
        kind = KINDS[job["method"]]
        options = kind.options | {k: v for k, v in job.items() if k not in _FIELDS}
        recipe = {k: options.pop(k) for k in pair.RECIPE if k in options}
        made = pair.create(s, kind.method, seed, per_class, student=s.student | kind.student, **options)
        stored = made.teacher is not None and pair.teacher_bank(s, seed, per_class, made.teacher, s.outputs)
        done = pair.fit(s, made, seed, per_class, bank=stored, **recipe)
        model, accuracy = done.model, done.accuracy
        taught = list(getattr(made, "assistants", ()))
    row = {**job, "val": round(accuracy, 5)}
    return row if job["experiment"] == "tuning" else row | _tested(s, seed, per_class, model, taught)


def _tested(
    s: SimpleNamespace, seed: int, per_class: int | None, model: Classifier, taught: list
) -> dict[str, Any]:
    from ..engine import evaluate
    from ..engine.mistakes import families, mistakes

    test = pair.few(s, per_class, seed).test
    found = evaluate(model, test)
    measured = {"test": found.accuracy}
    if getattr(s, "families", None):
        groups = None if s.families == "names" else s.families
        measured["inside"] = mistakes(found.logits, found.labels, families(found.classes, groups)).inside
    if getattr(s, "classes", None):
        measured["confusion"] = found.confusion.tolist()
    if taught:
        measured["assistant"] = evaluate(taught[-1], test).accuracy
    return {name: v if isinstance(v, list) else round(v, 5) for name, v in measured.items()}


def best(s: SimpleNamespace, results: Results, method: str) -> tuple[dict[str, Any], float]:
    """The tried configuration of a method that was best on validation, and its accuracy; the first of equals.

    Raises:
        LabkitError: a configuration was not run.
    """
    scores = [
        results.values("val", **_job("tuning", method, TUNING_SEED, s.tuned_at, **options))[0]
        for options in configurations(s, method)
    ]
    top = max(scores)
    return configurations(s, method)[scores.index(top)], top


def _drop_outdated(path: Path, wanted: list[Job]) -> None:
    """Forget reported rows of the wanted runs that were made with other options."""
    if not path.is_file():
        return
    results = Results.load(path)
    names = (*_FIELDS, "epochs")
    now = {tuple(job.get(n) for n in names): job for job in wanted if job["experiment"] == "main"}

    def stands(row: Job) -> bool:
        job = now.get(tuple(row.get(n) for n in names))
        return job is None or all(row.get(k) == v for k, v in job.items())

    kept = [row for row in results.rows if stands(row)]
    if len(kept) < len(results.rows):
        results.rows = kept
        results.save(path)
