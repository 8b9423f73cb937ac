"""The runs behind lab 03: what soft targets carry, teachers of all sizes, other students.

`labkit bench --data aviary` compares the methods. Here: targets whose wrong classes are shuffled, teachers
that are larger or were trained for less long, and students of other designs. On digits the settings are those
of lab 01.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..profiles import Profile
from ..rng import keyed_uniform

if TYPE_CHECKING:
    from ..data import DataModule
    from ..engine import Evaluation
    from ..models import Classifier

# The labels alone, the teacher's probabilities, and what is left of these.
TARGETS = ("scratch", "hinton", "permuted", "even")
EXAMPLES = 6  # test images kept for the lab's first picture
_SHUFFLE = 0xDC  # purpose of the random numbers, apart from those of batches and views

Targets = Callable[[Tensor], Tensor]


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict; equal dicts are one run."""
    s = profile.lab(3)
    for seed in range(s.digit_seeds):
        for method in TARGETS:
            yield _job("targets", method, seed, data="digits")
    # On birds, the untampered runs are those of `labkit bench --data aviary`, with the same seeds.
    yield _job("examples", "scratch", 0)
    few = range(min(seeds, s.sweep_seeds))
    for seed in few:
        yield _job("targets", "permuted", seed, data="birds")
    for seed, steps in product(few, s.teacher_steps):
        yield _job("teacher_steps", "hinton", seed, teacher_steps=steps)
    for seed, teacher in product(few, s.teachers):
        yield _job("teachers", "hinton", seed, teacher=teacher)
    for seed in few:
        yield _job("targets", "even", seed, data="birds")
    for seed, student, method in product(few, s.students, ("scratch", "hinton")):
        yield _job("students", method, seed, student=student)


def _job(experiment: str, method: str, seed: int, **options: Any) -> dict[str, Any]:
    return {"experiment": experiment, "method": method, "seed": seed, **options}


def group(job: dict[str, Any]) -> tuple:
    """One experiment after the other, and in it one seed: a process keeps its teachers between groups."""
    return job["experiment"], job.get("data"), job["method"] == "even", job["seed"]


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with its validation and test accuracy, and where a student's mistakes go."""
    s, seed = profile.lab(3), job["seed"]
    if job.get("data") == "digits":
        model, accuracy, module = _on_digits(profile, job["method"], seed)
        found = _evaluate(model, module)
        return {**job, "val": round(accuracy, 5), "test": round(found.accuracy, 5)}
    asked = _asked(job, s)
    model, accuracy = _model(profile, job["method"], seed, **asked)
    found = _evaluate(model, _birds(s, seed))
    row = {**job, "val": round(accuracy, 5), "test": round(found.accuracy, 5), **_smart(found, s)}
    if job["experiment"] in ("teachers", "teacher_steps"):
        other = _evaluate(_teacher(profile, seed, **asked)[0], _birds(s, seed))
        same = (found.predictions == other.predictions).double().mean().item()
        row |= {"teacher_test": round(other.accuracy, 5), "agreement": round(same, 5)}
    if job["experiment"] == "examples":
        row["examples"] = examples(
            _evaluate(_teacher(profile, seed)[0], _birds(s, seed)), found, _families(s)
        )
    return row


def _asked(job: dict[str, Any], s: SimpleNamespace) -> dict[str, Any]:
    """Which networks a job wants other than the preset's."""
    usual = {"teacher": s.teacher["name"], "teacher_steps": s.teacher_training.get("steps")}
    names = ("teacher", "teacher_steps", "student")
    return {k: job[k] for k in names if k in job and job[k] != usual.get(k)}


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
def _model(
    profile: Profile, method: str, seed: int, *, student: str | None = None, **which: Any
) -> tuple[Classifier, float]:
    """A trained student, or the teacher itself, with its validation accuracy."""
    import warnings

    from ..errors import LabkitWarning
    from . import pair

    s = profile.lab(3)
    if student is not None:  # other networks: fewer steps, and the precision that suits them
        s = SimpleNamespace(**vars(s) | {"training": s.training | s.student_training})
    guide = None
    if method != "scratch":
        guide = altered(_teacher(profile, seed, **which)[0], method, s.options["hinton"]["temperature"])
    named = method if method in s.options else "hinton"
    with warnings.catch_warnings():  # a teacher with an untrained head is one of the experiments
        warnings.simplefilter("ignore", LabkitWarning)
        done = pair.train(s, named, seed, s.per_class, student=student, guide=guide, **s.options[named])
    return done.model, done.accuracy


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


# Targets ----------------------------------------------------------------------------------------------------


@cache
def altered(teacher: Classifier, method: str, temperature: float) -> nn.Module:
    """The teacher itself for 'hinton'; for 'permuted' and 'even' one that keeps its opinion to itself."""
    changes: dict[str, Targets] = {"permuted": permuted, "even": lambda z: even(z, temperature)}
    return Altered(teacher, changes[method]).eval() if method in changes else teacher


class Altered(nn.Module):
    """A teacher whose logits (B, N) pass through a function that tampers with them."""

    def __init__(self, teacher: Classifier, change: Targets) -> None:
        super().__init__()
        self.teacher, self.change = teacher, change
        self.num_classes = teacher.num_classes

    def forward(self, x: Tensor) -> Any:
        """Images (B, C, H, W) in [0, 1] -> the teacher's `Output` with other logits."""
        found = self.teacher(x)
        return found._replace(logits=self.change(found.logits))


def permuted(logits: Tensor) -> Tensor:
    """Each row with its largest logit in place and all others in a random order (DKPP, arXiv 1805.04770).

    The order is drawn from a key made of the row itself: the same image always gets the same.
    """
    rows = (logits.double() * 2**20).long().sum(1)
    keys = keyed_uniform((_SHUFFLE,), rows, logits.shape[1])
    top = logits.argmax(1, keepdim=True)
    last = keys.scatter(1, top, 2.0).argsort(1)[:, :-1]  # the places of the others, in random order
    free = keys.new_zeros(keys.shape).scatter(1, top, 1.0).argsort(dim=1, stable=True)[:, :-1]
    return logits.scatter(1, free, logits.gather(1, last))


def even(logits: Tensor, temperature: float) -> Tensor:
    """Each row with the largest probability at `temperature` as it is and the rest spread evenly."""
    count = logits.shape[1]
    log_p = F.log_softmax(logits.double() / temperature, 1)
    top, place = log_p.max(1, keepdim=True)
    rest = torch.log1p(-top.exp().clamp(max=1 - 1e-12)) - torch.log(torch.tensor(count - 1.0))
    return (temperature * rest.expand_as(log_p).scatter(1, place, top)).to(logits.dtype)
