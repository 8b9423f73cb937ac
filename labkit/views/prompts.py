"""The figures of lab 10: guesses, templates, reliability, few-shot curves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from .figures import MARKERS, PALETTE, figure, show
from .plots import COLOURS, _label_right

if TYPE_CHECKING:
    from ..bench import Interval
    from ..engine import Evaluation
    from ..engine.calibration import Reliability


def plot_guess(
    image: Tensor, title: str, names: Sequence[str], guesses: Mapping[str, Sequence[float]]
) -> Figure:
    """One image (C, H, W) in [0, 1], and for each kind of guess the probability of some classes."""
    fig, axes = figure(
        1, 1 + len(guesses), width=9.5, height=2.6, width_ratios=[1.1, *[1.6] * len(guesses)], squeeze=False
    )
    picture, *bars = axes[0]
    picture.imshow(np.moveaxis(np.asarray(image), 0, -1).clip(0, 1))
    picture.set_title(title, fontsize=9)
    picture.axis("off")
    rows = range(len(names))[::-1]
    for colour, axis, (title, values) in zip(COLOURS, bars, guesses.items(), strict=False):
        axis.barh(list(rows), values, color=colour, height=0.6)
        axis.set_yticks(list(rows), names if axis is bars[0] else [""] * len(names), fontsize=9)
        axis.set(title=title, xlim=(0, 1), xlabel="probability")
    return fig


def plot_templates(groups: Mapping[str, Mapping[str, Evaluation]]) -> Figure:
    """Accuracy of every template with its interval over images, in named and coloured groups."""
    count = sum(map(len, groups.values()))
    fig, axis = figure(height=0.8 + 0.3 * count)
    row, labels = count, []
    for colour, marker, (name, entries) in zip(COLOURS, MARKERS, groups.items(), strict=False):
        for place, (template, found) in enumerate(entries.items()):
            row -= 1
            value, (low, high) = found.accuracy, found.interval
            axis.errorbar(value, row, xerr=[[value - low], [high - value]], color=colour, marker=marker)
            labels.append((row, template))
            if place == 0:
                axis.annotate(
                    name, (1.01, row), xycoords=("axes fraction", "data"), color=colour, va="center"
                )
    axis.set_yticks(*zip(*labels, strict=True), fontsize=9)
    axis.set(xlabel="accuracy", ylim=(-0.6, count - 0.4))
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    return fig


def plot_reliability(panels: Mapping[str, Reliability]) -> Figure:
    """How often predictions of a given confidence are right, side by side; the area of a dot is its share."""
    fig, axes = figure(1, len(panels), width=2.9 * len(panels), height=3.5, sharey=True, squeeze=False)
    for colour, axis, (name, r) in zip(COLOURS, axes[0], panels.items(), strict=False):
        axis.plot([0, 1], [0, 1], color=PALETTE["grey"], linestyle="--", linewidth=1)
        axis.plot(r.confidence, r.accuracy, color=colour, linewidth=1)
        axis.scatter(r.confidence, r.accuracy, s=12 + 400 * r.share, color=colour, alpha=0.6)
        axis.set(title=f"{name}\nECE {r.ece:.3f}", xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
        axis.set_box_aspect(1)
    axes[0, 0].set_ylabel("accuracy")
    return fig


def plot_scales(
    logits: Tensor, labels: Tensor, factors: Sequence[float], marks: Mapping[str, float] | None = None
) -> Figure:
    """Expected calibration error of logits (n, N) times each factor, on a logarithmic axis, some marked."""
    from ..engine.calibration import reliability

    fig, axis = figure(height=2.8)
    errors = [reliability(factor * logits, labels).ece for factor in factors]
    axis.semilogx(factors, errors, color=COLOURS[0], marker="o")
    axis.set_xticks(list(factors), [f"{factor:g}" for factor in factors])
    axis.minorticks_off()
    for colour, (name, factor) in zip(COLOURS[1:], (marks or {}).items(), strict=False):
        axis.axvline(factor, color=colour, linestyle="--", linewidth=1.5)
        axis.annotate(
            name, (factor, 1), (4, -8), xycoords=("data", "axes fraction"), textcoords="offset points",
            color=colour, va="top",
        )  # fmt: skip
    axis.set(xlabel="factor on the learned scale", ylabel="ECE", ylim=(0, None))
    axis.set_title("The scale changes no prediction, only how far to trust it")
    return fig


def plot_shots(
    shots: Sequence[int], curves: Mapping[str, Sequence[Interval]], lines: Mapping[str, float]
) -> Figure:
    """Accuracy over labelled images per class on a doubling axis, with constant reference lines."""
    fig, axis = figure(height=3.4)
    ends = {}
    for colour, marker, (name, values) in zip(COLOURS, MARKERS, curves.items(), strict=False):
        means, halves = zip(*values, strict=True)
        axis.errorbar(shots, means, np.nan_to_num(halves), color=colour, marker=marker, capsize=3)
        ends[name] = (means[-1], colour)
    for colour, (name, level) in zip(COLOURS[len(curves) :], lines.items(), strict=False):
        axis.axhline(level, color=colour, linestyle="--", linewidth=1.5)
        ends[name] = (level, colour)
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(shots), [str(n) for n in shots])
    axis.minorticks_off()
    axis.set(xlabel="labelled images per class", ylabel="test accuracy")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    _label_right(axis, ends)
    return fig


def scale_slider(logits: Tensor, labels: Tensor, scale: float):
    """A slider over the factor before the softmax, above the reliability diagram it gives.

    Args:
        logits: (n, N) at the learned scale.
        labels: (n,).
        scale: the learned scale, where the slider starts.
    """
    import ipywidgets as widgets

    from ..engine.calibration import reliability

    slider = widgets.FloatLogSlider(
        value=scale, base=10, min=-0.5, max=3, step=0.05, description="scale", readout_format=".1f"
    )
    output = widgets.Output()

    def draw(_change: object = None) -> None:
        found = reliability(logits * (slider.value / scale), labels)
        with output, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            output.clear_output(wait=True)
            fig = plot_reliability({f"scale {slider.value:.1f}": found})
            show(fig, f"Reliability diagram at scale {slider.value:.1f}: ECE {found.ece:.3f}")

    slider.observe(draw, "value")
    draw()
    return widgets.VBox([slider, output])
