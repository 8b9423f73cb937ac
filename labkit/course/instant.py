"""`check` and `answer`: what a student calls."""

from __future__ import annotations

import inspect
import json
import os
import textwrap
from typing import Any

from . import display, labs, record
from .calls import quiet
from .checks import Check
from .display import Result
from .verdict import FAILED, NOT_YET, PASSED, Verdict, judge

SOLUTION_OPENS = 5  # attempts


def check(id: str, answer: Any) -> Result | float:
    """Judge an answer and show the outcome with the hint for the mistake.

    Args:
        id: such as '01-kd-loss'.
        answer: the student's function, class or value.

    Returns:
        A Result, true when passed. While nbgrader grades (`NBGRADER_EXECUTION` is set): a bare float in
        [0, points], with nothing displayed and nothing written to stderr.

    Raises:
        LabkitError: no check has this id.
    """
    if os.environ.get("NBGRADER_EXECUTION"):
        with quiet():  # importing a lab may warn, and nbgrader gives no points to a cell that wrote to stderr
            found = labs.get(id)
            return float(found.points) if judge(found, answer).status == PASSED else 0.0
    found = labs.get(id)
    result = _result(found, judge(found, answer))
    display.show(result)
    _report(result)
    return result


def answer(id: str, fn: Any) -> Any:
    """`fn` if it passes the check, else (with a visible note) the reference, so that nobody is stuck.

    Doesn't count as an attempt.

    Raises:
        LabkitError: no check has this id.
    """
    found = labs.get(id)
    if judge(found, fn).status == PASSED:
        return fn
    display.note(
        f"Using the reference for {id} from here on, because your answer does not pass its check yet."
    )
    return found.reference


def _result(check: Check, verdict: Verdict) -> Result:
    attempts = (
        0 if verdict.status == NOT_YET else record.add(check.id, verdict.status == PASSED, check.points)
    )
    hints = check.hints[:attempts] if verdict.status == FAILED else ()
    solution = _source(check.reference) if verdict.status == FAILED and attempts >= SOLUTION_OPENS else ""
    return Result(
        id=check.id,
        title=check.title,
        status=verdict.status,
        points=check.points if verdict.status == PASSED else 0,
        possible=check.points,
        message=verdict.message,
        hint=verdict.hint or (hints[-1] if hints else ""),
        misconception=verdict.misconception,
        hints=hints,
        solution=solution,
    )


def _source(reference: Any) -> str:
    """Source of the reference; its repr where it is a plain value."""
    try:
        return textwrap.dedent(inspect.getsource(reference)).rstrip()
    except (TypeError, OSError):
        return repr(reference)


def _report(result: Result) -> None:
    """Append the outcome to the file that `run_checks` reads, if this kernel was started by it."""
    file = os.environ.get("LABKIT_RESULTS")
    if not file:
        return
    fields = ("id", "title", "status", "points", "possible", "message", "hint", "misconception")
    with open(file, "a", encoding="utf-8") as out:
        out.write(json.dumps({name: getattr(result, name) for name in fields}) + "\n")
