"""Validation accuracy over the epochs beside lambda, the share of the labels in a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .figures import MARKERS, figure
from .plots import COLOURS


def plot_schedule(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Accuracy of every run over its own length, and lambda where its loss has one.

    Args:
        histories: name -> rows of a run's history; the last stage counts, from 0 to 1 of its epochs, so that
            runs of different lengths lie over each other.
    """
    fig, (left, right) = figure(1, 2, height=3.4)
    for colour, marker, (name, rows) in zip(COLOURS, MARKERS, histories.items(), strict=False):
        last = [row for row in rows if row["stage"] == rows[-1]["stage"]]
        done = np.arange(1, len(last) + 1) / len(last)
        for axis, column in ((left, "val_accuracy"), (right, "lambda")):
            known = np.array([row.get(column) is not None for row in last])
            if known.any():
                values = [row[column] for row, is_known in zip(last, known, strict=True) if is_known]
                style = {"color": colour, "marker": marker, "markersize": 4, "label": name}
                axis.plot(done[known], values, **style)
    left.set(xlabel="share of the training", ylabel="validation accuracy")
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    right.set(xlabel="share of the training", ylabel="lambda, weight of the labels", ylim=(-0.05, 1.05))
    handles, names = left.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)))
    return fig
