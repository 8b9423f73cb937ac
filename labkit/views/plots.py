"""The plots that several labs share. Each returns a matplotlib figure; `views.show` displays it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .figures import MARKERS, PALETTE, figure

if TYPE_CHECKING:
    from ..engine import Evaluation, Run

COLOURS = [PALETTE[name] for name in ("blue", "vermillion", "green", "orange", "purple", "sky", "black")]


def plot_run(run: Run) -> Figure:
    """Loss terms and accuracies of a run over its epochs."""
    fig, (left, right) = figure(1, 2)
    epochs = np.arange(1, len(run.history) + 1)
    skip = {"stage", "epoch", "step", "lr"}
    names = [n for n in run.history.columns if n not in skip and "accuracy" not in n]
    for axis, columns in ((left, names), (right, ["train_accuracy", "val_accuracy"])):
        for colour, marker, name in zip(COLOURS * 2, MARKERS * 2, columns, strict=False):
            values = np.array([np.nan if v is None else v for v in run.history[name]], dtype=float)
            known = ~np.isnan(values)
            axis.plot(epochs[known], values[known], color=colour, marker=marker, markersize=4, label=name)
        axis.set_xlabel("epoch")
        axis.legend()
    left.set_title("Loss terms")
    right.set_title("Accuracy")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    return fig


def plot_losses(losses: Mapping[str, Sequence[float]], window: int = 50) -> Figure:
    """Loss of every step, faint, under its centred moving average over `window` steps."""
    fig, axis = figure()
    ends = {}
    for colour, (name, values) in zip(COLOURS, losses.items(), strict=False):
        values = np.asarray(values, dtype=float)
        axis.plot(np.arange(1, len(values) + 1), values, color=colour, alpha=0.2, linewidth=0.8)
        steps, mean = moving_average(values, window)
        axis.plot(steps, mean, color=colour, linewidth=2)
        ends[name] = (mean[-1], colour)
    axis.set(xlabel="step", ylabel="loss")
    _label_right(axis, ends)
    return fig


def moving_average(values: Sequence[float], window: int) -> tuple[np.ndarray, np.ndarray]:
    """Centred mean over `window` values and the 1-based steps it belongs to; full windows only."""
    values = np.asarray(values, dtype=float)
    window = min(window, len(values))
    mean = np.convolve(values, np.ones(window) / window, mode="valid")
    return np.arange(len(mean)) + (window + 1) / 2, mean


def plot_lines(x: Sequence[float], lines: Mapping[str, Sequence[float]], xlabel: str, ylabel: str) -> Figure:
    """Several positive quantities over one positive parameter, on logarithmic axes, named at their ends."""
    fig, axis = figure()
    for colour, marker, values in zip(COLOURS, MARKERS, lines.values(), strict=False):
        axis.loglog(x, values, color=colour, marker=marker)
    for colour, (name, values) in zip(COLOURS, lines.items(), strict=False):
        axis.annotate(
            name, (x[-1], values[-1]), (8, 0), textcoords="offset points", color=colour, va="center"
        )
    axis.set(xlabel=xlabel, ylabel=ylabel)
    return fig


def plot_bars(
    groups: Mapping[str, Sequence[float]], labels: Sequence[str], ylabel: str = "probability"
) -> Figure:
    """One small bar chart per group, side by side on one scale."""
    fig, axes = figure(1, len(groups), height=2.6, sharey=True, squeeze=False)
    for colour, axis, (name, values) in zip(COLOURS, axes[0], groups.items(), strict=False):
        axis.bar(labels, values, color=colour)
        axis.set_title(name)
        axis.tick_params(axis="x", labelsize=9)
    axes[0, 0].set_ylabel(ylabel)
    return fig


def plot_sweep(
    x: Sequence[float],
    mean: Sequence[float],
    half: Sequence[float],
    *,
    xlabel: str,
    lines: Mapping[str, tuple[float, float]] | None = None,
    log: bool = False,
    ylabel: str = "test accuracy",
) -> Figure:
    """Mean and 95 % interval over a swept parameter, with labelled reference lines `{name: (mean, half)}`."""
    fig, axis = figure()
    axis.errorbar(x, mean, half, color=COLOURS[0], marker="o", capsize=3, zorder=3)
    for colour, (level, spread) in zip(COLOURS[1:], (lines or {}).values(), strict=False):
        axis.axhline(level, color=colour, linestyle="--", linewidth=1.5)
        axis.axhspan(level - spread, level + spread, color=colour, alpha=0.12, linewidth=0)
    if log:
        axis.set_xscale("log")
    axis.set_xticks(list(x), [f"{v:g}" for v in x])
    axis.minorticks_off()
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    named = zip(COLOURS[1:], (lines or {}).items(), strict=False)
    _label_right(axis, {name: (level, colour) for colour, (name, (level, _)) in named})
    return fig


def _label_right(axis, entries: Mapping[str, tuple[float, str]]) -> None:
    """Write names at the right end of their lines, `{name: (y, colour)}`, apart where lines nearly meet."""
    low, high = axis.get_ylim()
    previous = -np.inf
    for name, (y, colour) in sorted(entries.items(), key=lambda item: item[1][0]):
        previous = max((y - low) / (high - low), previous + 0.08)  # a line of text is about 8 % of the height
        axis.annotate(
            name, (1, previous), (4, 0), xycoords="axes fraction", textcoords="offset points",
            color=colour, va="center",
        )  # fmt: skip


def plot_seeds(
    groups: Mapping[str, Sequence[float]],
    lines: Mapping[str, float] | None = None,
    xlabel: str = "test accuracy",
) -> Figure:
    """Every seed as a point, one row per group, the mean as a bar; reference lines are labelled on top."""
    fig, axis = figure(height=0.9 + 0.5 * len(groups))
    rows = range(len(groups))[::-1]
    for row, colour, marker, values in zip(rows, COLOURS, MARKERS, groups.values(), strict=False):
        axis.plot(values, [row] * len(values), marker, color=colour, alpha=0.6, markersize=7)
        axis.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=3)
    for name, level in (lines or {}).items():
        axis.axvline(level, color=PALETTE["grey"], linestyle="--")
        axis.annotate(
            name, (level, 1), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points",
            color=PALETTE["grey"], ha="center",
        )  # fmt: skip
    axis.set_yticks(list(rows), list(groups))
    axis.set_ylim(-0.6, len(groups) - 0.4)
    axis.set_xlabel(xlabel)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    return fig


def plot_confusion(evaluations: Mapping[str, Evaluation], *, hide_diagonal: bool = True) -> Figure:
    """Confusion matrices side by side on one colour scale; the diagonal is left out so that mistakes show."""
    fig, axes = figure(1, len(evaluations), height=3.8, squeeze=False)
    fig.set_layout_engine("compressed")  # for axes of fixed shape beside a colour bar
    counts = {name: e.confusion.astype(float) for name, e in evaluations.items()}
    for matrix in counts.values():
        if hide_diagonal:
            np.fill_diagonal(matrix, np.nan)
    top = max(1.0, *(np.nanmax(m) for m in counts.values()))
    for axis, (name, matrix), evaluation in zip(axes[0], counts.items(), evaluations.values(), strict=True):
        image = axis.imshow(matrix, cmap="cividis", vmin=0, vmax=top)
        ticks = range(len(evaluation.classes))
        rotation = 90 if max(map(len, evaluation.classes)) > 2 else 0
        axis.set_xticks(ticks, evaluation.classes, rotation=rotation)
        axis.set_yticks(ticks, evaluation.classes)
        axis.set(title=name, xlabel="predicted", ylabel="true")
    fig.colorbar(image, ax=list(axes[0]), label="images", shrink=0.8)
    return fig


def plot_images(
    images, titles: Sequence[str] | None = None, *, columns: int = 8, size: float = 1.0
) -> Figure:
    """A grid of images (N, C, H, W), uint8 or float in [0, 1], with optional titles."""
    array = np.asarray(images)
    array = array / 255 if array.dtype == np.uint8 else array
    rows = -(-len(array) // columns)
    fig, axes = figure(
        rows, columns, width=size * columns, height=size * rows * (1.3 if titles else 1.05), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, title in zip(axes.flat, array, titles or [""] * len(array), strict=False):
        picture = np.moveaxis(picture, 0, -1)
        axis.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9, loc="center")
    return fig
