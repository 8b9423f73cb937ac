"""What a check is: the one definition that teaches in the notebook and grades with hidden draws.

A check takes the student's object as its argument; nothing is looked up by name in the notebook.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import LabkitError

PUBLIC_SEEDS = (0, 1, 2)
ID = re.compile(r"\d\d-[a-z0-9]+(-[a-z0-9]+)*")

Draw = Callable[[int], tuple]
Observe = Callable[..., Any]


@dataclass(frozen=True)
class Misconception:
    """A runnable wrong answer. A student whose values equal its values on every public draw gets `hint`."""

    name: str
    answer: Any
    hint: str


@dataclass(frozen=True)
class Property:
    """A law the answer must obey whatever the numbers, such as "at a high temperature the result is uniform".

    `test(answer, seed)` returns False (or raises AssertionError) when the law is broken; True and None hold.
    """

    name: str
    test: Callable[[Any, int], bool | None]
    hint: str


@dataclass(frozen=True)
class Check:
    """One exercise: inputs, the right answer, the usual wrong ones and the hints.

    Attributes:
        id: `NN-kebab-name`; also nbgrader's grade_id and the cell's id. Never changes after a release.
        title: what the student implements, in a few words; goes into the text of the TODO.
        points, minutes, difficulty: shown in the TODO's header line; difficulty is 1 to 5.
        draw: seed -> tuple of inputs, equal for equal seeds. Seeds 0 to 2 are public, all others hidden.
            Runs with every generator seeded, so `torch.randn` is deterministic here.
        reference: the right answer; a function, a class, or a plain value.
        misconceptions: wrong answers with a hint each.
        properties: laws tested once the values are right.
        observe: (answer, *inputs) -> value, where calling the answer is not enough (a class, a training
            step with side effects). A value is a tensor, number, string, bool, None, or tuples, lists and
            dicts of them. Default: `answer(*inputs)`, or the answer itself if the reference isn't callable.
        rtol, atol: two values agree where |a - b| <= atol + rtol |b|.
        differentiable: positions of the inputs through which a gradient must flow; the gradients are
            compared as well (of a fixed weighting of all outputs).
        hints: three texts that open with the attempts: a nudge, where to look, a worked analogue.
    """

    id: str
    title: str
    points: int
    minutes: int
    difficulty: int
    draw: Draw
    reference: Any
    misconceptions: tuple[Misconception, ...]
    hints: tuple[str, str, str]
    properties: tuple[Property, ...] = ()
    observe: Observe | None = None
    rtol: float = 1e-4
    atol: float = 1e-6
    differentiable: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise LabkitError(f"Check '{self.id}': {fault}")

    @property
    def lab(self) -> str:
        """The two digits of the lab, such as '01'."""
        return self.id[:2]

    @property
    def header(self) -> str:
        """The generated first line of the TODO cell."""
        points = f"{self.points} point{'s' if self.points != 1 else ''}"
        dots = "●" * self.difficulty + "○" * (5 - self.difficulty)
        return f"# TODO {self.id} · {points} · ~{self.minutes} min · difficulty {dots}"


def _fault(check: Check) -> str | None:
    if not ID.fullmatch(check.id) or len(check.id) > 48:
        return "an id is two digits and a kebab name of at most 48 characters, such as '01-kd-loss'."
    if check.points <= 0 or check.minutes <= 0:
        return f"points and minutes must be positive, not {check.points} and {check.minutes}."
    if not 1 <= check.difficulty <= 5:
        return f"difficulty goes from 1 to 5, not {check.difficulty}."
    if len(check.hints) != 3 or not all(isinstance(hint, str) and hint.strip() for hint in check.hints):
        return "give three hints: a nudge, where to look, a worked analogue."
    names = [item.name for item in (*check.misconceptions, *check.properties)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"two misconceptions or properties are called '{twice[0]}'."
    return None
