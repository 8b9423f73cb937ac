"""The Aviary comparison's options are what its committed tuning runs chose, and its claims hold."""

from __future__ import annotations

import pytest

from labkit.bench import matrix, matrix_table, matrix_tuning, read_results

S = matrix.setting("aviary")
RESULTS = read_results("aviary")


@pytest.mark.parametrize("method", S.methods)
def test_preset_holds_the_best_of_six(method: str):
    tried = matrix_tuning.configurations(S, method)
    assert len(tried) == 6
    assert S.methods[method] in tried
    assert len(RESULTS.select(experiment="tuning", method=method)) == 6 * len(S.tuning_seeds)
    scores = [matrix_tuning.score(S, RESULTS, method, options) for options in tried]
    assert scores[tried.index(S.methods[method])] == max(scores)


def test_tuning_never_saw_the_test_images_and_is_never_reported():
    tuning = [row for row in RESULTS.rows if row["experiment"] == "tuning"]
    assert {row["seed"] for row in tuning} == set(S.tuning_seeds)
    assert {row["per_class"] for row in tuning} == {S.tuned_at}
    assert all("test" not in row for row in tuning)
    assert all(row["seed"] not in S.tuning_seeds for row in RESULTS.rows if "test" in row)


def test_all_methods_were_run_with_the_chosen_options_over_five_seeds():
    where = {"experiment": "main", "per_class": S.tuned_at}
    for method, options in S.methods.items():
        rows = RESULTS.select(method=method, **where)
        assert len(rows) >= 5
        assert all(row | options == row for row in rows)
    assert len(RESULTS.select(method="teacher", **where)) >= 5


def test_the_claims_of_the_labs_hold():
    """At the low budget hinton and a feature method without responses are above both controls."""
    where = {"per_class": S.tuned_at}
    for method in ("hinton", "fitnet"):
        for control in ("scratch", "label_smoothing"):
            gain = matrix_table.gain(RESULTS, method, control, where)
            assert gain.mean > 0
            assert gain.excludes_zero
    teacher = matrix_table.accuracy(RESULTS, "teacher", where)
    assert teacher.mean > matrix_table.accuracy(RESULTS, "hinton", where).mean
