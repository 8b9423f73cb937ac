"""What of the arguments of `labkit distill` is refused, before anything is loaded or trained."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import LabkitError, unknown
from . import pair

if TYPE_CHECKING:
    from .distill_settings import Asked

BETWEEN = ("dait", "takd_clip")  # methods with a trained network between model and student
FIRST_STAGE = (*BETWEEN, "pand")
LENGTHS, HEADS = ("epochs", "steps"), ("head_lr", "head_share")  # of a recipe, beside `fit`'s options


def check(asked: Asked) -> None:
    """Refuse what can't be run, before anything is loaded."""
    from .. import methods

    if asked.method not in methods.available():
        raise unknown("method", asked.method, methods.available())
    asks_vlm = methods.asks_vlm(asked.method)
    if asked.assistant is not None and asked.method != "takd":
        raise LabkitError(f"--assistant belongs to the method takd, but the method is {asked.method}.")
    if asked.intermediate is not None and asked.method not in BETWEEN:
        raise LabkitError(
            f"--intermediate belongs to the methods {' and '.join(BETWEEN)}, but the method is"
            f" {asked.method}."
        )
    if asked.only not in (None, 1):
        raise LabkitError(f"--only takes 1, for the first stage alone, but got {asked.only}.")
    if asked.only and asked.method not in FIRST_STAGE:
        raise LabkitError(
            f"--only 1 belongs to the methods {', '.join(FIRST_STAGE)}, but the method is {asked.method}."
        )
    for name in ("vlm", "prompts", "anchors"):
        if getattr(asked, name) is not None and not asks_vlm:
            raise LabkitError(
                f"--{name} belongs to methods that learn from a vision-language model, which {asked.method}"
                " does not."
            )
    if asked.teacher is not None and asks_vlm:
        raise LabkitError(
            f"The method {asked.method} learns from a vision-language model: name it with --vlm, not with"
            " --teacher."
        )
    if asked.anchors is not None and asked.prompts is not None and Path(asked.anchors).exists():
        raise LabkitError("Give --prompts or a file of --anchors, one of the two.")
    if asked.only and asked.method == "dait":
        for name in asked.options:
            if name in ("k", "b", "e", "transfer", "channels", "transfer_views"):
                raise LabkitError(
                    f"--only 1 stops after the first stage, which doesn't read {name}: its own options have"
                    " the prefix stage1, as in stage1.k=1."
                )
    if asked.epochs is not None and asked.steps is not None:
        raise LabkitError("Give either --epochs or --steps, one of the two.")


def check_names(s: SimpleNamespace, own: dict[str, Any], method: str) -> None:
    """Refuse a name, an option or a value that nothing can take, before what teaches is trained for hours."""
    from .. import methods, models
    from ..models.vlm import VLMS

    told = {name: value for name, value in own.items() if name not in (*pair.RECIPE, "stage1")}
    first = getattr(s, "stage1", {})
    methods.check_options(method, told)
    methods.check_options("dait", ({**told, **first, "only": 1} if method == "dait" else first))
    known = inspect.signature(methods.calibrate).parameters
    methods.check_numbers("option of PAND's calibration", known, getattr(s, "calibration", {}))
    changed = pair.changed(s.training, {name: own[name] for name in pair.RECIPE if name in own})
    for recipe in (changed, s.teacher_training, getattr(s, "intermediate_training", {})):
        _check_recipe(recipe)
    size, k = s.training["batch_size"], told.get("k", 3)
    if method == "pand" and told.get("weight", 1) and k >= size:
        raise LabkitError(
            f"k={k} neighbours need batches of at least {k + 1} images, but batch_size is {size}."
        )
    vlm = getattr(s, "vlm", VLMS[0])
    if (name := vlm if isinstance(vlm, str) else vlm["name"]) not in VLMS:
        raise unknown("vision-language model", name, VLMS)
    nets = [s.student, s.teacher, getattr(s, "intermediate", {})]
    names = [net.get("name", "") for net in nets] + [s.assistant] * (method == "takd")
    for name in filter(None, names):
        if not Path(name).is_dir() and (os.sep not in name or name.startswith("torchvision/")):
            models.check_name(name)


def _check_recipe(recipe: dict[str, Any]) -> None:
    from ..engine import Recipe

    own = {name: recipe[name] for name in Recipe.__dataclass_fields__ if name in recipe}
    for name in recipe:
        if name not in (*own, *LENGTHS, *HEADS):
            raise unknown("option of a training", name, (*Recipe.__dataclass_fields__, *LENGTHS, *HEADS))
    Recipe(**own)
    for name in (*LENGTHS, *HEADS):
        value = recipe.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise LabkitError(f"{name} must be a number of at least 0, but it is {value!r}.")
