"""Every figure draws without a warning, says what it shows, and is the same file each time."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from labkit import views
from labkit.engine import Evaluation, History, Run
from labkit.views.figures import png
from labkit.views.plots import moving_average


def run() -> Run:
    rows = [
        {"stage": "a", "epoch": 1, "step": 3, "lr": 0.1, "train_accuracy": 0.5, "total": 2.0, "ce": 1.0},
        {"stage": "a", "epoch": 2, "step": 6, "lr": 0.1, "train_accuracy": float("nan"), "total": 1.0,
         "ce": 0.5, "val_accuracy": 0.6, "val_loss": 1.1},
        {"stage": "b", "epoch": 1, "step": 9, "lr": 0.1, "train_accuracy": 0.7, "total": 1.0},
    ]  # fmt: skip
    return Run(torch.nn.Identity(), 0.6, History(rows), [2.0, 1.0, 1.0])


def evaluation(seed: int) -> Evaluation:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(40) % 4
    return Evaluation(torch.randn(40, 4, generator=generator), labels, ("cat", "dog", "bird", "fish"))


PLOTS: dict[str, Callable[[], Figure]] = {
    "run": lambda: views.plot_run(run()),
    "run without validation": lambda: views.plot_run(Run(None, 0.0, History(run().history[:1]), [])),
    "losses": lambda: views.plot_losses({"a": np.linspace(2, 1, 120), "b": np.linspace(3, 1, 120)}),
    "few losses": lambda: views.plot_losses({"a": [2.0, 1.0, 0.5]}),
    "bars": lambda: views.plot_bars({"T = 1": [0.9, 0.1], "T = 3": [0.7, 0.3]}, ["cat", "dog"]),
    "sweep": lambda: views.plot_sweep(
        [1, 2, 20], [0.9, 0.92, 0.91], [0.01] * 3, xlabel="T", log=True,
        lines={"alone": (0.88, 0.01), "teacher": (0.97, 0.0), "close": (0.881, 0.0)},
    ),
    "seeds": lambda: views.plot_seeds({"a": [0.9, 0.91], "b": [0.8, 0.82]}, {"teacher": 0.95}),
    "confusion": lambda: views.plot_confusion({"a": evaluation(0), "b": evaluation(1)}),
    "whole confusion": lambda: views.plot_confusion({"a": evaluation(0)}, hide_diagonal=False),
    "grey images": lambda: views.plot_images(torch.eye(8).expand(5, 1, 8, 8), ["a"] * 5, columns=3),
    "colour images": lambda: views.plot_images(torch.arange(384).view(2, 3, 8, 8).byte()),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PLOTS)
def test_draws_without_warnings_and_alike_each_time(name: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = png(PLOTS[name]())
        assert png(PLOTS[name]()) == first
    width, height = struct.unpack(">II", first[16:24])
    assert first.startswith(b"\x89PNG")
    assert 100 < width < 2000
    assert 50 < height < 2000


@pytest.mark.slow
def test_nothing_is_left_open_or_changed():
    import matplotlib as mpl
    from matplotlib import _pylab_helpers

    before = dict(mpl.rcParams)
    for draw in PLOTS.values():
        png(draw())
    assert dict(mpl.rcParams) == before
    assert not _pylab_helpers.Gcf.figs


def test_moving_average_is_centred():
    values = np.arange(100.0)
    steps, mean = moving_average(values, 50)
    assert len(mean) == 51
    assert np.allclose(mean, steps - 1), "the mean of a straight line lies on the line (steps count from 1)"
    steps, mean = moving_average([3.0, 1.0, 2.0], 3)
    assert (steps.tolist(), mean.tolist()) == ([2.0], [2.0])
    steps, mean = moving_average([1.0, 3.0], 50)
    assert (steps.tolist(), mean.tolist()) == ([1.5], [2.0])
    slow = [sum(values[i : i + 7] ** 2) / 7 for i in range(94)]
    assert np.allclose(moving_average(values**2, 7)[1], slow)


def test_runs_over_two_stages_are_drawn_one_after_the_other():
    left, right = views.plot_run(run()).axes
    assert left.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert [line.get_label() for line in left.lines] == ["total", "ce", "val_loss"]
    assert right.lines[0].get_xdata().tolist() == [1, 3]


def test_confusion_hides_what_is_right():
    shown = np.asarray(views.plot_confusion({"a": evaluation(0)}).axes[0].images[0].get_array().filled(-1))
    assert (np.diag(shown) == -1).all()
    assert shown[0, 1] == evaluation(0).confusion[0, 1]


def test_lines_that_nearly_meet_are_labelled_apart():
    axis = PLOTS["sweep"]().axes[0]
    heights = sorted(text.xy[1] for text in axis.texts)
    assert len(heights) == 3
    assert all(b - a > 0.07 for a, b in pairwise(heights))


def test_show_carries_alt_text(monkeypatch: pytest.MonkeyPatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **kw: shown.append((data, kw)))
    views.show(PLOTS["bars"](), "Two bars.")
    data, kw = shown[0]
    assert data["text/plain"] == "Two bars."
    assert kw["metadata"]["image/png"]["alt"] == "Two bars."
    assert data["image/png"].startswith(b"\x89PNG")
