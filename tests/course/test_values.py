"""Comparing values: equal within tolerance, or one sentence that helps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.course import values
from labkit.errors import LabkitError

T = torch.tensor

FORMS = [
    (1, T([1.0]), "should be a tensor of shape (1,), not an int"),
    (T([1.0, 2.0]), T([[1.0, 2.0]]), "has shape (2,), where (1, 2) is expected"),
    (T([1.0]).double(), T([1.0]), "has dtype float64, where float32 is expected"),
    (T([float("nan"), 1.0]), T([1.0, 1.0]), "NaN or infinite in 1 of 2 entries"),
    (T(float("inf")), T(1.0), "NaN or infinite where a finite number is expected"),
    (None, T(1.0), "None (is a `return` missing?)"),
    ("a", 1.0, "should be a number, not a str"),
    (True, 1.0, "should be a number, not a bool"),
    (float("nan"), 1.0, "is nan, where a finite number is expected"),
    (1, True, "should be True or False, not an int"),
    (1, "a", "should be a string, not an int"),
    (1, None, "should be None, not an int"),
    ((1, 2), (1, 2, 3), "should have 3 items, but has 2"),
    (1, (1, 2), "should be a tuple of 2 items, not an int"),
    ((1, "x"), (1, 2), "Item 1 of the result should be a number"),
    ({"a": 1}, {"b": 1}, "should have the keys 'b', but has 'a'"),
    ([1], {"b": 1}, "should be a dict with the keys 'b'"),
    ({"a": T([1.0])}, {"a": T([1])}, "The result['a'] has dtype float32"),
]


@pytest.mark.parametrize(("got", "want", "words"), FORMS)
def test_wrong_form_is_said_in_one_sentence(got, want, words):
    sentence = values.form(got, want)
    assert words in sentence
    assert sentence[0].isupper()
    assert sentence.endswith(".")


DIFFERENCES = [
    (T(4.0), T(1.0), "is 4 times what it should be."),
    (2 * torch.arange(6.0), torch.arange(6.0), "is 2 times what it should be everywhere"),
    (T([1.0, 2.5]), T([1.0, 2.0]), "off in 1 of 2 entries: relative error 0.25, at most 1e-04 allowed"),
    (T([1, 2]), T([1, 3]), "off in 1 of 2 entries"),
    (3, 2, "1.5 times"),
    (True, False, "is True, where False is expected"),
    ("a", "b", "not the expected text"),
    (T(0.1), T(0.0), "relative error"),
    ({"x": (1.0, 2.0)}, {"x": (1.0, 4.0)}, "Item 1 of the result['x'] is 0.5 times"),
]


@pytest.mark.parametrize(("got", "want", "words"), DIFFERENCES)
def test_wrong_value_is_said_in_one_sentence(got, want, words):
    assert values.form(got, want) is None
    assert words in values.difference(got, want, 1e-4, 1e-6)


SAME = [
    (T(1.00001), T(1.0)),
    (T(2.0), 2.0),
    (np.float32(2.0), 2.0),
    (3.0, 3),
    (T(True), True),
    ([1, (2, "a")], (1, [2, "a"])),
    ({"a": None}, {"a": None}),
    (T([float("inf"), 1.0]), T([float("inf"), 1.0])),
    (torch.zeros(0, 3), torch.zeros(0, 3)),
    (T([1 + 2j]), T([1 + 2j])),
    (T(1.0, requires_grad=True), T(1.0)),
]


@pytest.mark.parametrize(("got", "want"), SAME)
def test_equal_values_are_the_same(got, want):
    assert values.same(got, want, 1e-4, 1e-6)


def test_tolerance_is_relative_to_the_expected_value():
    assert values.same(T(1e4 + 0.5), T(1e4), 1e-4, 0)
    assert not values.same(T(1e4 + 2), T(1e4), 1e-4, 0)


def test_a_check_that_returns_an_object_is_a_defect_of_the_check():
    with pytest.raises(LabkitError, match="compares tensors"):
        values.form(1, object())
