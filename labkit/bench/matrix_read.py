"""What a data set's comparison has found: its rows, what of it is done, accuracies and differences."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from .matrix import KINDS, REFERENCES, lengths
from .results import Results
from .stats import Interval


def conditions(s: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """What the rows of one method differ in, in words, and how to select them; few labels first."""
    found = {}
    for per_class in sorted(s.budgets, key=lambda budget: budget or math.inf):
        for length in lengths(s):
            labels = f"{per_class} label{'s' * (per_class > 1)}" if per_class else "all labels"
            words = [labels] * (len(s.budgets) > 1 or not length) + [f"{n} epochs" for n in length.values()]
            found[", ".join(words)] = {"per_class": per_class, **length}
    return found


def rows(results: Results, s: SimpleNamespace) -> dict[str, str]:
    """The references and methods that were run, with their words."""
    names = {name: REFERENCES[name].words for name in s.references}
    names |= {name: KINDS[name].words for name in s.methods}
    return {name: words for name, words in names.items() if results.select(experiment="main", method=name)}


def done(results: Results, s: SimpleNamespace) -> Results:
    """The reported runs of the seeds with which, under their condition, every row was run."""
    kept = {}
    for where in conditions(s).values():
        found = [results.select(**_wanted(name, where)) for name in rows(results, s)]
        seeds = set.intersection(*({row["seed"] for row in runs} for runs in found)) if found else ()
        kept |= {id(row): row for runs in found for row in runs if row["seed"] in seeds}
    return Results(results.command, results.machine, list(kept.values()))


def shown(results: Results, s: SimpleNamespace) -> dict[str, dict[str, Any]]:
    """The conditions under which all rows were run with some seed; others are not done yet."""
    found = done(results, s)
    return {
        words: where
        for words, where in conditions(s).items()
        if all(found.select(**_wanted(name, where)) for name in rows(results, s)) and found.rows
    }


def accuracy(results: Results, method: str, where: dict[str, Any], measure: str = "test") -> Interval:
    """Mean and interval of a method under one condition."""
    return results.interval(measure, **_wanted(method, where))


def values(results: Results, method: str, where: dict[str, Any], measure: str = "test") -> list[Any]:
    """What was measured of a method under one condition, by seed."""
    return results.values(measure, **_wanted(method, where))


def gain(results: Results, method: str, control: str, where: dict[str, Any]) -> Interval:
    """Paired difference of a method to a control under one condition."""
    return results.gain(_wanted(method, where), _wanted(control, where))


def best_of(results: Results, methods: list[str], where: dict[str, Any]) -> str:
    """The method of the largest mean on the test images: chosen in its own favour."""
    return max(methods, key=lambda method: accuracy(results, method, where).mean)


def on_roster(results: Results, s: SimpleNamespace) -> tuple[Results, dict[str, dict[str, Any]]]:
    """The roster's runs of the seeds that all its students have, and how to select a student's.

    The preset's own student is that of the table; without any other there are none.
    """
    where, kept = {}, {}
    for name in getattr(s, "roster", {}).get("students", ()):
        own = name == s.student["name"]
        chosen = {"experiment": "main"} if own else {"experiment": "roster", "student": name}
        chosen["per_class"] = s.roster["per_class"]
        runs = [results.select(method=method, **chosen) for method in s.roster["methods"]]
        if all(runs):
            where[name], kept[name] = chosen, runs
    found = [{row["seed"] for row in rows} for runs in kept.values() for rows in runs]
    seeds = set.intersection(*found) if len(where) > 1 else ()
    rows = [row for runs in kept.values() for own in runs for row in own if row["seed"] in seeds]
    return Results(results.command, results.machine, rows), where if rows else {}


def _wanted(method: str, where: dict[str, Any]) -> dict[str, Any]:
    if method in REFERENCES:  # it is the same however long a student trains
        where = {name: value for name, value in where.items() if name != "epochs"}
    return {"experiment": "main", "method": method, **where}
