"""Judging an answer: not started, right, or wrong in one sentence, with the hint for that mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import blame, calls, values
from .checks import PUBLIC_SEEDS, Check, Misconception

PASSED, FAILED, NOT_YET = "passed", "failed", "not yet"


@dataclass(frozen=True)
class Verdict:
    """What was found. `hint` belongs to the recognised mistake `misconception`; both may be empty."""

    status: str
    message: str
    hint: str = ""
    misconception: str = ""


def judge(check: Check, answer: Any, seeds: Sequence[int] = PUBLIC_SEEDS) -> Verdict:
    """Try `answer` on the draws of these seeds.

    Order: open TODO; not callable; exception; wrong values (a known misconception, else structure, shape,
    dtype, NaN, no gradient, relative error); broken laws. Never raises for what the student wrote.
    """
    wanted = [calls.see(check, check.reference, seed) for seed in seeds]
    for seen in wanted:
        if seen.error:
            raise seen.error  # a defect of the check itself, not of the answer
    early = _before_calling(check, answer)
    if early:
        return early
    got = [calls.see(check, answer, seed) for seed in seeds]
    for seen in got:
        if seen.error and is_stub(seen.error):
            return _open(check, seen.error)
    pairs = list(zip(got, wanted, strict=True))
    if all(mine.same(theirs, check) for mine, theirs in pairs):
        return _laws(check, answer, seeds)
    message = next(text for text in (_message(check, mine, theirs) for mine, theirs in pairs) if text)
    known = recognise(check, got, seeds)
    if not known:
        return Verdict(FAILED, message)
    if not any(seen.error for seen in got):
        message = f"This is exactly what one mistake gives: {known.name}."
    return Verdict(FAILED, message, known.hint, known.name)


def recognise(check: Check, got: Sequence[calls.Seen], seeds: Sequence[int]) -> Misconception | None:
    """The misconception whose values are the student's on every draw.

    Values and gradients together come first. Then wrong values alone: who forgets two things at once, such
    as a factor and to detach the teacher, gets the hint for the first.
    """
    zoo = [
        (wrong, [calls.see(check, wrong.answer, seed) for seed in seeds]) for wrong in check.misconceptions
    ]
    for wrong, theirs in zoo:
        if all(mine.same(other, check) for mine, other in zip(got, theirs, strict=True)):
            return wrong
    right = [calls.see(check, check.reference, seed) for seed in seeds]
    if not check.differentiable or all(m.same_value(r, check) for m, r in zip(got, right, strict=True)):
        return None
    for wrong, theirs in zoo:
        if all(mine.same_value(other, check) for mine, other in zip(got, theirs, strict=True)):
            return wrong
    return None


def is_stub(error: BaseException) -> bool:
    """Whether a call failed because a TODO is still open."""
    return isinstance(error, NotImplementedError) and str(error).startswith("TODO")


def _before_calling(check: Check, answer: Any) -> Verdict | None:
    if callable(check.reference) and not callable(answer):
        if answer is None or answer is ...:
            return Verdict(NOT_YET, f"Not started: {check.title} is still a TODO.")
        asked = "a class" if isinstance(check.reference, type) else "a function"
        return Verdict(
            FAILED, f"The check needs {asked}, not {values.kind(answer)}: pass it without calling it."
        )
    if not callable(check.reference):
        if (answer is None or answer is ...) and check.reference is not None:
            return Verdict(NOT_YET, f"Not started: {check.title} is still a TODO.")
        if callable(answer):
            return Verdict(
                FAILED, f"The check needs {values.kind(check.reference)}, not {values.kind(answer)}."
            )
    return None


def _open(check: Check, error: BaseException) -> Verdict:
    text = str(error)
    if text.startswith(f"TODO {check.id}:"):
        return Verdict(NOT_YET, f"Not started: {text.removeprefix(f'TODO {check.id}:').strip()}")
    return Verdict(NOT_YET, f"Your code calls something that is still open: {text}")


def _message(check: Check, mine: calls.Seen, theirs: calls.Seen) -> str | None:
    """The first thing wrong on one draw, as one sentence; None if this draw is right."""
    if mine.error:
        return blame.sentence(mine.error)
    fault = values.form(mine.value, theirs.value)
    if fault:
        return fault
    for position, gradient, wanted in zip(
        check.differentiable, mine.gradients, theirs.gradients, strict=True
    ):
        if not gradient.any() and wanted.any():
            return (
                f"The result carries no gradient to input {position + 1}: look for detach(), item(),"
                " no_grad() or a new tensor made from the numbers."
            )
    fault = values.difference(mine.value, theirs.value, check.rtol, check.atol)
    if fault:
        # how far off a plain value is would give it away
        return fault if callable(check.reference) else "That is not the answer."
    for position, gradient, wanted in zip(
        check.differentiable, mine.gradients, theirs.gradients, strict=True
    ):
        place = f"the value is right, but its gradient with respect to input {position + 1}"
        fault = values.form(gradient, wanted, place) or values.difference(
            gradient, wanted, check.rtol, check.atol, place
        )
        if fault:
            return fault
    return None


def _laws(check: Check, answer: Any, seeds: Sequence[int]) -> Verdict:
    for law in check.properties:
        for seed in seeds:
            with calls.isolated(seed):
                try:
                    holds = law.test(answer, seed)
                except AssertionError:
                    holds = False
                except (Exception, SystemExit) as error:
                    return Verdict(FAILED, blame.sentence(error), law.hint)
            if holds is False:
                return Verdict(
                    FAILED, f"The numbers are right, but a law does not hold: {law.name}.", law.hint
                )
    draws = (
        f" on {len(seeds)} random input{'s' if len(seeds) != 1 else ''}" if callable(check.reference) else ""
    )
    return Verdict(PASSED, f"Correct{draws}.")
