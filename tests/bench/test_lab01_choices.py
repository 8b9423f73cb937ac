"""Lab 01's settings are what its committed tuning runs, on validation images alone, chose."""

from __future__ import annotations

import pytest

from labkit.bench import lab01, paired, read_results
from labkit.profiles import profile

SETTINGS = profile("cpu").lab(1)
RESULTS = read_results("lab01")


@pytest.mark.parametrize("method", sorted(lab01.CONFIGURATIONS))
def test_preset_holds_the_best_of_six(method: str):
    configurations = lab01.CONFIGURATIONS[method]
    assert len(configurations) == 6
    ours = {"lr": SETTINGS.training["lr"]} | lab01.chosen(SETTINGS)[method]
    runs = {"experiment": "tuning", "method": method}
    means = [RESULTS.interval("val", **runs, **option).mean for option in configurations]
    (our_mean,) = (m for m, option in zip(means, configurations, strict=True) if ours | option == ours)
    assert our_mean == pytest.approx(max(means), abs=1e-4)  # less than one image; a tie is broken by hand


def test_budget_is_where_validation_gains_most():
    def gain(budget: int) -> float:
        runs = {"experiment": "budget", "per_class": budget}
        values = [RESULTS.values("val", method=method, **runs) for method in ("hinton", "scratch")]
        return paired(*values).mean

    assert max(SETTINGS.budgets, key=gain) == SETTINGS.per_class


def test_tuning_never_saw_the_test_images():
    rows = [row for row in RESULTS.rows if row["seed"] in lab01.TUNING_SEEDS]
    assert rows
    assert all("test" not in row for row in rows)


def test_the_claim_of_the_lab_holds():
    runs = {
        method: RESULTS.values(experiment="main", method=method)
        for method in ("hinton", "scratch", "label_smoothing")
    }
    assert len(runs["hinton"]) >= 5
    for control in ("scratch", "label_smoothing"):
        gain = paired(runs["hinton"], runs[control])
        assert gain.mean > 0
        assert gain.excludes_zero
