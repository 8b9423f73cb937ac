"""The figures of lab 03: mistakes among look-alikes, live curves, teachers of all sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .figures import MARKERS, PALETTE, figure
from .plots import COLOURS

if TYPE_CHECKING:
    from ..bench import Interval
    from ..engine import Evaluation


def plot_lookalikes(pictures, titles: Sequence[tuple[str, str]], named) -> Figure:
    """Images (N, 3, H, W) above an image of what they were taken for (N, 3, H, W), uint8.

    Args:
        pictures: the images.
        titles: for each the name of its class, and that of the class in the second row.
        named: an image of that class.
    """
    fig, axes = figure(2, len(titles), width=9.5, height=5.0, squeeze=False)
    for column, (image, other, (true, wrong)) in enumerate(zip(pictures, named, titles, strict=True)):
        for axis, picture, words, colour in (
            (axes[0, column], image, true, PALETTE["green"]),
            (axes[1, column], other, wrong, PALETTE["vermillion"]),
        ):
            axis.imshow(np.moveaxis(np.asarray(picture), 0, -1))
            axis.set_title(words.replace(" ", "\n"), fontsize=9, color=colour, loc="center")
            axis.axis("off")
    fig.suptitle("Above: the photograph and what the teacher says. Below: a bird of what the student says")
    return fig


def plot_curves(
    runs: Mapping[str, Mapping[str, Sequence[float]]], steps: int, ylabel: str = "accuracy"
) -> Figure:
    """Training (dashed) and test accuracy (solid) of some runs, measured at equal distances over `steps`.

    Args:
        runs: name -> {'train': [...], 'val': [...], 'test': [...]}; a ring marks the best epoch by 'val'.
        steps: length of the runs.
        ylabel: what was measured, in words.
    """
    fig, axis = figure(height=3.4)
    for colour, marker, (name, curves) in zip(COLOURS, MARKERS, runs.items(), strict=False):
        x = np.arange(1, len(curves["test"]) + 1) * steps / len(curves["test"])
        axis.plot(x, curves["train"], color=colour, linestyle="--", linewidth=1)
        axis.plot(x, curves["test"], color=colour, marker=marker)
        best = int(np.argmax(curves["val"]))
        axis.plot(x[best], curves["test"][best], "o", markersize=13, fillstyle="none", color=colour)
        for split, style in (("train", "training"), ("test", "test")):
            axis.annotate(
                f"{name}, {style}", (x[-1], curves[split][-1]), (8, 0), textcoords="offset points",
                color=colour, va="center", fontsize=9,
            )  # fmt: skip
    axis.set(xlabel="step", ylabel=ylabel, xlim=(0, None))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return fig


def plot_family_confusion(evaluations: Mapping[str, Evaluation], families) -> Figure:
    """Confusion matrices side by side with white diagonals (the hits), and a frame around every family.

    Args:
        evaluations: by name, of the same classes; those of a family must stand next to each other.
        families: (N,) numbers, as `labkit.engine.families` gives them.
    """
    fig, axes = figure(1, len(evaluations), width=9.5, height=4.6, squeeze=False)
    fig.set_layout_engine("compressed")
    order = np.argsort(np.asarray(families), kind="stable")
    sizes = np.bincount(np.asarray(families))
    starts = np.cumsum([0, *sizes[:-1]])
    matrices = {n: e.confusion.astype(float)[np.ix_(order, order)] for n, e in evaluations.items()}
    for matrix in matrices.values():
        np.fill_diagonal(matrix, np.nan)
    top = max(1.0, *(np.nanmax(m) for m in matrices.values()))
    for axis, (name, matrix) in zip(axes[0], matrices.items(), strict=True):
        image = axis.imshow(matrix, cmap="cividis", vmin=0, vmax=top)
        for start, size in zip(starts, sizes, strict=True):
            corner = [start - 0.5, start + size - 0.5]
            axis.plot(
                [corner[i] for i in (0, 1, 1, 0, 0)], [corner[i] for i in (0, 0, 1, 1, 0)],
                color=PALETTE["orange"], linewidth=0.8,
            )  # fmt: skip
        axis.set(title=name, xlabel="predicted class", ylabel="true class", xticks=[], yticks=[])
    fig.colorbar(image, ax=list(axes[0]), label="images", shrink=0.8)
    return fig


def plot_shares(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], chance: float, ylabel: str
) -> Figure:
    """A share of the errors over the accuracy, a point per run, with the level of chance.

    Args:
        groups: name -> accuracies and shares of its runs.
        chance: drawn as a line.
        ylabel: the share in words.
    """
    fig, axis = figure(height=3.4)
    for colour, marker, (name, (x, y)) in zip(COLOURS, MARKERS, groups.items(), strict=False):
        axis.plot(x, y, marker, color=colour, alpha=0.75, markersize=7, label=name)
    fig.legend(loc="outside right upper")  # the groups overlap: no room for labels beside them
    axis.axhline(chance, color=PALETTE["grey"], linestyle="--")
    axis.annotate(
        "chance", (1, chance), (-4, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
        color=PALETTE["grey"], ha="right",
    )  # fmt: skip
    axis.set(xlabel="test accuracy", ylabel=ylabel, ylim=(0, 1.05))
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return fig


def plot_teachers(
    names: Sequence[str],
    curves: Mapping[str, Sequence[Interval]],
    xlabel: str,
    baseline: tuple[str, float] | None = None,
) -> Figure:
    """Accuracies of teachers and of what their students reach, with intervals, over named steps.

    Args:
        names: of the positions, in order.
        curves: name -> one interval per position.
        xlabel: what the positions are.
        baseline: a name and a level, drawn as a line.
    """
    fig, axis = figure(height=3.4)
    x = np.arange(len(names))
    for colour, marker, (name, values) in zip(COLOURS, MARKERS, curves.items(), strict=False):
        mean, half = np.array(values).T
        axis.errorbar(x, mean, np.nan_to_num(half), color=colour, marker=marker, capsize=3)
        axis.annotate(name, (x[-1], mean[-1]), (9, 0), textcoords="offset points", color=colour, va="center")
    if baseline is not None:
        axis.axhline(baseline[1], color=PALETTE["grey"], linestyle="--")
        axis.annotate(
            baseline[0], (0.15, baseline[1]), (0, 4), xycoords=("axes fraction", "data"),
            textcoords="offset points", color=PALETTE["grey"],
        )  # fmt: skip
    axis.set_xticks(x, list(names))
    axis.set(xlabel=xlabel, ylabel="test accuracy")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return fig
