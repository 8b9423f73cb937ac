"""Runs of any length lie over each other; lambda is drawn where a loss has one."""

from __future__ import annotations

from labkit.views.schedule import plot_schedule


def test_the_last_stage_over_its_own_length():
    head = [{"stage": "head", "val_accuracy": 0.1}] * 3
    ours = [{"stage": "transfer", "val_accuracy": a, "lambda": b} for a, b in ((None, 0.0), (0.4, 0.25))]
    alone = [{"stage": "train", "val_accuracy": a} for a in (0.1, 0.2, 0.3, 0.4)]
    fig = plot_schedule({"DAIT": head + ours, "alone": alone})
    left, right = fig.axes
    assert [line.get_label() for line in left.lines] == ["DAIT", "alone"]
    assert left.lines[0].get_xdata().tolist() == [1.0], "validated once"
    assert left.lines[1].get_xdata().tolist() == [0.25, 0.5, 0.75, 1.0]
    (only,) = right.lines
    assert list(only.get_ydata()) == [0.0, 0.25]
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["DAIT", "alone"]
