"""Errors are sentences."""

from __future__ import annotations

import pickle

from labkit.errors import LabkitError, MissingError, unknown


def test_unknown_names_the_nearest_and_all_known():
    error = unknown("data set", "digitz", ["mnist", "digits"])
    assert str(error) == "Unknown data set 'digitz'. Did you mean 'digits'? Known: digits, mnist."
    assert str(unknown("check", 7, [])) == "Unknown check '7'. Known: none."


def test_both_are_value_errors_and_a_missing_file_is_a_missing_file():
    assert issubclass(LabkitError, ValueError)
    assert issubclass(MissingError, FileNotFoundError)
    assert str(MissingError("No such run.")) == "No such run."


def test_errors_cross_process_borders():
    for kind in (LabkitError, MissingError):
        copy = pickle.loads(pickle.dumps(kind("One sentence.")))
        assert type(copy) is kind
        assert str(copy) == "One sentence."
