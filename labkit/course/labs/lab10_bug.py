"""The bug of lab 10: a list that belongs to the class grows with every object that is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..checks import Check, Misconception

_CLASSES = ("wren", "marsh rail")


def _draw_bug(seed: int) -> tuple[str, str]:
    kinds = ("pet", "flower", "aircraft", "food", "car")
    first, second = kinds[seed % 5], kinds[(seed + 2) % 5]
    return f"a photo of a {{}}, a type of {first}.", f"a photo of a {{}}, a type of {second}."


def _observe_bug(kind: Any, first: str, second: str) -> dict[str, Any]:
    """Three objects for two data sets; whatever they did to the class's list is undone afterwards."""
    shared = getattr(kind, "templates", None)
    before = list(shared or [])
    try:
        made = [kind(extra) for extra in (first, second, first)]
        prompts = [each.prompts(_CLASSES) for each in made]
        return {
            "how many templates each adds to the general ones": [len(p) - len(before) for p in prompts],
            "the prompts that each adds": [[list(row) for row in p[len(before) :]] for p in prompts],
            "the general prompts of each": [
                [list(row) for row in p[: len(before)]] == _filled(before) for p in prompts
            ],
        }
    finally:
        if isinstance(shared, list):
            shared[:] = before
            if isinstance(kind, type):
                kind.templates = shared


def _filled(templates: list[str]) -> list[list[str]]:
    return [[t.format(name) for name in _CLASSES] for t in templates]


class _Prompts:
    """What all versions share."""

    templates: ClassVar[Sequence[str]] = ("a photo of a {}.", "art of the {}.", "a bad photo of the {}.")

    def prompts(self, classes: Any) -> list[list[str]]:
        return [[t.format(name) for name in classes] for t in self.templates]


class Ensemble(_Prompts):
    """Several general templates and one for the data set at hand."""

    templates: ClassVar[list[str]] = list(_Prompts.templates)

    def __init__(self, extra: str) -> None:
        self.templates = [*self.templates, extra]


class _Grows(_Prompts):
    templates: ClassVar[list[str]] = list(_Prompts.templates)

    def __init__(self, extra: str) -> None:
        self.templates += [extra]  # the defect that the exercise is about


class _GrowsOnce(_Prompts):
    templates: ClassVar[list[str]] = list(_Prompts.templates)

    def __init__(self, extra: str) -> None:
        if extra not in self.templates:
            self.templates += [extra]


class _Replaces(_Prompts):
    templates: ClassVar[list[str]] = list(_Prompts.templates)

    def __init__(self, extra: str) -> None:
        self.templates = [extra]


class _LeavesOut(_Prompts):
    templates: ClassVar[list[str]] = list(_Prompts.templates)

    def __init__(self, extra: str) -> None:
        self.templates = list(self.templates)


class _Appends(_Prompts):
    templates: ClassVar[list[str]] = list(_Prompts.templates)

    def __init__(self, extra: str) -> None:
        self.templates = list(self.templates).append(extra)


class _Last(_Prompts):
    """The class's list is put back to the general ones by every new object."""

    templates: ClassVar[list[str]] = list(_Prompts.templates)

    def __init__(self, extra: str) -> None:
        self.templates[:] = [*_Prompts.templates, extra]


class _InFront(_Prompts):
    templates: ClassVar[list[str]] = list(_Prompts.templates)

    def __init__(self, extra: str) -> None:
        self.templates = [extra, *self.templates]


class _Letters(_Prompts):
    templates: ClassVar[list[str]] = list(_Prompts.templates)

    def __init__(self, extra: str) -> None:
        self.templates = [*self.templates, *extra.split(", ")]


BUG = Check(
    id="10-bug",
    title="the ensemble, mended",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_bug,
    observe=_observe_bug,
    reference=Ensemble,
    misconceptions=(
        Misconception(
            "the class as it was",
            _Grows,
            "Make two objects and print `len(Ensemble.templates)` before and after. On a list, += changes"
            " that very list, and it is the class's: all objects share it.",
        ),
        Misconception(
            "only doubles avoided",
            _GrowsOnce,
            "The same data set twice is fine now, but birds still get the template of the aircraft before"
            " them: the list is still everybody's.",
        ),
        Misconception(
            "the list overwritten by the newest object",
            _Last,
            "Each new object now resets the shared list, and thereby changes the prompts of those made"
            " before it. Give each object a list of its own.",
        ),
        Misconception(
            "the general templates dropped",
            _Replaces,
            "Only the data set's own template is left: the general ones belong to the ensemble as well.",
        ),
        Misconception(
            "the extra template dropped",
            _LeavesOut,
            "A list of its own for each object is right; the data set's template must still go into it.",
        ),
        Misconception(
            "the result of append",
            _Appends,
            "`append` changes a list and returns None. Make a new list: [*old, new].",
        ),
        Misconception(
            "the extra template in front",
            _InFront,
            "A list of its own for each object is right. As the class had it, the general templates come"
            " first and the data set's last.",
        ),
        Misconception(
            "a template cut at its comma",
            _Letters,
            "The extra template is one entry: a list with one string, [extra].",
        ),
    ),
    hints=(
        "Run the ensemble for aircraft first and for birds after that, and print the birds' prompts.",
        "Where does the list live: in the object or in the class? What does `+=` do to a list?",
        "`a = b = [1]; a += [2]` changes b as well; `a = a + [2]` makes a new list and leaves b alone.",
    ),
)
