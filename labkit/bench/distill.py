"""`labkit distill METHOD`: any student learns from any teacher on any data, beside the same student alone."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import LabkitError, LabkitWarning, MissingError, unknown
from ..profiles import preset, presets
from ..profiles import profile as choose
from . import pair

if TYPE_CHECKING:
    from ..data import DataModule
    from ..engine import Evaluation, Run
    from ..models import Classifier

TRAINING = {
    "batch_size": 64,
    "optimizer": "adamw",
    "lr": 3e-3,
    "weight_decay": 0.05,
    "warmup": 0.1,
    "clip": 1.0,
}
HEADS = {"head_lr": 0.03, "head_share": 0.3}  # of a teacher with pretrained weights
EPOCHS = 20
_NOT_HERE = ("precision", "validate_every")  # of a preset: chosen for the machine that made its results
_DECIDED = ("seed", "teacher.seed", "data.name", "data.seed", "data.per_class")  # elsewhere


@dataclass
class Outcome:
    """What `distill` found: per network ('teacher', 'scratch', the method) one evaluation and run per seed.

    `report` is the page; None in all processes but the first.
    """

    method: str
    tests: dict[str, list[Evaluation]] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    report: Path | None = None


def distill(
    method: str,
    *,
    data: str | None = None,
    student: str | None = None,
    teacher: str | None = None,
    assistant: str | None = None,
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
    """Train teacher, distilled student and the same student alone for every seed; print and report.

    Args:
        method: a name of `labkit.methods.available()`.
        data: a data set's name, or a folder of class folders; None takes the profile's. Where it has a preset
            (`presets/NAME.yaml`), networks, recipe and the method's options come from there unless given.
        student: a name for `models.build`, trained from scratch.
        teacher: such a name, whose pretrained weights (where there are any) are adapted to the same labels;
            or the folder of a finished run, taken as it is.
        assistant: a name, for the method 'takd'.
        seeds: each draws labels, initialisation and order.
        epochs, steps: length of the training, one of them; of the teacher's too.
        per_class: label budget; None takes all labels.
        options: of the method; of `fit`'s recipe; with the prefix 'teacher.' of the teacher's recipe, with
            'data.' of `data.load`.
        stored: ask the teacher once about so many augmented views, kept in the cache, and not in every step.
        out: folder for seedN/{teacher,scratch,METHOD} and report.html; default runs/METHOD-DATA-STUDENT.
        resume: go on with what the folder holds.
        profile: 'cpu', 'gpu' or 'paper', for the default data; None takes LABKIT_PROFILE's.

    Raises:
        LabkitError: a name, an option or a number is wrong, teacher and data don't fit, or the folder holds
            other runs.
    """
    started = time.perf_counter()
    data = data or choose(profile).images
    s, own = _settings(method, data, student, teacher, assistant, epochs, steps, stored, options or {})
    if seeds < 1:
        raise LabkitError(f"distill needs at least one seed, but got {seeds}.")
    out = Path(out or f"runs/{method}-{s.data['name']}-{s.student['name']}")
    main = int(os.environ.get("RANK", 0)) == 0  # of several processes under accelerate launch
    if main and not resume and any(out.glob("seed*/*/last.safetensors")):
        raise LabkitError(
            f"{out} already holds runs: go on with --resume, or name another folder with --out."
        )
    say = print if main else lambda *words: None
    found = Outcome(method)
    for seed in range(seeds):
        _seed(s, found, seed, per_class, own, out / f"seed{seed}", resume, say)
    if main:
        from .distill_report import report

        found.report = report(found, s, out, time.perf_counter() - started)
    return found


def _settings(
    method: str,
    data: str,
    student: str | None,
    teacher: str | None,
    assistant: str | None,
    epochs: int | None,
    steps: int | None,
    stored: int | None,
    options: Mapping[str, Any],
) -> tuple[SimpleNamespace, dict[str, Any]]:
    """The settings that `pair` reads, and the method's own options."""
    from ..engine import Recipe

    _check(method, assistant, epochs, steps)
    load = _data(data)
    known = preset(load["name"]) if load["name"] in presets() else SimpleNamespace()
    training = dict(getattr(known, "training", TRAINING | {"epochs": EPOCHS}))
    teaching = dict(getattr(known, "teacher_training", training | HEADS))
    own, alone = (dict(getattr(known, "methods", {}).get(name, {})) for name in (method, "scratch"))
    for recipe in (training, teaching):
        for name in _NOT_HERE:
            recipe.pop(name, None)
        if epochs or steps:
            recipe.pop("epochs", None), recipe.pop("steps", None)
            recipe |= {"epochs": epochs} if epochs else {"steps": steps}
    for name, value in options.items():
        group, _, short = name.rpartition(".")
        if group not in ("", "teacher", "data") or name in _DECIDED:
            raise LabkitError(f"--set takes an option, teacher.option or data.option, but not '{name}'.")
        if group == "" and short in Recipe.__dataclass_fields__:
            training[short] = value
            own.pop(short, None), alone.pop(short, None)
        else:
            {"data": load, "teacher": teaching, "": own}[group][short] = value
    s = SimpleNamespace(
        data=load,
        student=_net(student, known, "student"),
        teacher=_net(teacher, known, "teacher") if pair.asks(method, own) else {"name": ""},
        assistant=assistant or getattr(known, "assistant", "small"),
        training=training,
        teacher_training=teaching,
        alone={k: v for k, v in alone.items() if k in pair.RECIPE},
        views=stored,
        keep=True,
    )
    return s, own


def _check(method: str, assistant: str | None, epochs: int | None, steps: int | None) -> None:
    """Refuse what can't be run, before anything is loaded."""
    from .. import methods

    if method not in methods.available():
        raise unknown("method", method, methods.available())
    if methods.asks_vlm(method):
        raise LabkitError(
            f"The method {method} learns from a vision-language model, which labkit distill can't load yet:"
            f" use labkit.methods.create('{method}', teacher=labkit.models.load_vlm(...), prompts=...)."
        )
    if assistant is not None and method != "takd":
        raise LabkitError(f"--assistant belongs to the method takd, but the method is {method}.")
    if epochs is not None and steps is not None:
        raise LabkitError("Give either --epochs or --steps, one of the two.")


def _net(name: str | None, known: SimpleNamespace, role: str) -> dict[str, Any]:
    if name is None and not hasattr(known, role):
        raise LabkitError(f"Say which network is the {role}: --{role} NAME, such as --{role} tiny.")
    return {"name": name} if name is not None else dict(getattr(known, role))


def _data(data: str) -> dict[str, Any]:
    """Options of `data.load` for a name or a folder."""
    from .. import data as sets

    if data not in sets.available() and Path(data).is_dir():
        return {"name": "folder", "root": data}
    if data not in sets.available() and os.sep in data:
        raise MissingError(f"There is no folder {data}: name one that holds a folder of images per class.")
    return {"name": data}


def _seed(
    s: SimpleNamespace,
    found: Outcome,
    seed: int,
    per_class: int | None,
    own: dict[str, Any],
    out: Path,
    resume: bool,
    say: Callable[..., None],
) -> None:
    """All networks of one seed."""
    from ..engine import evaluate

    module = pair.few(s, per_class, seed)
    if seed == 0:
        say(module.describe())
    guide = None
    if s.teacher["name"]:
        guide = _teacher(s, module, seed, per_class, out / "teacher", resume)
        test = evaluate(guide, module.test)
        found.tests.setdefault("teacher", []).append(test)
        say(f"seed {seed}: teacher {s.teacher['name']}: {_percent(test)}")
        if test.accuracy < 2 / module.num_classes:
            say(
                f"  That is near chance ({1 / module.num_classes:.1%}), so its student learns noise: train it"
                " longer, or name the folder of a trained run."
            )
    for name in dict.fromkeys((found.method, "scratch")):
        options = own if name == found.method else s.alone
        run = _student(
            s, name, seed, per_class, guide if name == found.method else None, out, resume, options
        )
        found.runs.setdefault(name, []).append(run)
        found.tests.setdefault(name, []).append(evaluate(run.model, module.test))
        say(f"seed {seed}: student {s.student['name']}, {name}: {_percent(found.tests[name][-1])}")


def _percent(test: Evaluation) -> str:
    return f"{test.accuracy:.1%} test accuracy"


def _student(
    s: SimpleNamespace,
    name: str,
    seed: int,
    per_class: int | None,
    guide: Classifier | None,
    out: Path,
    resume: bool,
    options: dict[str, Any],
) -> Run:
    recipe = {k: v for k, v in options.items() if k in pair.RECIPE}
    own = {k: v for k, v in options.items() if k not in recipe}
    student = _sized(s.student, pair.few(s, per_class, seed))
    method = pair.create(s, name, seed, per_class, student=student, guide=guide, **own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabkitWarning)  # a teacher near chance: said already
        return pair.fit(
            s, method, seed, per_class, bank=bool(s.views), out=out / name, resume=resume, **recipe
        )


def _teacher(
    s: SimpleNamespace, module: DataModule, seed: int, per_class: int | None, out: Path, resume: bool
) -> Classifier:
    """The teacher of a seed: a finished run as it is, or a network adapted to the seed's labels."""
    name = s.teacher["name"]
    if not Path(name).is_dir():
        if os.sep in name and not name.startswith("torchvision/"):
            raise MissingError(f"There is no folder {name} with a run, and no network of that name.")
        net = _sized(s.teacher, module)
        net["weights"] = s.teacher.get("weights") or _weights(name, module)
        told = dict(s.teacher_training)
        if net["weights"] is None:
            told |= {"head_share": 0.0}
        own = SimpleNamespace(**vars(s) | {"teacher_training": told})
        return pair.adapted(own, seed, per_class, net, out=out, resume=resume)[0]
    from ..engine import load_run

    run = load_run(Path(name))
    learnt = run.config.get("data", {}).get("classes", [])
    if run.model.num_classes != module.num_classes or (learnt and tuple(learnt) != tuple(module.classes)):
        raise LabkitError(
            f"The teacher in {name} knows {run.model.num_classes} classes ({_few(learnt)}), but"
            f" '{module.name}' has {module.num_classes} ({_few(module.classes)}): name a teacher of these."
        )
    return run.model.requires_grad_(False).eval()


def _few(names: Any) -> str:
    return ", ".join(list(names)[:3]) + ", ..." * (len(names) > 3)


def _sized(net: dict[str, Any], module: DataModule) -> dict[str, Any]:
    """The network for this data's channels and size, where its preset doesn't say."""
    return {"in_chans": module.channels, "image_size": module.image_size, **net}


def _weights(name: str, module: DataModule) -> str | None:
    """'pretrained' unless the network is one of ours that ships without, or for other channels."""
    from ..models.registry import own_names
    from ..models.shipped import SHIPPED

    return None if name in own_names() and (name not in SHIPPED or module.channels != 3) else "pretrained"
