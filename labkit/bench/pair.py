"""One teacher, one student, a few labels: what every comparison of methods runs, and labs 03 and 04 run live.

`s` is always a preset's settings: `data` (a name, or options of `data.load`), `teacher` and `student`
(options of `build`), `assistant` (a name), `teacher_training` and `training` (options of `adapt` and `fit`),
`views`. A seed draws the labels, the initialisation and the order; the teacher learns from the same labels.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from ..data import DataModule
    from ..engine import FeatureBank, Run
    from ..methods import Method
    from ..models import Classifier

RECIPE = ("lr", "weight_decay", "steps", "epochs")  # what `train` may change of the preset's training
CONTROLS = ("scratch", "label_smoothing")  # they learn from the labels alone
_VIEWS_SEED = 7  # of the stored views, apart from the seeds of runs
# What this process has made already, for the jobs that follow: 'modules', 'teachers', ... by their settings.
KEPT: defaultdict[str, dict[str, Any]] = defaultdict(dict)


def few(s: SimpleNamespace, per_class: int | None, seed: int) -> DataModule:
    """The data with `per_class` labels of each class for training; budgets of one seed are nested.

    Validation and test are the same at every budget, the test split at every seed.
    """
    from .. import data
    from .classes import checked

    options = {"name": s.data} if isinstance(s.data, str) else dict(s.data)
    key = key_of(options, per_class, seed, getattr(s, "class_names", None))
    kept = KEPT["modules"]
    if key not in kept:
        if len(kept) > 3:
            kept.clear()
        kept[key] = checked(data.load(seed=seed, per_class=per_class, **options), s)
    return kept[key]


def adapted(
    s: SimpleNamespace,
    seed: int,
    per_class: int | None,
    net: dict[str, Any] | None = None,
    *,
    progress: bool | None = None,
    out: Path | None = None,
    resume: bool = False,
) -> tuple[Classifier, float]:
    """A pretrained network whose new head, then all of it, has learned the same few labels.

    Args:
        s: the preset's settings.
        seed: draws the labels, the head and the order.
        per_class: labels per class.
        net: another teacher than the preset's, as options of `build`: `{"name": ..., "weights": ...}`.
        progress: show bars.
        out: folder of the teacher's own run.
        resume: go on from that folder's last checkpoint.

    Returns:
        The teacher in eval mode, the same object for the same arguments, and its validation accuracy.
    """
    from .. import models
    from ..rng import seed_everything
    from .adapt import adapt

    net = net or s.teacher
    key = key_of(s.data, net, s.teacher_training, seed, per_class)
    kept = KEPT["teachers"]
    if key not in kept or out is not None:  # whose artefacts are wanted
        module = few(s, per_class, seed)
        seed_everything(seed)
        teacher = models.build(num_classes=module.num_classes, **net)
        told = {"seed": seed, "progress": progress, "out": out, "resume": resume}
        run = adapt(teacher, module, **told, **s.teacher_training)
        kept[key] = run.model.requires_grad_(False).eval(), run.accuracy
    return kept[key]


def teacher_bank(
    s: SimpleNamespace,
    seed: int,
    per_class: int | None,
    teacher: Classifier,
    outputs: tuple[str, ...],
    *,
    progress: bool | None = None,
) -> FeatureBank:
    """What a teacher says of `s.views` fixed augmented views of the training images.

    Args:
        s: the preset's settings.
        seed: of the label budget.
        per_class: labels per class.
        teacher: frozen, as `adapted` gives it.
        outputs: what methods need: 'logits', 'embedding', 'maps.0' to 'maps.3'.
        progress: show a bar.
    """
    return stored(s, "teacher", teacher, seed, per_class, outputs, views=s.views, progress=progress)


def stored(
    s: SimpleNamespace,
    role: str,
    net: nn.Module,
    seed: int,
    per_class: int | None,
    outputs: tuple[str, ...] | None,
    *,
    views: int,
    progress: bool | None = None,
) -> FeatureBank:
    """A frozen network's outputs for the training images, as float16; of each role the last bank is kept.

    It lies in memory, or memory-mapped in the cache where the settings say `keep`. All roles see the same
    views.

    Args:
        s: the preset's settings.
        role: such as 'teacher'.
        net: the network.
        seed, per_class: of the label budget.
        outputs: as for `FeatureBank`.
        views: fixed augmented views of each image; 0 for the images as they are.
        progress: show a bar.
    """
    from ..data import Augment
    from ..engine import FeatureBank

    module = few(s, per_class, seed)
    moving = views and module.augment != Augment()
    key = key_of(s.data, views, seed, per_class)
    kept = KEPT["banks"]
    known, model, bank = kept.get(role, (None, None, None))
    if known == key and model is net and set(outputs or bank.names) <= set(bank.names):
        return bank
    kept.pop(role, None)  # before another is made: both may not fit into memory
    bank = FeatureBank(
        net,
        module.train,
        views=views if moving else 1,
        augment=module.augment if moving else None,
        seed=_VIEWS_SEED,
        outputs=outputs,
        dtype="float16",
        keep=getattr(s, "keep", False),
        progress=progress,
    )
    kept[role] = key, net, bank
    return bank


def create(
    s: SimpleNamespace,
    method: str,
    seed: int,
    per_class: int | None,
    *,
    student: str | dict[str, Any] | None = None,
    guide: Classifier | None = None,
    **options: Any,
) -> Method:
    """A method with its student, initialised by the seed alone, and the teacher where it asks one.

    A method with a vision-language teacher gets that of the settings, and DAIT its trained intermediate: see
    `vlm.arranged`, and `vlm.intermediate` for `anchors`, which such methods take.

    Args:
        s: the preset's settings.
        method: a name of `methods.available()`.
        seed: of the initialisation.
        per_class: labels per class, of the teacher where `guide` is None.
        student: another student than the preset's, a name or options of `build`.
        guide: the teacher; None adapts, or loads, the preset's.
        options: the method's own.
    """
    from .. import methods, models
    from ..rng import seed_everything

    if methods.asks_vlm(method):
        from . import vlm

        method, guide, options = vlm.arranged(s, method, seed, per_class, guide, options)
    elif guide is None and asks(method, options):
        guide, _ = adapted(s, seed, per_class)
    if method == "takd" and "assistant" not in options:
        options["assistant"] = s.assistant
    net = {"name": student} if isinstance(student, str) else student or s.student
    module = few(s, per_class, seed)
    seed_everything(seed)  # the same student for every method: it is built first
    net = models.build(num_classes=module.num_classes, **net)
    return methods.create(method, student=net, teacher=guide, **options)


def train(
    s: SimpleNamespace,
    method: str,
    seed: int,
    per_class: int | None,
    *,
    student: str | dict[str, Any] | None = None,
    guide: Classifier | None = None,
    bank: FeatureBank | bool = True,
    progress: bool | None = None,
    out: Path | str | None = None,
    **options: Any,
) -> Run:
    """Train one student; the same steps for every method and budget.

    Args:
        s, method, seed, per_class, student, guide: see `create`.
        bank: where the frozen networks' outputs are read: True makes a bank of what the method needs, False
            runs them in every step.
        progress: show bars.
        out: folder of the run.
        options: the method's own and, of the recipe, lr, weight_decay, steps or epochs.

    Returns:
        The run; its model has the weights that were best on validation.
    """
    recipe = {name: options.pop(name) for name in RECIPE if name in options}
    made = create(s, method, seed, per_class, student=student, guide=guide, **options)
    return fit(s, made, seed, per_class, bank=bank, progress=progress, out=out, **recipe)


def fit(
    s: SimpleNamespace,
    method: Method,
    seed: int,
    per_class: int | None,
    *,
    bank: FeatureBank | bool = True,
    progress: bool | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    **recipe: Any,
) -> Run:
    """Train a method that `create` made, by the preset's recipe but for what `recipe` names."""
    from .. import engine

    return engine.fit(
        method,
        few(s, per_class, seed),
        bank=(banks(s, method, seed, per_class, progress) if bank is True else bank) or None,
        seed=seed,
        out=out,
        resume=resume,
        overwrite=not resume,
        progress=progress,
        **changed(s.training, recipe),
    )


def banks(
    s: SimpleNamespace, method: Method, seed: int, per_class: int | None, progress: bool | None = None
) -> FeatureBank | dict[str, FeatureBank] | None:
    """What a method's frozen networks say of its training images: of a teacher all of `s.outputs`, if set."""
    from ..methods.vlm_teacher import ZeroShot

    if isinstance(method.teacher, ZeroShot) or getattr(method, "only", None) == 2:
        from . import vlm

        return vlm.banks(s, method, seed, per_class, progress)
    if method.teacher is None or not method.needs:
        return None
    outputs = tuple(dict.fromkeys((*getattr(s, "outputs", ()), *method.needs)))
    return teacher_bank(s, seed, per_class, method.teacher, outputs, progress=progress)


def changed(recipe: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A recipe with some of its options replaced; `steps` and `epochs` replace each other."""
    ours = dict(recipe)
    if {"steps", "epochs"} & new.keys():
        ours = {k: v for k, v in ours.items() if k not in ("steps", "epochs")}
    return ours | new


def asks(method: str, options: dict[str, Any]) -> bool:
    """Whether a method with these options reads a teacher."""
    return method not in CONTROLS or bool(options.get("kd_weight"))


def key_of(*parts: Any) -> str:
    """Plain settings as one string."""
    return json.dumps(parts, sort_keys=True, default=str)
