"""`labkit demo aviary` with a few steps on the Aviary's smallest size: its files, its table, its report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from labkit.bench import demo, demo_aviary, interval, pair
from labkit.engine import History, load_run
from labkit.profiles import preset


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The demo's settings with networks and steps for a test."""
    recipe = {"steps": 3, "batch_size": 32, "lr": 0.01}
    small = {
        "data": {"name": "aviary", "size": "mini"},
        "per_class": 2,
        "views": 1,
        "looked_at": 2,
        "training": recipe,
    }
    small |= {"intermediate": {"name": "tiny", "weights": "pretrained"}}
    small |= {"intermediate_training": recipe | {"head_share": 0.5}}
    s = SimpleNamespace(**vars(demo_aviary.setting()) | small)
    monkeypatch.setattr(demo_aviary, "setting", lambda: s)
    monkeypatch.setenv("LABKIT_QUIET", "1")
    pair.KEPT.clear()
    yield s
    pair.KEPT.clear()


@pytest.mark.slow
def test_files_table_and_report(short: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture):
    report = demo("aviary", seeds=1, out=tmp_path)
    printed = capsys.readouterr().out
    assert f"Report: {report}" in printed
    for words in (
        *demo_aviary.ROWS.values(),
        "Two stages minus alone",
        "60 species, 2 labels of each",
        "chance",
    ):
        assert words in printed
    page = report.read_text(encoding="utf-8")
    assert page.count("<img") == 5
    assert page.count("src=") == page.count('src="data:image/png') == 5, "self-contained"

    rows = History.load(tmp_path / "history.csv")
    assert {row["method"] for row in rows} == {"intermediate", *demo_aviary.METHODS}
    both = {row["method"] for row in rows if "lambda" in row}
    assert both == {"intermediate", "dait-f", "dait ce", "vl2lite"}
    net = load_run(tmp_path / "intermediate-0")
    assert net.config["method"]["name"] == "dait"
    for row in demo_aviary.METHODS:
        run = load_run(tmp_path / f"{row}-0")
        assert run.model.name == "tiny"
        assert f"{100 * run.accuracy:.1f}"


@pytest.mark.slow
def test_what_a_seed_tells(short: SimpleNamespace, tmp_path: Path):
    said: list[str] = []
    found = demo_aviary.train(list(demo_aviary.ROWS), 3, tmp_path, said.append)
    assert list(found) == list(demo_aviary.ROWS)
    assert len(said) == len(demo_aviary.ROWS)
    assert all(words.startswith("seed 3: ") for words in said)
    for row, entry in found.items():
        assert entry.logits.shape == (240, 60)
        if row != "zero-shot":
            assert entry.looks.shape == (4, 64, 64)
            assert 0 < entry.controls["chance"] < entry.controls["bird"] < entry.controls["best"]
            assert 0 <= entry.attention <= entry.controls["best"]
    assert found["zero-shot"].test.accuracy > 0.4, "the shipped model"
    runs = {row: [entry, entry] for row, entry in found.items()}
    gap = interval([np.subtract(*(found[r].test.accuracy for r in ("dait-f", "scratch")))] * 2)
    assert f"{100 * gap.mean:.1f}" in demo_aviary.claim(runs)


def test_settings_are_those_of_the_comparison():
    s, all_of_it = demo_aviary.setting(), preset("aviary-vlm")
    assert s.per_class in all_of_it.budgets
    assert s.methods == all_of_it.methods
    assert s.training == all_of_it.training | {"steps": demo_aviary.STEPS}
    between = all_of_it.intermediate_training | {"steps": demo_aviary.BETWEEN_STEPS}
    assert s.intermediate_training == between
    assert set(demo_aviary.METHODS) < set(s.methods)
    assert sorted(row for part in demo_aviary.PARTS for row in part) == sorted(demo_aviary.ROWS)
