"""A lab's grid over processes: resumable, saved seed by seed, estimated without being run."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit import LabkitError
from labkit.bench import Results, grid, run_lab


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The toy grid stands for lab 1; the runs it makes are listed here."""
    monkeypatch.setitem(grid.GRIDS, 1, "toy_grid")
    monkeypatch.setenv("TOY_GRID_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("LABKIT_QUIET", "1")
    (tmp_path / "log").write_text("")
    return tmp_path / "log"


@pytest.mark.slow
def test_runs_what_is_missing_and_nothing_twice(log: Path, tmp_path: Path):
    out = tmp_path / "lab01.json"
    results = run_lab(1, seeds=2, out=out, workers=2)
    assert len(results.rows) == 4
    assert Results.load(out).rows == sorted(results.rows, key=lambda r: (r["method"], r["seed"]))
    assert results.command == "labkit bench --lab 01 --seeds 2"
    assert "cores" in results.machine
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) == 4
    for seed in "01":
        assert len({process for s, _, process in lines if s == seed}) == 1, "a seed stays in one process"

    run_lab("01", seeds=2, out=out)
    assert len(log.read_text().splitlines()) == 4
    kept = Results.load(out)
    kept.rows = [row for row in kept.rows if row["seed"] == 0 or row["method"] == "kd"]
    kept.save(out)
    assert run_lab(1, seeds=2, out=out, workers=1).gain({"method": "kd"}, {"method": "alone"}).mean == 1
    assert log.read_text().splitlines()[4:][0].startswith("1 alone")
    assert len(log.read_text().splitlines()) == 5


@pytest.mark.slow
def test_one_failed_seed_does_not_cost_the_others(log: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TOY_GRID_FAILS", "0")
    out = tmp_path / "lab01.json"
    with pytest.raises(LabkitError, match=r"The run \{.*'seed': 0\} failed: No more toys\."):
        run_lab(1, seeds=2, out=out, workers=1)
    assert {row["seed"] for row in Results.load(out).rows} == {1}


def test_estimate_runs_one_and_writes_nothing(log: Path, tmp_path: Path, capsys):
    run_lab(1, seeds=3, out=tmp_path / "lab01.json", estimate=True, workers=2)
    assert len(log.read_text().splitlines()) == 1
    assert not (tmp_path / "lab01.json").exists()
    assert capsys.readouterr().out == "6 runs are missing: about 0.00 hours on 2 processes.\n"
    Results("", rows=[{**row, "test": 1} for row in run_rows(3)]).save(tmp_path / "lab01.json")
    run_lab(1, seeds=3, out=tmp_path / "lab01.json", estimate=True)
    assert capsys.readouterr().out == "Nothing is missing.\n"


def run_rows(seeds: int) -> list[dict]:
    import toy_grid

    return list(toy_grid.jobs(None, seeds))


@pytest.mark.parametrize("number", [77, "77", "one", -1])
def test_unknown_lab(number):
    with pytest.raises(LabkitError, match="Unknown grid for lab"):
        run_lab(number)


@pytest.mark.parametrize("options", [{"seeds": 0}, {"workers": 0}])
def test_numbers_out_of_range(options: dict):
    with pytest.raises(LabkitError, match="at least 1"):
        run_lab(1, **options)


@pytest.mark.slow
def test_a_results_file_is_filled_by_one_process_at_a_time(log: Path, tmp_path: Path):
    out = tmp_path / "lab01.json"
    with grid._alone(out), pytest.raises(LabkitError, match="Another labkit bench is filling"):
        run_lab(1, seeds=1, out=out, workers=1)
    assert run_lab(1, seeds=1, out=out, workers=1).rows
    assert [path.name for path in tmp_path.iterdir() if "lock" in path.name] == []
