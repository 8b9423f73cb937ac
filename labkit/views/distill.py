"""The figures of a distillation's report: how lambda grew, which look-alikes are confused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..engine import Evaluation
from .figures import MARKERS, figure
from .plots import COLOURS


def plot_lambda(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """The labels' share of the loss over the steps of each training, named at its end.

    Args:
        curves: name -> steps and lambda, in [0, 1].
    """
    fig, axis = figure(height=2.8)
    for colour, marker, (name, (steps, values)) in zip(COLOURS, MARKERS, curves.items(), strict=False):
        axis.plot(steps, values, color=colour, marker=marker, markersize=4, label=name)
    axis.set(xlabel="step of its training", ylabel="lambda, share of the labels", ylim=(-0.03, 1.03))
    fig.legend(loc="outside right upper")
    return fig


def plot_pairs(evaluations: Mapping[str, Evaluation], most: int = 8) -> Figure:
    """The pairs of classes that are taken for each other most often: one bar for each network.

    Args:
        evaluations: by name, of the same classes and images.
        most: so many pairs, by the sum over the networks.
    """
    counts = {name: e.confusion + e.confusion.T for name, e in evaluations.items()}
    total = np.triu(sum(counts.values()), 1)
    order = np.argsort(-total, axis=None, kind="stable")[:most]
    pairs = [divmod(int(flat), len(total)) for flat in order if total.flat[flat]]
    classes = next(iter(evaluations.values())).classes
    fig, axis = figure(height=1.2 + 0.5 * max(1, len(pairs)))
    rows, thick = np.arange(len(pairs))[::-1], 0.8 / len(counts)
    for i, (colour, (name, matrix)) in enumerate(zip(COLOURS, counts.items(), strict=False)):
        values = [matrix[pair] for pair in pairs]
        axis.barh(rows + 0.4 - (i + 0.5) * thick, values, thick, color=colour, label=name)
    axis.set_yticks(rows, [f"{classes[a]}\n{classes[b]}" for a, b in pairs], fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("test images of one taken for the other")
    fig.legend(loc="outside right upper")
    return fig
