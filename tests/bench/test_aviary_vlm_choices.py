"""The options of the Aviary's comparison of vision-language teachers are what its tuning runs chose."""

from __future__ import annotations

import pytest

from labkit.bench import matrix, matrix_read, matrix_tuning, read_results

S = matrix.setting("aviary-vlm")
RESULTS = read_results("aviary-vlm")
FIRST = {row: other.tunes for row, other in matrix.REFERENCES.items() if other.tunes}


@pytest.mark.parametrize(("per_class", "row"), matrix_tuning.tuned(S))
def test_preset_holds_the_best_that_was_tried(per_class: int, row: str):
    tried = matrix_tuning.configurations(S, row, per_class)
    runs = RESULTS.select(experiment="tuning", method=row, per_class=per_class)
    assert len(runs) == len(tried) * len(S.tuning_seeds)
    scores = [matrix_tuning.score(S, RESULTS, row, options, per_class) for options in tried]
    chosen = getattr(S, FIRST[row]) if row in FIRST else matrix_tuning.chosen(S, row, per_class)
    ours = [score for options, score in zip(tried, scores, strict=True) if chosen | options == chosen]
    assert ours == [max(scores)]
    assert matrix_tuning.best(S, RESULTS, row, per_class)[1] == ours[0]


def test_every_row_was_tried_as_often():
    shared = {tunes: len(matrix_tuning.configurations(S, row)) for row, tunes in FIRST.items()}
    assert set(S.tried) == {*S.methods, *FIRST}
    for method in S.methods:
        first = matrix.KINDS[method].first[:1]
        assert len(matrix_tuning.configurations(S, method)) + sum(shared[name] for name in first) == 6


def test_rivals_are_chosen_again_where_labels_are_more():
    """Three rates at 20 labels; six settings, at 10 labels, too, for rows that have nothing but labels."""
    dait = {row for row in S.methods if row.startswith("dait")}
    assert set(S.tried_at[20]) == set(S.methods) - dait
    assert set(S.tried_at[10]) == {"scratch", "label_smoothing"}
    for per_class, rows in S.tried_at.items():
        for row in rows:
            tried = matrix_tuning.configurations(S, row, per_class)
            assert len({options["lr"] for options in tried}) == 3
            assert len(tried) == 3 * (1 + (row in S.tried_at[10]))
    alike = set(S.tried_at[20]) - set(S.tried_at[10])
    assert all(matrix_tuning.chosen(S, row, 10) == matrix_tuning.chosen(S, row, 20) for row in alike)


def test_first_stages_were_chosen_before_what_builds_on_them():
    for row in RESULTS.rows:
        for name in ("stage1", "calibration"):
            assert row.get(name, getattr(S, name)) == getattr(S, name)


def test_tuning_never_saw_the_test_images_and_is_never_reported():
    tuning = [row for row in RESULTS.rows if row["experiment"] == "tuning"]
    assert {row["seed"] for row in tuning} == set(S.tuning_seeds)
    assert {row["per_class"] for row in tuning} == {S.tuned_at, *S.tried_at}
    assert all("test" not in row for row in tuning)
    assert all(row["seed"] not in S.tuning_seeds for row in RESULTS.rows if "test" in row)


def test_reported_runs_have_the_chosen_options():
    jobs = {str(sorted(job.items(), key=str)): job for job in matrix.jobs(S, S.seeds)}
    for row in RESULTS.rows:
        if row["experiment"] != "tuning":
            assert any(row | job == row for job in jobs.values()), row


def test_what_is_said_of_the_lowest_budget_holds():
    """DAIT-F passes the direct methods and Hinton's KD; the intermediate gains nothing by the model."""
    where = {"per_class": S.tuned_at}
    found = matrix_read.done(RESULTS, S)
    assert len(matrix_read.values(found, "dait-f", where)) >= 3
    for other in ("kd_clip", "rkd_clip", "vl2lite", "pand", "hinton"):
        gain = matrix_read.gain(found, "dait-f", other, where)
        assert gain.mean > 0.03
        assert gain.excludes_zero
    assert not matrix_read.gain(found, "dait-f", "dait ce", where).excludes_zero
    assert not matrix_read.gain(found, "dait-f", "finetuned", where).excludes_zero
