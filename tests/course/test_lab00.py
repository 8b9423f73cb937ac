"""Lab 00 beyond the zoo: what its text tells the student to type, and right answers written differently."""

from __future__ import annotations

import pytest
import torch

from labkit.course import labs
from labkit.course.verdict import judge


def test_the_mistake_made_on_purpose_gets_its_hint():
    verdict = judge(labs.get("00-top-class"), lambda logits: logits.argmax())
    assert verdict.status == "failed"
    assert "`dim`" in verdict.hint


def _naive(z):
    return z.exp() / z.exp().sum(dim=1, keepdim=True)


def _one_maximum(z):
    return _naive(z - z.max())


def _mean(z):
    return _naive(z - z.mean(dim=1, keepdim=True))


UNSAFE = {_naive: "overflows", _one_maximum: "each row's own", _mean: "largest logit of the row"}


@pytest.mark.parametrize("answer", UNSAFE, ids=lambda fn: fn.__name__)
def test_right_numbers_that_overflow_break_a_law(answer):
    verdict = judge(labs.get("00-softmax"), answer)
    assert verdict.status == "failed"
    assert "law" in verdict.message
    assert UNSAFE[answer] in verdict.hint


def _without_gradient(teacher, images):
    teacher.eval()
    with torch.no_grad():
        return teacher(images).logits


def _restored(teacher, images):
    mode = teacher.training
    logits = _without_gradient(teacher, images)
    teacher.train(mode)
    return logits


RIGHT = [
    ("00-softmax", lambda z: torch.softmax(z, 1)),
    ("00-softmax", lambda z: (z - z.logsumexp(1, keepdim=True)).exp()),
    ("00-accuracy", lambda z, y: (z.argmax(1) == y).float().mean()),
    ("00-accuracy", lambda z, y: sum(int(p == t) for p, t in zip(z.argmax(1), y, strict=True)) / len(y)),
    ("00-frozen-teacher", _without_gradient),
    ("00-frozen-teacher", _restored),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_other_right_answers_pass(name, answer):
    verdict = judge(labs.get(name), answer)
    assert verdict.status == "passed", verdict.message
