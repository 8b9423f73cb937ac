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
    fig, axis = figure(width=9.0, height=1.2 + 0.27 * len(rows))
    colours = iter([*_COLOURS, *(PALETTE[name] for name in ("purple", "sky", "black"))] * len(rows))
    at, ends = np.arange(len(budgets)), {}
    for name, levels in rows.items():
        mean, half = np.array(levels).T
        colour = next(colours) if name in marked else PALETTE["grey"]
        dots = ":" if name in references else "-"
        axis.plot(
            at, mean, dots, color=colour, linewidth=2 if name in marked else 1, marker="o", markersize=3
        )
        if name in marked:
            axis.errorbar(at, mean, yerr=np.nan_to_num(half), fmt="none", color=colour, capsize=3)
        ends[name] = mean[-1], colour
    low, high = axis.get_ylim()
    names = sorted(ends, key=lambda name: ends[name][0])
    heights = _apart([ends[name][0] for name in names], (high - low) / (len(names) + 0.5), low, high)
    for name, height in zip(names, heights, strict=True):
        level, colour = ends[name]
        axis.annotate(
            name, (at[-1], level), (at[-1] + 0.12 * max(1, at[-1]), height), color=colour, va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkB": 3},
        )  # fmt: skip
    axis.set_xlim(-0.1, at[-1] * 1.62 + 0.3)
    axis.set_ylim(low, high)
    axis.set_xticks(at, [str(budget) for budget in budgets])
    axis.set(xlabel="labels per class", ylabel="test accuracy, mean and 95 % interval", title=title)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return fig


def _apart(levels: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Rising levels, moved as little as it takes to lie `gap` apart within [low, high]."""
    placed: list[float] = []
    for level in levels:
        placed.append(max(level, placed[-1] + gap if placed else low))
    top = high
    for i in reversed(range(len(placed))):  # what was pushed out at the top comes back down
        placed[i] = top = min(placed[i], top)
        top -= gap
    return placed
