"""What every method shares: a student to train, perhaps a frozen teacher, and a name."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..data import Batch
from ..engine import Stage
from ..errors import LabkitError, LabkitWarning, unknown
from ..models import Classifier, Output

_METHODS: dict[str, type[Method]] = {}


class Method(nn.Module):
    """A distillation method: which network is frozen, which is trained, and the losses of one batch.

    Args:
        student: the classifier to train; `deployed()` returns it alone.
        teacher: a trained classifier; frozen here, and kept in eval mode whatever the caller does.

    Attributes:
        needs: which of the teacher's outputs the losses read, such as 'logits' or 'maps.3': what a
            `FeatureBank` of the teacher must store to spare its forward pass.

    Raises:
        LabkitError: the student is no network, a teacher is needed and missing, or the class counts differ.
    """

    name: ClassVar[str] = ""
    needs_teacher: ClassVar[bool] = False
    frozen: ClassVar[tuple[str, ...]] = ("teacher",)
    needs: tuple[str, ...] = ()

    def __init__(self, student: Classifier, teacher: Classifier | None = None, **options: Any) -> None:
        super().__init__()
        if not isinstance(student, nn.Module):
            raise LabkitError(
                f"The student must be a network, not {student!r}: labkit.models.build makes one."
            )
        if self.needs_teacher and teacher is None:
            raise LabkitError(f"The method '{self.name}' needs a trained teacher: pass teacher=...")
        counts = [getattr(net, "num_classes", None) for net in (student, teacher)]
        if teacher is not None and None not in counts and counts[0] != counts[1]:
            raise LabkitError(
                f"Student and teacher must share their classes, but have {counts[0]} and {counts[1]}:"
                " build both with the same num_classes."
            )
        if teacher is not None and teacher.training:
            warnings.warn(
                f"The teacher of '{self.name}' was in train mode, where its statistics and dropout move:"
                " it is in eval mode now, and frozen.",
                LabkitWarning,
                stacklevel=2,
            )
        self.student = student
        self.teacher = teacher.requires_grad_(False).eval() if teacher is not None else None
        self.options = options

    @classmethod
    def check_values(cls, options: Mapping[str, Any]) -> None:
        """Raise LabkitError where an option, all of them given, is outside its range; before any training."""

    def train(self, mode: bool = True) -> Method:
        """Like `nn.Module.train`, but frozen networks stay in eval mode: their statistics must not drift."""
        super().train(mode)
        for name in self.frozen:
            if getattr(self, name, None) is not None:
                getattr(self, name).eval()
        return self

    def ask_teacher(self, batch: Batch) -> Output:
        """The teacher's output on the batch's images, without gradient.

        Where a bank has stored all that the method `needs` (as 'logits', or as 'teacher.logits' where there
        are several banks), the teacher does not run and the rest of the output is None.
        """
        stored = {name: batch.stored.get(name, batch.stored.get(f"teacher.{name}")) for name in self.needs}
        if stored and all(value is not None for value in stored.values()):
            maps = tuple(stored.get(f"maps.{i}") for i in range(4))
            return Output(stored.get("logits"), stored.get("embedding"), maps, stored.get("final_map"))
        with torch.no_grad():
            return self.teacher(batch.image)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Named scalar losses of one batch; `"total"` is minimised. `progress` in [0, 1) is the stage's."""
        raise NotImplementedError

    def stages(self) -> list[Stage]:
        """What is trained, in order; by default everything that is not frozen, once."""
        return [Stage(self.name, self)]

    def deployed(self) -> Classifier:
        """The plain student, without connectors or teacher."""
        return self.student


def register(cls: type[Method]) -> type[Method]:
    """Class decorator: make a method known to `create` and `available` under its `name`."""
    _METHODS[cls.name] = cls
    return cls


def available() -> list[str]:
    """Names of all methods."""
    return sorted(_METHODS)


def create(name: str, *, student: Classifier, teacher: Classifier | None = None, **options: Any) -> Method:
    """Build a method by name; `options` are its own hyper-parameters.

    Raises:
        LabkitError: unknown name or option, a value of another kind or outside its range, missing teacher,
            or class counts that differ.
    """
    check_options(name, options)
    cls: Callable[..., Method] = _METHODS[name]
    return cls(student, teacher, **options)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise LabkitError unless there is a method of this name, with all of these options and their values."""
    if name not in _METHODS:
        raise unknown("method", name, _METHODS)
    known = _options(_METHODS[name])
    check_numbers(f"option of the method '{name}'", known, options)
    usual = {option: parameter.default for option, parameter in known.items()}
    _METHODS[name].check_values({**usual, **options})


def check_numbers(kind: str, known: Mapping[str, inspect.Parameter], options: Mapping[str, Any]) -> None:
    """Refuse options that no parameter has, and words or infinities in place of a parameter's number."""
    for option, value in options.items():
        if option not in known:
            raise unknown(kind, option, known)
        parts = str(known[option].annotation).split(" | ")
        if not {"int", "float"} & set(parts) or (value is None and "None" in parts):
            continue
        if isinstance(value, str) and "str" in parts:
            continue
        number = Real if "float" in parts else Integral
        if isinstance(value, bool) or not isinstance(value, number) or not math.isfinite(value):
            words = "a number" if number is Real else "a whole number"
            raise LabkitError(f"{option} must be {words}, but it is {value!r}.")


def _options(cls: type[Method]) -> dict[str, inspect.Parameter]:
    """The options of a method: its own, and those of the classes that its `**terms` go to."""
    known: dict[str, inspect.Parameter] = {}
    for parent in cls.__mro__:
        if "__init__" not in parent.__dict__:
            continue
        parameters = list(inspect.signature(parent.__init__).parameters.values())[1:]
        named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        known |= {p.name: p for p in named if p.name not in ("student", "teacher", *known)}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters) or parent is Method:
            break
    return known
