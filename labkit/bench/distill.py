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

from ..errors import LabkitError, LabkitWarning, MissingError
from . import distill_vlm, pair
from .distill_settings import Asked, settings

if TYPE_CHECKING:
    from ..data import DataModule
    from ..engine import Evaluation, Run
    from ..models import Classifier


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
        student: a name for `models.build`, trained from scratch.
        teacher: such a name, whose pretrained weights (where there are any) are adapted to the same labels;
            or the folder of a finished run, taken as it is.
        assistant: a name, for the method 'takd'.
        vlm: the vision-language model, where the method learns from one.
        prompts: a template for it, or a file of templates or of one sentence per class.
        intermediate: as `teacher`, of what 'dait' and 'takd_clip' train between model and student.
        anchors: 'fixed' for the prompts, 'calibrated' for PAND's first stage, or the file that one wrote.
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
        *(method, data, student, teacher, assistant, vlm, prompts, intermediate, anchors, epochs, steps),
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
    for seed in range(seeds):
        _seed(s, found, seed, per_class, own, out / f"seed{seed}", resume, say)
    if main:
        from .distill_report import report

        found.report = report(found, s, out, time.perf_counter() - started)
    return found


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
    from .. import methods
    from ..engine import evaluate, load_run

    module = pair.few(s, per_class, seed)
    s = SimpleNamespace(**vars(s) | {"student": _sized(s.student, module)})
    if seed == 0:
        found.module = module
        say(module.describe())

    def note(name: str, words: str, test: Evaluation) -> None:
        found.words[name] = words
        found.tests.setdefault(name, []).append(test)
        say(f"seed {seed}: {words}: {test.accuracy:.1%} test accuracy")
        if name not in ("scratch", found.method) and test.accuracy < 2 / module.num_classes:
            say(_near_chance(name, module.num_classes))

    def network(net: dict[str, Any], role: str) -> Classifier | dict[str, Any]:
        return _network(net, module, role)

    guide = None
    if methods.asks_vlm(found.method):
        own = distill_vlm.prepare(s, found.method, module, seed, per_class, own, out, resume, note, network)
        if (out / "intermediate").is_dir():
            found.runs.setdefault("intermediate", []).append(load_run(out / "intermediate"))
    elif s.teacher["name"]:
        guide = _teacher(s, module, seed, per_class, out / "teacher", resume)
        note("teacher", f"teacher {s.teacher['name']}", evaluate(guide, module.test))
    for name in dict.fromkeys((found.method, "scratch")):
        teacher, options = (guide, own) if name == found.method else (None, s.alone)
        run = _student(s, name, seed, per_class, teacher, out / name, resume, options)
        found.runs.setdefault(name, []).append(run)
        note(name, f"student {s.student['name']}, {name}", evaluate(run.model, module.test))


def _near_chance(name: str, classes: int) -> str:
    """What is said of a network that guesses."""
    words = f"  That is near chance ({1 / classes:.1%})"
    if name in ("zero-shot", "calibrated"):
        return f"{words}: it hardly knows these classes."
    return f"{words}, so its student learns noise: train it longer, or name the folder of a trained run."


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
    method = pair.create(s, name, seed, per_class, guide=guide, **own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabkitWarning)  # a teacher near chance: said already
        return pair.fit(s, method, seed, per_class, bank=bool(s.views), out=out, resume=resume, **recipe)


def _teacher(
    s: SimpleNamespace, module: DataModule, seed: int, per_class: int | None, out: Path, resume: bool
) -> Classifier:
    """The teacher of a seed: a finished run as it is, or a network adapted to the seed's labels."""
    net = _network(s.teacher, module, "teacher")
    if not isinstance(net, dict):
        return net
    told = dict(s.teacher_training)
    if net["weights"] is None:
        told |= {"head_share": 0.0}
    own = SimpleNamespace(**vars(s) | {"teacher_training": told})
    return pair.adapted(own, seed, per_class, net, out=out, resume=resume)[0]


def _network(net: dict[str, Any], module: DataModule, role: str) -> Classifier | dict[str, Any]:
    """The network of a finished run, frozen; or options of `build` for one to be trained."""
    name = net["name"]
    if not Path(name).is_dir():
        if os.sep in name and not name.startswith("torchvision/"):
            raise MissingError(f"There is no folder {name} with a run, and no network of that name.")
        return {**_sized(net, module), "weights": net.get("weights") or _weights(name, module)}
    from ..engine import load_run

    run = load_run(Path(name))
    learnt = run.config.get("data", {}).get("classes", [])
    if run.model.num_classes != module.num_classes or (learnt and tuple(learnt) != tuple(module.classes)):
        raise LabkitError(
            f"The {role} in {name} knows {run.model.num_classes} classes ({_few(learnt)}), but"
            f" '{module.name}' has {module.num_classes} ({_few(module.classes)}): name one of these."
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
