"""Several quantities over one parameter, each with its interval and its name at the right end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .figures import MARKERS, figure
from .plots import COLOURS, _label_right

Curve = Sequence[tuple[float, float]]  # (mean, half width of the interval) at each x


def plot_curves(
    x: Sequence[float],
    curves: Mapping[str, Curve],
    *,
    xlabel: str,
    ylabel: str = "test accuracy",
    title: str = "",
    ticks: Sequence[str] | None = None,
) -> Figure:
    """Curves over a positive parameter on a logarithmic axis, intervals as bars, names at the right.

    Args:
        x: positive values, ascending.
        curves: name -> a (mean, half width) for each x, shares in [0, 1]; a half width may be nan or 0.
        xlabel: the parameter and its unit.
        ylabel: what is plotted.
        title: the one message.
        ticks: labels of the x values; None prints them as they are.
    """
    fig, axis = figure(height=3.6)
    ends = {}
    for colour, marker, (name, points) in zip(COLOURS, MARKERS, curves.items(), strict=False):
        mean, half = np.asarray(points, dtype=float).T
        half = np.nan_to_num(half)
        axis.errorbar(x, mean, half, color=colour, marker=marker, capsize=3, markersize=6)
        ends[name] = (mean[-1], colour)
    axis.set_xscale("log")
    axis.set_xticks(list(x), ticks or [f"{value:g}" for value in x])
    axis.minorticks_off()
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    _label_right(axis, ends)
    return fig
