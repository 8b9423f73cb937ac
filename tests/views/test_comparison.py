"""The figure of a comparison: a row per method, its means and intervals where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.bench import Interval
from labkit.views.comparison import plot_budgets, plot_methods

ROWS = {
    "alone": [Interval(0.4, 0.02), Interval(0.5, 0.03)],
    "taught": [Interval(0.6, 0.01), Interval(0.7, float("nan"))],
}


def test_means_intervals_and_baseline_are_drawn_where_they_are():
    figure = plot_methods(ROWS, ["5 labels", "10 labels"], baseline="alone", title="t")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["alone", "taught"]
    assert axis.get_yticks()[0] > axis.get_yticks()[1], "from top to bottom"
    for i, bars in enumerate(axis.containers):
        means, _, (lines,) = bars
        assert means.get_xdata() == pytest.approx([ROWS[name][i].mean for name in ROWS])
        halves = [np.ptp(segment[:, 0]) / 2 for segment in lines.get_segments()]
        assert halves == pytest.approx([np.nan_to_num(ROWS[name][i].half) for name in ROWS])
    dashed = [line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == "--"]
    assert dashed == pytest.approx([0.4, 0.5])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["5 labels", "10 labels"]


def test_one_condition_needs_no_legend():
    figure = plot_methods({name: row[:1] for name, row in ROWS.items()}, ["5 labels"])
    assert not figure.legends
    assert "5 labels" in figure.axes[0].get_xlabel()


def test_curves_over_the_budget_carry_their_names():
    levels = {
        f"row {i}": [Interval(0.5, 0.02), Interval(0.55, 0.01), Interval(0.6 + i / 1000, 0.01)]
        for i in range(9)
    }
    figure = plot_budgets(levels, [3, 10, 20], marked={"row 4"}, references={"row 0"}, title="t")
    (axis,) = figure.axes
    figure.canvas.draw()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["3", "10", "20"]
    curves = [
        line for line in axis.lines if len(line.get_ydata()) == 3 and line.get_linestyle() in ("-", ":")
    ]
    assert [list(line.get_ydata()) for line in curves] == [[x.mean for x in row] for row in levels.values()]
    assert [line.get_linestyle() for line in curves] == [":"] + ["-"] * 8
    assert len({line.get_color() for line in curves}) == 2, "one stands out"
    names = {text.get_text(): axis.transData.transform(text.xyann)[1] for text in axis.texts}
    heights = [names[name] for name in levels]
    assert np.diff(heights).min() > 12, "names in the order of the curves, none over another"
