"""The figure of a comparison: one row per method, its interval under every condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
