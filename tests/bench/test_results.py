"""Committed results: selecting, pairing by seed, saving one row a line, damaged files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit import LabkitError
from labkit.bench import Results, interval, read_results
from labkit.errors import MissingError

ROWS = [
    {"experiment": "main", "method": m, "seed": s, "val": 0.5, "test": 0.9 + 0.01 * s + 0.02 * (m == "kd")}
    for s in (2, 0, 1)
    for m in ("kd", "alone")
]


@pytest.fixture
def results() -> Results:
    return Results("labkit bench --lab 01", "a machine", [dict(row) for row in ROWS])


def test_select_is_by_value_and_in_the_order_of_seeds(results: Results):
    assert [row["seed"] for row in results.select(method="kd")] == [0, 1, 2]
    assert len(results.select(experiment="main")) == 6
    assert results.select(method="other") == []
    assert results.values(method="alone") == pytest.approx([0.9, 0.91, 0.92])
    assert results.values("val", method="kd") == [0.5] * 3
    assert results.interval(method="kd") == pytest.approx(interval([0.92, 0.93, 0.94]))


def test_gain_pairs_by_seed_over_those_both_have(results: Results):
    gain = results.gain({"method": "kd"}, {"method": "alone"})
    assert gain == pytest.approx((0.02, 0.0), abs=1e-12)
    results.rows = [row for row in results.rows if (row["method"], row["seed"]) != ("alone", 0)]
    assert results.gain({"method": "kd"}, {"method": "alone"}).mean == pytest.approx(0.02)


def test_gain_of_several_runs_of_one_seed_is_refused(results: Results):
    with pytest.raises(LabkitError, match="several runs of one seed"):
        results.gain({"experiment": "main"}, {"method": "alone"})


@pytest.mark.parametrize(("measure", "wanted"), [("test", {"method": "dkd"}), ("speed", {"method": "kd"})])
def test_what_was_not_run_is_named_with_the_command(results: Results, measure: str, wanted: dict):
    with pytest.raises(LabkitError, match=r"labkit bench --lab 01") as caught:
        results.values(measure, **wanted)
    assert measure in str(caught.value)


def test_saved_and_loaded_one_row_a_line_in_a_fixed_order(results: Results, tmp_path: Path):
    path = results.save(tmp_path / "lab.json")
    again = Results.load(path)
    assert sorted(again.rows, key=str) == sorted(results.rows, key=str)
    assert (again.command, again.machine) == (results.command, results.machine)
    results.rows.reverse()
    assert results.save(tmp_path / "other.json").read_text() == path.read_text()
    lines = [line for line in path.read_text().splitlines() if '"seed"' in line]
    assert len(lines) == 6
    assert all(isinstance(json.loads(line.strip().rstrip(",")), dict) for line in lines)


def test_empty_results_can_be_saved(tmp_path: Path):
    assert Results.load(Results("c").save(tmp_path / "lab.json")).rows == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'{"x": 1}', b"\xff\xfe"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes):
    path = tmp_path / "lab.json"
    path.write_bytes(content)
    with pytest.raises(LabkitError, match="are damaged") as caught:
        Results.load(path)
    assert str(path) in str(caught.value)


def test_results_that_are_not_shipped():
    with pytest.raises(MissingError, match="lab99"):
        read_results("lab99")
