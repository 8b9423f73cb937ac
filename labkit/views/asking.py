"""The figure of lab 12: a measure of every epoch, run by run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from .figures import MARKERS, PALETTE, figure
from .plots import COLOURS, _label_right


def plot_epochs(
    runs: Mapping[str, Sequence[Sequence[float]]],
    lines: Mapping[str, float] | None = None,
    *,
    ylabel: str,
    title: str = "",
) -> Figure:
    """Every run as a line over its epochs, one colour and marker per group; reference lines are named.

    Args:
        runs: group -> runs, each a value per epoch.
        lines: name -> level.
        ylabel: what is measured.
        title: the one message.
    """
    fig, axis = figure(height=3.4)
    ends = {}
    for colour, marker, (name, group) in zip(COLOURS, MARKERS, runs.items(), strict=False):
        for values in group:
            epochs = np.arange(1, len(values) + 1)
            axis.plot(epochs, values, color=colour, marker=marker, markevery=6, markersize=5, linewidth=1.2)
        ends[name] = (float(np.mean([values[-1] for values in group])), colour)
    for name, level in (lines or {}).items():
        axis.axhline(level, color=PALETTE["grey"], linestyle="--", linewidth=1.5)
        ends[name] = (level, PALETTE["grey"])
    axis.set(xlabel="epoch", ylabel=ylabel, title=title)
    axis.set_ylim(0, None)
    _label_right(axis, ends)
    return fig
