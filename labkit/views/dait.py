"""The figures of lab 13: the two stages, lambda over a stage, a collapse, students' features side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from .figures import MARKERS, PALETTE, figure
from .plots import COLOURS, _label_right


def plot_stages() -> Figure:
    """DAIT's two stages as boxes and arrows: who is frozen, who learns, what is compared."""
    fig, axis = figure(width=9.0, height=3.4)
    axis.set(xlim=(-0.1, 18.1), ylim=(0, 6.8))
    axis.axis("off")
    grey, blue, red, green = (PALETTE[name] for name in ("grey", "blue", "vermillion", "green"))
    boxes = {
        "clip": (1.8, 4.9, "CLIP, frozen\nimages $v$, texts $t$", grey),
        "condense": (5.6, 4.9, "condensation\nlayers, to width $D$", blue),
        "labels 1": (1.8, 1.5, "labels", grey),
        "between": (9.2, 3.2, "intermediate\n$u$ $(B, D)$, map $M$", blue),
        "adapter": (13.0, 4.9, "adapter\n1x1 conv, BN", red),
        "student": (16.2, 3.2, "student\nmap, logits", red),
        "labels 2": (13.0, 1.5, "labels", grey),
    }
    for x, y, text, colour in boxes.values():
        box = FancyBboxPatch(
            (x - 1.45, y - 0.75),
            2.9,
            1.5,
            boxstyle="round,pad=0.1",
            facecolor="white",
            edgecolor=colour,
            lw=1.6,
        )
        axis.add_patch(box)
        axis.text(x, y, text, ha="center", va="center", fontsize=9)
    links = {
        ("clip", "condense"): "",
        ("condense", "between"): "SIA, IRA",
        ("labels 1", "between"): "$\\lambda$ CE",
        ("between", "adapter"): "SRA",
        ("adapter", "student"): "",
        ("labels 2", "student"): "$\\lambda$ CE",
    }
    for (start, end), text in links.items():
        (x0, y0), (x1, y1) = boxes[start][:2], boxes[end][:2]
        arrow = {"arrowstyle": "-|>", "color": PALETTE["grey"], "lw": 1.3}
        axis.annotate("", (x1 - 1.6, y1), (x0 + 1.6, y0), arrowprops=arrow)
        side = 0.42 if y0 > y1 else -0.42 if y0 < y1 and start != "between" else 0.42
        axis.text(
            (x0 + x1) / 2, (y0 + y1) / 2 + side, text, ha="center", va="center", fontsize=9, color=green
        )
    for x, text, colour in ((5.4, "stage 1: blue learns", blue), (14.6, "stage 2: red learns", red)):
        axis.text(x, 0.2, text, ha="center", color=colour, fontsize=10)
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
        fig, axis = figure(height=1.0)
        axis.axis("off")
        axis.text(0.5, 0.5, "No runs yet: labkit intermediates --students", ha="center")
        return fig
    known = ("cka", "cka_unbiased", "cka_noise", "embedding_dim")
    points = {name: tuple(rows[0][key] for key in known) for name, rows in runs.items()}
    scores = {
        name: [interval([row[key] for row in rows]) for key in ("adapted", "test")]
        for name, rows in runs.items()
    }
    return plot_candidates(points, scores)
