"""The figures of lab 13: the two stages, lambda over a stage, a collapse, students' features side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from .figures import MARKERS, PALETTE, figure
from .plots import COLOURS, _label_right, plot_seeds

if TYPE_CHECKING:
    from ..bench import Interval


def plot_stages() -> Figure:
    """DAIT's two stages as boxes and arrows: who is frozen, who learns, what is compared."""
    fig, axis = figure(width=9.5, height=2.7)
    axis.set(xlim=(0.1, 18.1), ylim=(0, 5.3))
    axis.axis("off")
    grey, blue, red = (PALETTE[name] for name in ("grey", "blue", "vermillion"))
    boxes = {
        "clip": (1.5, 3.6, "CLIP, frozen\nimages $v$, texts $t$", grey),
        "condense": (5.3, 3.6, "condensation\nto width $D$", blue),
        "between": (9.1, 3.6, "intermediate\n$u$ $(B, D)$, map $M$", blue),
        "adapter": (12.9, 3.6, "adapter\n1x1 conv, BN", red),
        "student": (16.7, 3.6, "student\nmap, logits", red),
        "labels 1": (9.1, 1.2, "labels", grey),
        "labels 2": (16.7, 1.2, "labels", grey),
    }
    for name, (x, y, text, colour) in boxes.items():
        tall = 0.8 if name.startswith("labels") else 1.3
        style = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": colour, "lw": 1.6}
        axis.add_patch(FancyBboxPatch((x - 1.25, y - tall / 2), 2.5, tall, **style))
        axis.text(x, y, text, ha="center", va="center", fontsize=9)
    for start, end, text in (
        ("clip", "condense", ""), ("condense", "between", "SIA, IRA"), ("between", "adapter", "SRA"),
        ("student", "adapter", ""), ("labels 1", "between", r"$\lambda$ CE"),
        ("labels 2", "student", r"$\lambda$ CE"),
    ):  # fmt: skip
        (x0, y0), (x1, y1) = boxes[start][:2], boxes[end][:2]
        dx, dy = 1.4 * np.sign(x1 - x0), (0.6 if y0 != y1 else 0.0)
        tip, tail = (x1 - dx, y1 - (0.8 if dy else 0.0)), (x0 + dx, y0 + dy)
        axis.annotate("", tip, tail, arrowprops={"arrowstyle": "-|>", "color": grey, "lw": 1.3})
        place = (
            (tip[0] + tail[0]) / 2 + (0.75 if dy else 0.0),
            (tip[1] + tail[1]) / 2 + (0.0 if dy else 0.9),
        )
        axis.text(*place, text, ha="center", va="center", fontsize=9, color=PALETTE["green"])
    for x, text, colour in ((5.3, "stage 1: blue learns", blue), (12.9, "stage 2: red learns", red)):
        axis.text(x, 0.3, text, ha="center", color=colour, fontsize=10)
    axis.set_title("CLIP teaches the one in the middle, and that one teaches the student")
    return fig


def plot_schedules(lines: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """The labels' share at every epoch of a stage, each line named at its right end; the last one dashed.

    Args:
        lines: name -> lambda in [0, 1], epoch by epoch.
        title: the one message.
    """
    fig, axis = figure(width=8.6, height=3.3)
    ends, last = {}, list(lines)[-1]
    for colour, (name, values) in zip(COLOURS, lines.items(), strict=False):
        axis.plot(values, color=colour, linestyle="--" if name == last else "-", linewidth=2)
        ends[name] = (values[-1], colour)
    axis.set(xlabel="epoch of the stage", ylabel="the labels' share, lambda", ylim=(-0.03, 1.06), title=title)
    axis.margins(x=0)
    _label_right(axis, ends)
    return fig


def plot_collapse(spreads: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """How far the condensed images point in different directions, step by step, on a logarithmic axis.

    Args:
        spreads: name -> 1 - |mean direction|^2, in (0, 1].
        title: the one message.
    """
    fig, axis = figure(width=8.6, height=3.0)
    for colour, marker, (name, values) in zip(COLOURS, MARKERS, spreads.items(), strict=False):
        every = max(1, len(values) // 12)
        axis.semilogy(values, color=colour, marker=marker, markevery=every, markersize=5)
        axis.annotate(
            name, (len(values) - 1, values[-1]), (8, 0), textcoords="offset points", color=colour, va="center"
        )
    axis.set(xlabel="step", ylabel="spread of directions", title=title)
    return fig


def plot_features(
    maps: Mapping[str, Sequence[Sequence[float]]], groups: Sequence[str], title: str = ""
) -> Figure:
    """Maps (n, 2) of the same images by several networks, side by side, at most seven groups.

    Args:
        maps: network -> a place for each image, as `embedding.tsne` gives them.
        groups: the group of each image, by name.
        title: the one message.
    """
    if not maps:
        return _nothing("labkit bench --lab 13")
    fig, axes = figure(1, len(maps), width=3.1 * len(maps), height=4.1, squeeze=False)
    labels = np.asarray(groups)
    for axis, (name, places) in zip(axes[0], maps.items(), strict=True):
        points = np.asarray(places, dtype=float)
        for group, colour, marker in zip(sorted(set(groups)), COLOURS, MARKERS, strict=False):
            mine = points[labels == group]
            axis.scatter(*mine.T, s=14, c=colour, marker=marker, label=group, alpha=0.75, linewidths=0)
        axis.set(xticks=[], yticks=[], title=name)
        for side in axis.spines.values():
            side.set_visible(False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=2, markerscale=1.5, fontsize=9)
    fig.suptitle(title, fontsize=11)
    return fig


def plot_intermediates(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """What was known of every candidate before training, and what came of it.

    Args:
        runs: candidate -> its runs, as `labkit intermediates --students` writes them.
    """
    from ..bench import interval
    from .candidates import plot_candidates

    if not runs:
        return _nothing("labkit intermediates --students")
    known = ("cka", "cka_unbiased", "cka_noise", "embedding_dim")
    points = {name: tuple(rows[0][key] for key in known) for name, rows in runs.items()}
    scores = {
        name: [interval([row[key] for row in rows]) for key in ("adapted", "test")]
        for name, rows in runs.items()
    }
    return plot_candidates(points, scores)


def plot_comparison(
    rows: Mapping[str, Sequence[Interval]], budgets: Sequence[str], title: str = ""
) -> Figure:
    """Every method's accuracy at every budget, the student alone as dashed lines; see `plot_methods`."""
    from .comparison import plot_methods

    if not rows or not budgets:
        return _nothing("labkit bench --data aviary-vlm")
    return plot_methods(rows, budgets, baseline=next(iter(rows)), title=title)


def plot_lambdas(
    rows: Mapping[str, Mapping[int, float]], lines: Mapping[str, Mapping[int, float]], title: str = ""
) -> Figure:
    """Every seed's accuracy for some lambdas, one row each, with the means of others as lines.

    Args:
        rows: lambda in words -> seed -> accuracy.
        lines: name -> seed -> accuracy, of which the mean is drawn.
        title: the one message.
    """
    if not rows:
        return _nothing("labkit bench --lab 13")
    means = {name: float(np.mean(list(runs.values()))) for name, runs in lines.items() if runs}
    fig = plot_seeds({name: list(runs.values()) for name, runs in rows.items()}, means)
    fig.axes[0].set_title(title, pad=18)
    return fig


def _nothing(command: str) -> Figure:
    """In place of a figure whose runs are not made yet: the command that makes them."""
    fig, axis = figure(height=0.8)
    axis.axis("off")
    axis.text(0.5, 0.5, f"These runs are not made yet: {command}", ha="center", va="center")
    return fig
