"""Lab 03's figures show the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.bench import Interval
from labkit.engine import Evaluation
from labkit.views import mistakes as figures


def test_look_alikes_stand_below_each_other():
    images = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    fig = figures.plot_lookalikes(images, [("red wren", "blue wren"), ("a jay", "b jay")], images.flip(0))
    titles = [axis.get_title() for axis in fig.axes]
    assert titles == ["red\nwren", "a\njay", "blue\nwren", "b\njay"]
    assert np.array_equal(fig.axes[2].images[0].get_array(), images[1].permute(1, 2, 0))


def test_curves_mark_the_best_epoch_by_validation():
    run = {"train": [0.5, 0.9, 1.0], "val": [0.2, 0.6, 0.4], "test": [0.3, 0.5, 0.7]}
    fig = figures.plot_curves({"alone": run}, steps=30, ylabel="accuracy, 300 images")
    assert fig.axes[0].get_ylabel() == "accuracy, 300 images"
    train, test, ring = fig.axes[0].lines
    assert list(train.get_xdata()) == [10, 20, 30]
    assert list(test.get_ydata()) == [0.3, 0.5, 0.7]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (20, 0.5)


def test_confusion_is_sorted_by_family_and_has_no_diagonal():
    labels = torch.tensor([0, 1, 2, 2])
    logits = torch.eye(3)[torch.tensor([2, 1, 0, 1])]
    found = Evaluation(logits, labels, ("a", "b", "c"))
    fig = figures.plot_family_confusion({"one": found}, torch.tensor([0, 1, 0]))
    shown = np.ma.filled(fig.axes[0].images[0].get_array(), np.nan)  # the order is now a, c, b
    expected = np.array([[np.nan, 1, 0], [1, np.nan, 1], [0, 0, np.nan]])
    assert np.array_equal(shown, expected, equal_nan=True)


@pytest.mark.parametrize("chance", [0.05, 0.2])
def test_shares_are_drawn_over_accuracy(chance: float):
    fig = figures.plot_shares({"kd": ([0.5, 0.6], [0.3, 0.4])}, chance, "share")
    points, line = fig.axes[0].lines
    assert list(points.get_xdata()) == [0.5, 0.6]
    assert line.get_ydata()[0] == chance


def test_teachers_are_drawn_with_their_names():
    values = [Interval(0.4, 0.1), Interval(0.5, float("nan"))]
    fig = figures.plot_teachers(["small", "large"], {"student": values}, "teacher", ("alone", 0.3))
    assert [t.get_text() for t in fig.axes[0].get_xticklabels()] == ["small", "large"]
    assert {t.get_text() for t in fig.axes[0].texts} == {"student", "alone"}
