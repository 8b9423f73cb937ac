"""The figure of `labkit intermediates`: what is known of candidates before, and what comes of them."""

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


def plot_candidates(
    points: Mapping[str, tuple[float, float, float, int]],
    scores: Mapping[str, Sequence[Interval | None]],
) -> Figure:
    """CKA over the width; and, where students were trained, their accuracy over CKA and over the candidate's.

    Args:
        points: name -> biased CKA, unbiased CKA, biased CKA of noise as wide, width.
        scores: name -> the candidate's own accuracy and its student's, None where it was not trained.
    """
    known = {name: both for name, both in scores.items() if None not in both}
    panels = 3 if known else 1
    fig, axes = figure(1, panels, width=4.0 * panels + 0.5, height=3.6, squeeze=False)
    looks = dict(zip(points, zip(COLOURS * 3, MARKERS * 3, strict=False), strict=False))
    _width(axes[0, 0], points, looks)
    if known:
        _students(axes[0, 1], {name: points[name][1] for name in known}, known, looks)
        axes[0, 1].set_xlabel("unbiased CKA with the model, before")
        _students(axes[0, 2], {name: own.mean for name, (own, _) in known.items()}, known, looks)
        axes[0, 2].set_xlabel("the candidate's own accuracy, adapted")
        axes[0, 2].xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes[0, 1].set_ylabel("its student's test accuracy")
    handles = [
        axes[0, 0].plot([], [], marker, color=colour, label=name)[0]
        for name, (colour, marker) in looks.items()
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3 if panels == 1 else 6))
    return fig


def _width(axis, points: Mapping[str, tuple[float, float, float, int]], looks: Mapping) -> None:
    """Biased (hollow) and unbiased (filled) of each candidate, and what noise gets of the biased one."""
    for name, (biased, unbiased, _, width) in points.items():
        colour, marker = looks[name]
        axis.plot([width] * 2, [biased, unbiased], color=colour, linewidth=1)
        axis.plot(width, biased, marker, color=colour, markerfacecolor="white")
        axis.plot(width, unbiased, marker, color=colour)
    widths, noise = np.array(sorted((width, noise) for *_, noise, width in points.values())).T
    axis.plot(widths, noise, "--", color=PALETTE["grey"])
    axis.annotate(
        "noise, biased", (widths[-1], noise[-1]), (0, 5), textcoords="offset points",
        color=PALETTE["grey"], ha="right",
    )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted(set(widths)), [f"{int(w)}" for w in sorted(set(widths))], rotation=60)
    axis.minorticks_off()
    axis.set(xlabel="width of the embedding", ylabel="CKA: biased hollow, unbiased filled", ylim=(0, None))


def _students(axis, x: Mapping[str, float], scores: Mapping[str, Sequence[Interval]], looks: Mapping) -> None:
    for name, (_, student) in scores.items():
        colour, marker = looks[name]
        axis.errorbar(x[name], student.mean, np.nan_to_num(student.half), fmt=marker, color=colour, capsize=3)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
