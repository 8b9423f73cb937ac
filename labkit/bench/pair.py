"""One teacher, one student, a few labels: what every comparison of methods runs, and labs 03 and 04 run live.

`s` is always a preset's settings: `data` (a name, or options of `data.load`), `teacher` and `student`
(options of `build`), `assistant` (a name), `teacher_training` and `training` (options of `adapt` and `fit`),
`views`. A seed draws the labels, the initialisation and the order; the teacher learns from the same labels.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data import DataModule
    from ..engine import FeatureBank, Run
    from ..methods import Method
    from ..models import Classifier

RECIPE = ("lr", "weight_decay", "steps", "epochs")  # what `train` may change of the preset's training
CONTROLS = ("scratch", "label_smoothing")  # they learn from the labels alone
_VIEWS_SEED = 7  # of the stored views, apart from the seeds of runs
# What this process has made already, for the jobs that follow. Of the banks, which may hold maps, the last.
_MODULES: dict[str, Any] = {}
_TEACHERS: dict[str, tuple[Any, float]] = {}
_BANKS: dict[str, tuple[Any, Any]] = {}  # the teacher with its bank


def few(s: SimpleNamespace, per_class: int | None, seed: int) -> DataModule:
    """The data with `per_class` labels of each class for training; budgets of one seed are nested.

    Validation and test are the same at every budget, the test split at every seed.
    """
    from .. import data

    options = {"name": s.data} if isinstance(s.data, str) else dict(s.data)
    key = _key(options, per_class, seed)
    if key not in _MODULES:
        if len(_MODULES) > 3:
            _MODULES.clear()
        _MODULES[key] = data.load(seed=seed, per_class=per_class, **options)
    return _MODULES[key]


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
    key = _key(s.data, net, s.teacher_training, seed, per_class)
    if key not in _TEACHERS:
        module = few(s, per_class, seed)
        seed_everything(seed)
        teacher = models.build(num_classes=module.num_classes, **net)
        told = {"seed": seed, "progress": progress, "out": out, "resume": resume}
        run = adapt(teacher, module, **told, **s.teacher_training)
        _TEACHERS[key] = run.model.requires_grad_(False).eval(), run.accuracy
    return _TEACHERS[key]


def teacher_bank(
    s: SimpleNamespace,
    seed: int,
    per_class: int | None,
    teacher: Classifier,
    outputs: tuple[str, ...],
    *,
    progress: bool | None = None,
) -> FeatureBank:
    """What a teacher says of `s.views` fixed augmented views of the training images, as float16.

    It lies in memory, or memory-mapped in the cache where the settings say `keep`.

    Args:
        s: the preset's settings.
        seed: of the label budget.
        per_class: labels per class.
        teacher: frozen, as `adapted` gives it.
        outputs: what methods need: 'logits', 'embedding', 'maps.0' to 'maps.3'.
        progress: show a bar.
    """
    from ..engine import FeatureBank

    module = few(s, per_class, seed)
    key = _key(s.data, s.views, seed, per_class)
    known, bank = _BANKS.get(key, (None, None))
    if known is teacher and set(outputs) <= set(bank.names):
        return bank
    bank = FeatureBank(
        teacher,
        module.train,
        views=s.views,
        augment=module.augment,
        seed=_VIEWS_SEED,
        outputs=outputs,
        dtype="float16",
        keep=getattr(s, "keep", False),
        progress=progress,
    )
    _BANKS.clear()
    _BANKS[key] = teacher, bank
    return bank


def forget() -> None:
    """Drop the data, teachers and banks that this process keeps."""
    for kept in (_MODULES, _TEACHERS, _BANKS):
        kept.clear()


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

    Args:
        s: the preset's settings.
        method: a name of `methods.available()`.
        seed: of the initialisation.
        per_class: labels per class, of the teacher where `guide` is None.
        student: another student than the preset's, a name or options of `build`.
        guide: the teacher; None adapts the preset's.
        options: the method's own.
    """
    from .. import methods, models
    from ..rng import seed_everything

    if guide is None and asks(method, options):
        guide, _ = adapted(s, seed, per_class)
    if method == "takd":
        options = {"assistant": s.assistant, **options}
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
        bank: where the frozen teacher's outputs are read: True makes a `teacher_bank` of what the method
            needs, False runs the teacher in every step.
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

    if method.teacher is None or not method.needs:
        bank = False
    if bank is True:
        bank = teacher_bank(s, seed, per_class, method.teacher, method.needs, progress=progress)
    ours = dict(s.training)
    if {"steps", "epochs"} & recipe.keys():  # one of the two
        ours = {k: v for k, v in ours.items() if k not in ("steps", "epochs")}
    return engine.fit(
        method,
        few(s, per_class, seed),
        bank=bank or None,
        seed=seed,
        out=out,
        resume=resume,
        overwrite=not resume,
        progress=progress,
        **ours | recipe,
    )


def asks(method: str, options: dict[str, Any]) -> bool:
    """Whether a method with these options reads a teacher."""
    return method not in CONTROLS or bool(options.get("kd_weight"))


def _key(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=str)
