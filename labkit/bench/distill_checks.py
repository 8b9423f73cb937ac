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
    if asked.epochs is not None and asked.steps is not None:
        raise LabkitError("Give either --epochs or --steps, one of the two.")


def check_names(s: SimpleNamespace, own: dict[str, Any], method: str) -> None:
    """Refuse a name or an option that nothing has, before what teaches is trained for hours."""
    from .. import methods, models

    methods.check_options(method, [name for name in own if name not in (*pair.RECIPE, "stage1")])
    methods.check_options("dait", getattr(s, "stage1", {}))
    for name in getattr(s, "calibration", {}):
        if name not in (known := inspect.signature(methods.calibrate).parameters):
            raise unknown("option of PAND's calibration", name, known)
    nets = [s.student, s.teacher, getattr(s, "intermediate", {})]
    names = [net.get("name", "") for net in nets] + [s.assistant] * (method == "takd")
    for name in filter(None, names):
        if not Path(name).is_dir() and (os.sep not in name or name.startswith("torchvision/")):
            models.check_name(name)
