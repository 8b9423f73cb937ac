"""The runs behind lab 03: longer training, what soft targets carry, teachers of all sizes, other students.

`labkit bench --data aviary` compares the methods. Here: the same for more steps, targets whose wrong classes
are shuffled, teachers that are larger or were trained for less long, an assistant that starts where the
teacher started, and students of other designs. On digits the settings are those of lab 01.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..profiles import Profile
from .lab03_targets import altered
from .matrix import KINDS

if TYPE_CHECKING:
    from ..data import DataModule
    from ..engine import Evaluation
    from ..models import Classifier

# The labels alone, the teacher's probabilities, and what is left of these.
TARGETS = ("scratch", "hinton", "permuted", "even")
EXAMPLES = 6  # test images kept for the lab's first picture
TUNING_SEED = 100  # never reported
_STEPS = 300  # of most runs
_BY_SEED = ("length", "assistant", "teachers", "tuning")  # what shares the teachers of a seed


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict; equal dicts are one run."""
    s = profile.lab(3)
    few = range(min(seeds, s.sweep_seeds))
    for seed in few:  # the longest first
        yield from _shared(s, seed)
    for teacher, heat in product(s.teachers, s.tried_temperatures):
        yield _job("tuning", "hinton", TUNING_SEED, teacher=teacher, temperature=heat)
    for seed in range(s.digit_seeds):
        for method in TARGETS:
            yield _job("targets", method, seed, data="digits")
    # On birds, the untampered runs are those of `labkit bench --data aviary`, with the same seeds.
    yield _job("examples", "scratch", 0)
    for seed in few:
        yield _job("targets", "permuted", seed, data="birds")
    for seed, steps in product(few, s.teacher_steps):
        yield _job("teacher_steps", "hinton", seed, teacher_steps=steps)
    for seed in few:
        yield _job("targets", "even", seed, data="birds")
    for seed, student, method in product(few, s.students, ("scratch", "hinton")):
        yield _job("students", method, seed, student=student)


def _shared(s: SimpleNamespace, seed: int) -> Iterator[dict[str, Any]]:
    """More steps, the assistant, and teachers at the temperatures that their own tuning chose."""
    for steps, methods in s.lengths.items():
        for method in methods:
            yield _job("length", method, seed, steps=steps)
    yield _job("assistant", "hinton", seed)
    for teacher, heat in s.teachers.items():
        if (teacher, heat) != (s.teacher["name"], s.options["hinton"]["temperature"]):  # the comparison's
            yield _job("teachers", "hinton", seed, teacher=teacher, temperature=heat)


def _job(experiment: str, method: str, seed: int, **options: Any) -> dict[str, Any]:
    return {"experiment": experiment, "method": method, "seed": seed, **options}


def group(job: dict[str, Any]) -> tuple:
    """One experiment after the other, and in it one seed: a process keeps its teachers between groups."""
    if job["experiment"] in _BY_SEED:
        return "", job["seed"]
    return job["experiment"], job.get("data"), job["method"] == "even", job["seed"]


def cost(job: dict[str, Any]) -> float:
    """The length of a run beside that of the shortest."""
    return job.get("steps", _STEPS) / _STEPS


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with its validation and test accuracy, and where a student's mistakes go."""
    s, seed = profile.lab(3), job["seed"]
    if job.get("data") == "digits":
        model, accuracy, module = _on_digits(profile, job["method"], seed)
        found = _evaluate(model, module)
        return {**job, "val": round(accuracy, 5), "test": round(found.accuracy, 5)}
    asked = _asked(job, s)
    model, accuracy = _model(profile, job["method"], seed, **asked)
    if job["experiment"] == "tuning":
        return {**job, "val": round(accuracy, 5)}
    found = _evaluate(model, _birds(s, seed))
    row = {**job, "val": round(accuracy, 5), "test": round(found.accuracy, 5), **_smart(found, s)}
    if job["experiment"] in ("teachers", "teacher_steps"):
        other = _evaluate(_teacher(profile, seed, **asked)[0], _birds(s, seed))
        same = (found.predictions == other.predictions).double().mean().item()
        row |= {"teacher_test": round(other.accuracy, 5), "agreement": round(same, 5)}
    if job["experiment"] == "assistant":
        row["assistant"] = round(_evaluate(_assistant(profile, seed), _birds(s, seed)).accuracy, 5)
    if job["experiment"] == "examples":
        row["examples"] = examples(
            _evaluate(_teacher(profile, seed)[0], _birds(s, seed)), found, _families(s)
        )
    return row


def _asked(job: dict[str, Any], s: SimpleNamespace) -> dict[str, Any]:
    """What a job wants other than the preset has it."""
    usual = {"teacher": s.teacher["name"], "teacher_steps": s.teacher_training.get("steps")}
    names = ("teacher", "teacher_steps", "student", "steps", "temperature")
    asked = {k: job[k] for k in names if k in job and job[k] != usual.get(k)}
    return asked | ({"assisted": True} if job["experiment"] == "assistant" else {})


def _smart(found: Evaluation, s: SimpleNamespace) -> dict[str, float]:
    from ..engine import mistakes

    scores = mistakes(found.logits, found.labels, _families(s))
    return {name: round(getattr(scores, name), 5) for name in ("inside", "mass")}


def examples(teacher: Evaluation, student: Evaluation, families: Tensor) -> list[dict[str, int]]:
    """Test images that the teacher gets right, most surely first, and the student takes for a look-alike.

    One image of a family: its position, its class, and the class that the student names.
    """
    labels, named = student.labels, student.predictions
    wrong = (teacher.predictions == labels) & (named != labels) & (families[named] == families[labels])
    sure = teacher.logits.softmax(1).max(1).values.masked_fill(~wrong, -1.0)
    chosen: dict[int, int] = {}
    for i in sure.argsort(descending=True)[: int(wrong.sum())].tolist():
        chosen.setdefault(int(families[labels[i]]), i)
    return [
        {"image": i, "label": int(labels[i]), "student": int(named[i])}
        for i in list(chosen.values())[:EXAMPLES]
    ]


# Networks ---------------------------------------------------------------------------------------------------


def _birds(s: SimpleNamespace, seed: int) -> DataModule:
    from . import pair

    return pair.few(s, s.per_class, seed)


@cache
def _evaluate(model: nn.Module, module: DataModule) -> Evaluation:
    from ..engine import evaluate

    return evaluate(model, module.test)


def _families(s: SimpleNamespace) -> Tensor:
    from ..engine import families

    return families(_birds(s, 0).classes, s.families)


@cache
def _teacher(
    profile: Profile, seed: int, teacher: str | None = None, teacher_steps: int | None = None, **_: Any
) -> tuple[Classifier, float]:
    """The seed's teacher: another network than the preset's, or one whose adaptation was cut short."""
    from .. import models
    from ..rng import seed_everything
    from . import pair

    s = profile.lab(3)
    net = s.teacher | ({"name": teacher} if teacher else {})
    if teacher_steps is None:
        return pair.adapted(s, seed, s.per_class, net)
    if teacher_steps == 0:  # a new head on a pretrained network, and nothing else
        seed_everything(seed)
        fresh = models.build(num_classes=_birds(s, seed).num_classes, **net)
        return fresh.requires_grad_(False).eval(), float("nan")
    cut = SimpleNamespace(**vars(s) | {"teacher_training": s.teacher_training | {"steps": teacher_steps}})
    return pair.adapted(cut, seed, s.per_class, net)


@cache
def _assistant(profile: Profile, seed: int) -> Classifier:
    """The first link of a chain that starts where the teacher started: pretrained, then distilled."""
    from . import pair

    s = profile.lab(3)
    net, guide = {"name": s.assistant, "weights": "pretrained"}, _teacher(profile, seed)[0]
    options = s.options["hinton finetuned"]
    done = pair.train(s, "hinton", seed, s.per_class, student=net, guide=guide, **options)
    return done.model.requires_grad_(False).eval()


@cache
def _model(
    profile: Profile,
    method: str,
    seed: int,
    *,
    student: str | None = None,
    steps: int | None = None,
    temperature: float | None = None,
    assisted: bool = False,
    **which: Any,
) -> tuple[Classifier, float]:
    """A trained student with its validation accuracy; `which` names its teacher."""
    import warnings

    from ..errors import LabkitWarning
    from . import pair

    s = profile.lab(3)
    if student is not None:  # other networks: fewer steps, and the precision that suits them
        s = _trained_by(s, s.student_training)
    if steps is not None:  # validation chooses among as many rounds as in the comparison
        every = s.training["validate_every"] * steps // s.training["steps"]
        s = _trained_by(s, {"steps": steps, "validate_every": every})
    kind = method if method in s.options else "hinton"
    options = s.options[kind] | ({} if temperature is None else {"temperature": temperature})
    guide = None
    if pair.asks(KINDS[kind].method, {}):
        guide = _assistant(profile, seed) if assisted else _teacher(profile, seed, **which)[0]
        guide = altered(guide, method, options.get("temperature", 1.0))
    net = student or s.student | KINDS[kind].student
    with warnings.catch_warnings():  # a teacher with an untrained head is one of the experiments
        warnings.simplefilter("ignore", LabkitWarning)
        named = KINDS[kind].method
        done = pair.train(s, named, seed, s.per_class, student=net, guide=guide, **options)
    return done.model, done.accuracy


def _trained_by(s: SimpleNamespace, training: dict[str, Any]) -> SimpleNamespace:
    """The settings with another training."""
    return SimpleNamespace(**vars(s) | {"training": s.training | training})


@cache
def _on_digits(profile: Profile, method: str, seed: int) -> tuple[Classifier, float, DataModule]:
    from .. import data
    from . import lab01

    s = profile.lab(1)
    module = data.load(s.data, seed=seed, per_class=s.per_class)
    name, guide = ("scratch" if method == "scratch" else "hinton"), None
    if method != "scratch":
        guide = altered(lab01.teacher(profile, seed)[0], method, s.temperature)
    done = lab01.train(profile, name, module, seed, guide, **lab01.chosen(s)[name])
    return done.model, done.accuracy, module
