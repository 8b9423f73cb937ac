"""Judging answers: the order of findings, isolation of the student's code, and laws."""

from __future__ import annotations

import random
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labkit.course import calls, labs
from labkit.course.checks import Check, Misconception, Property
from labkit.course.verdict import judge
from labkit.errors import LabkitError


def test_exception_names_type_message_line_and_text(lab):
    def answer(logits, temperature):
        rows = logits.shape[0]
        return logits.view(rows, 6)

    verdict = judge(lab.SOFTEN, answer)
    line = answer.__code__.co_firstlineno + 2
    assert verdict.status == "failed"
    assert "RuntimeError: shape '[5, 6]' is invalid for input of size 35" in verdict.message
    assert f"line {line} of your cell: `return logits.view(rows, 6)`" in verdict.message


def test_wrong_arguments_are_no_fault_in_a_line(lab):
    verdict = judge(lab.SOFTEN, lambda logits: logits)
    assert verdict.message.startswith("Your code could not be called as the exercise asks: TypeError")


def test_broken_graph_is_said_without_a_line(lab):
    def answer(logits, temperature):
        result = (logits / temperature).softmax(dim=1)
        result.data = result.data.clone()
        squared = result**2
        result.mul_(1)
        return squared**0.5

    assert judge(lab.SOFTEN, answer).message.startswith(
        "Your code ran, but using its result raised RuntimeError"
    )


def test_exit_inside_an_answer_does_not_end_the_kernel(lab):
    def answer(logits, temperature):
        raise SystemExit(3)

    assert "SystemExit: 3" in judge(lab.SOFTEN, answer).message


def test_interrupt_goes_through(lab):
    def answer(logits, temperature):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(lab.SOFTEN, answer)


def test_open_todo_of_another_exercise_is_named(lab):
    def answer(logits, temperature):
        raise NotImplementedError("TODO 99-other: something. Look at section 2.")

    verdict = judge(lab.SOFTEN, answer)
    assert verdict.status == "not yet"
    assert "99-other" in verdict.message


def test_other_not_implemented_errors_are_failures(lab):
    def answer(logits, temperature):
        raise NotImplementedError("no such kernel")

    assert judge(lab.SOFTEN, answer).status == "failed"


def test_in_place_changes_do_not_leak(lab):
    def answer(logits, temperature):
        right = (logits / temperature).softmax(dim=1)
        with torch.no_grad():
            logits.mul_(0)
        return right

    assert judge(lab.SOFTEN, answer).status == "passed"


def test_random_state_is_seeded_inside_and_restored_outside():
    check = Check(
        id="99-noise",
        title="noise",
        points=1,
        minutes=1,
        difficulty=1,
        draw=lambda seed: (torch.randn(3),),
        reference=lambda x: x + torch.randn(3) + random.random() + np.random.rand(),
        misconceptions=(),
        hints=("a", "b", "c"),
    )

    def answer(x):
        result = x + torch.randn(3) + random.random() + np.random.rand()
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return result

    torch.manual_seed(7)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert judge(check, answer).status == "passed"
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_printing_and_warning_are_swallowed(lab, capsys):
    def answer(logits, temperature):
        print("here", flush=True)
        warnings.warn("careful", stacklevel=1)
        return lab.soften(logits, temperature)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert judge(lab.SOFTEN, answer).status == "passed"
    assert capsys.readouterr() == ("", "")


def test_works_where_gradients_are_switched_off(lab):
    with torch.no_grad():
        assert judge(lab.SOFTEN, lab.soften).status == "passed"


def test_right_value_with_a_wrong_gradient(lab):
    def answer(logits, temperature):
        return lab.soften(logits, temperature) + 0.5 * (logits - logits.detach())

    verdict = judge(lab.SOFTEN, answer)
    assert "the value is right, but its gradient with respect to input 1" in verdict.message.lower()


def test_broken_law_gives_its_hint(lab):
    laws = (Property("it is even", lambda fn, seed: False, "Mind the sign."),)
    verdict = judge(replace(lab.SOFTEN, properties=laws), lab.soften)
    assert (verdict.status, verdict.hint) == ("failed", "Mind the sign.")
    assert "it is even" in verdict.message


def _assert(fn, seed):
    raise AssertionError


def _crash(fn, seed):
    return fn(1, 2, 3)


@pytest.mark.parametrize(
    ("law", "status"), [(_assert, "failed"), (_crash, "failed"), (lambda fn, seed: None, "passed")]
)
def test_laws_may_assert_crash_or_say_nothing(lab, law, status):
    assert judge(replace(lab.SOFTEN, properties=(Property("x", law, "y"),)), lab.soften).status == status


def test_misconception_that_raises_is_recognised(lab):
    def wrong(logits, temperature):
        return logits @ logits

    check = replace(lab.SOFTEN, misconceptions=(Misconception("no transpose", wrong, "Transpose one."),))
    verdict = judge(check, lambda logits, temperature: logits @ logits)
    assert (verdict.misconception, verdict.hint) == ("no transpose", "Transpose one.")
    assert "RuntimeError" in verdict.message


def test_plain_values(lab):
    assert judge(lab.BUG, 4).status == "passed"
    assert judge(lab.BUG, None).status == "not yet"
    assert judge(lab.BUG, ...).status == "not yet"
    assert judge(lab.BUG, 7).message == "That is not the answer."
    assert judge(lab.BUG, "four").message == "The result should be a number, not a str."
    assert judge(lab.BUG, 5).misconception == "loss"


def test_a_broken_reference_is_not_the_students_fault(lab):
    def raising(logits, temperature):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        judge(replace(lab.SOFTEN, reference=raising), lab.soften)


def test_gradients_are_sensitive_to_softmax(lab):
    seen = calls.see(lab.SOFTEN, lab.soften, 0)
    assert seen.gradients[0].abs().max() > 1e-3


BAD = [
    ({"id": "kd"}, "two digits"),
    ({"points": 0}, "positive"),
    ({"difficulty": 6}, "1 to 5"),
    ({"hints": ("a", "b")}, "three hints"),
    ({"misconceptions": (Misconception("a", 1, "x"), Misconception("a", 2, "y"))}, "called 'a'"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_a_bad_definition_is_refused(lab, change, words):
    with pytest.raises(LabkitError, match=words):
        replace(lab.BUG, **change)


def test_two_mistakes_at_once_get_the_hint_for_the_value():
    """T squared forgotten *and* the teacher not detached: the value tells which formula was meant."""
    check = labs.get("01-kd-loss")

    def forgot_both(s, t, temperature):
        return F.kl_div((s / temperature).log_softmax(1), (t / temperature).softmax(1), reduction="batchmean")

    verdict = judge(check, forgot_both)
    assert (verdict.status, verdict.misconception) == ("failed", "T² forgotten")
