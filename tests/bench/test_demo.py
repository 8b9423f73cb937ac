"""`labkit demo digits` with a few steps: its files, its report, its table."""

from __future__ import annotations

import copy
from html.parser import HTMLParser
from pathlib import Path

import pytest

from labkit import LabkitError, profiles
from labkit.bench import demo, lab01
from labkit.engine import History, load_run


class Page(HTMLParser):
    """Tags that open and close in order; what is loaded from elsewhere."""

    ALONE = ("meta", "img", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.cells = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.sources += [values[key] for key in ("src", "href") if values.get(key)]
        if tag == "img":
            self.alts.append(values.get("alt") or "")
        self.cells += tag == "td"
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lab 01's settings with networks and steps for a test."""
    real = profiles._preset

    def preset(name: str) -> dict:
        settings = copy.deepcopy(real(name))
        if name == "lab01.yaml":
            for part in ("teacher", "student"):
                settings["cpu"][part] = {"name": "digit_cnn", "widths": [4, 8], "hidden": 16}
            settings["cpu"]["teacher_training"] |= {"steps": 6, "batch_size": 32}
            settings["cpu"]["training"] |= {"steps": 6, "batch_size": 16}
        return settings

    monkeypatch.setattr(profiles, "_preset", preset)
    monkeypatch.setenv("LABKIT_QUIET", "1")
    lab01.teacher.cache_clear()
    yield
    lab01.teacher.cache_clear()


@pytest.mark.slow
def test_demo_writes_report_history_and_weights(short: None, tmp_path: Path, capsys):
    report = demo("digits", seeds=1, out=tmp_path)
    assert report == tmp_path / "report.html"
    page = Page(report.read_text(encoding="utf-8"))
    assert page.open == []
    assert page.cells == 4 * 4
    assert len(page.alts) == 3
    assert all(page.alts)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources), "self-contained"

    rows = History.load(tmp_path / "history.csv")
    assert {row["method"] for row in rows} == {"hinton", "label_smoothing", "scratch"}
    assert {"seed", "epoch", "total", "val_accuracy"} <= set(rows.columns)
    for method in ("hinton", "label_smoothing", "scratch"):
        run = load_run(tmp_path / f"{method}-0")
        assert run.config["method"]["name"] == method

    printed = capsys.readouterr().out
    for words in ("teacher, all labels", "student, distilled", "student alone", "points of test accuracy"):
        assert words in printed
    assert f"Report: {report}" in printed


@pytest.mark.slow
def test_demo_can_be_run_again_in_the_same_folder(short: None, tmp_path: Path):
    demo("digits", seeds=1, out=tmp_path)
    first = (tmp_path / "history.csv").read_text()
    lab01.teacher.cache_clear()
    demo("digits", seeds=1, out=tmp_path)
    assert (tmp_path / "history.csv").read_text() == first


def test_demo_where_nothing_can_be_written(short: None, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabkitError, match="Can't write"):
        demo("digits", seeds=1, out=tmp_path / "file")


def test_unknown_demo_and_no_seeds():
    with pytest.raises(LabkitError, match=r"Unknown demo 'digit'\. Did you mean 'digits'\?"):
        demo("digit")
    with pytest.raises(LabkitError, match="at least one seed, but got 0"):
        demo(seeds=0)
