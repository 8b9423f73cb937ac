"""The figures of a comparison: a row of intervals per method, or a curve over the label budgets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .figures import MARKERS, PALETTE, figure

if TYPE_CHECKING:
    from ..bench import Interval

_COLOURS = [PALETTE[name] for name in ("blue", "vermillion", "green", "orange")]


def plot_methods(
    rows: Mapping[str, Sequence[Interval]],
    conditions: Sequence[str],
    *,
    baseline: str | None = None,
    title: str = "",
    xlabel: str = "test accuracy, mean and 95 % interval over seeds",
) -> Figure:
    """Mean and interval of every method, one row each from top to bottom.

    Args:
        rows: method in words -> one interval per condition, shares in [0, 1].
        conditions: what the intervals of a row differ in, such as '5 labels per class'; at most four.
        baseline: the row whose means are drawn through the figure as lines.
        title: the one message.
        xlabel: what is plotted.
    """
    fig, axis = figure(height=1.1 + 0.38 * len(rows))
    heights = np.arange(len(rows))[::-1].astype(float)
    spread = np.linspace(0.14, -0.14, len(conditions)) if len(conditions) > 1 else [0.0]
    for i, (condition, offset) in enumerate(zip(conditions, spread, strict=True)):
        mean, half = np.array([row[i] for row in rows.values()]).T
        axis.errorbar(
            mean, heights + offset, xerr=np.nan_to_num(half), fmt=MARKERS[i], color=_COLOURS[i],
            capsize=3, markersize=6, label=condition,
        )  # fmt: skip
        if baseline is not None:
            axis.axvline(rows[baseline][i].mean, color=_COLOURS[i], linestyle="--", linewidth=1, alpha=0.6)
    axis.set_yticks(heights, list(rows))
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xlim(np.clip(axis.get_xlim(), 0, 1))  # intervals of two or three seeds can pass these
    axis.set(xlabel=xlabel if len(conditions) > 1 else f"{xlabel}, {conditions[0]}", title=title)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if len(conditions) > 1:
        fig.legend(loc="outside upper right", ncols=len(conditions), frameon=False)
    return fig


def plot_budgets(
    rows: Mapping[str, Sequence[Interval]],
    budgets: Sequence[int],
    *,
    marked: Collection[str] = (),
    references: Collection[str] = (),
    title: str = "",
) -> Figure:
    """Accuracy over the label budget, one curve per row, each with its name at its right end.

    Args:
        rows: row in words -> one interval per budget, shares in [0, 1].
        budgets: labels per class.
        marked: rows in colour with their intervals; the others are grey and thin.
        references: rows that no student was trained for, dotted.
        title: the one message.
    """
    height = 1.2 + 0.24 * len(rows)
    fig, axis = figure(width=9.0, height=height)
    bright = [*_COLOURS, *(PALETTE[name] for name in ("purple", "sky", "black"))]
    colours = {name: bright[i % len(bright)] for i, name in enumerate(n for n in rows if n in marked)}
    at, ends = np.arange(len(budgets)), {}
    for i, (name, levels) in enumerate(rows.items()):
        mean, half = np.array(levels).T
        look = {"color": colours.get(name, PALETTE["grey"]), "linewidth": 1.0 + (name in marked)}
        if name in marked:
            axis.errorbar(at, mean, yerr=np.nan_to_num(half), fmt="none", capsize=3, **look)
            look |= {"marker": MARKERS[i % len(MARKERS)], "markersize": 5}
        axis.plot(at, mean, ":" if name in references else "-", **look)
        ends[name] = mean[-1]
    low, high = np.clip(axis.get_ylim(), 0, 1)
    names = sorted(ends, key=ends.get)
    gap = (high - low) * 0.19 / (height - 0.9)  # of a line of text
    for name, level in zip(names, _apart([ends[name] for name in names], gap, low, high), strict=True):
        colour = colours.get(name, PALETTE["grey"])
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "relpos": (0, 0.5), "shrinkB": 4}
        where = {"xy": (at[-1], ends[name]), "xytext": (at[-1] * 1.1 + 0.1, level), "va": "center"}
        axis.annotate(name, **where, color=colour, arrowprops=line)
    axis.set(xlim=(-0.1, at[-1] * 1.7 + 0.3), ylim=(low, high))
    axis.spines["bottom"].set_bounds(-0.1, at[-1])
    axis.set_xticks(at, [str(budget) for budget in budgets])
    axis.set(ylabel="test accuracy, mean and 95 % interval", title=title)
    axis.set_xlabel("labels per class", x=0.28)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return fig


def _apart(levels: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Rising levels, moved as little as it takes (least squares) to lie `gap` apart within [low, high]."""
    from sklearn.isotonic import isotonic_regression

    steps = gap * np.arange(len(levels))
    return isotonic_regression(np.array(levels) - steps, y_min=low, y_max=high - steps[-1]) + steps
