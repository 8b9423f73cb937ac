"""The figures of lab 14: a bird among its nearest neighbours, and how many of them are of its species."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from .figures import MARKERS, PALETTE, figure
from .maps import _pictures
from .plots import COLOURS, _label_right

# What a neighbour is to the bird, its colour, and how thick its frame is: told apart without colours, too.
KIN = {
    "same species": (PALETTE["green"], 4.0),
    "look-alike": (PALETTE["orange"], 2.5),
    "other family": (PALETTE["grey"], 1.0),
}


def kin(name: str, other: str) -> str:
    """What one species is to another; look-alikes share the last word of their names."""
    if name == other:
        return "same species"
    return "look-alike" if name.split()[-1] == other.split()[-1] else "other family"


def plot_neighbourhoods(
    images: Tensor, names: Sequence[str], bird: int, near: Mapping[str, Sequence[int]], size: float = 1.0
) -> Figure:
    """One bird and its nearest neighbours in the eyes of several networks, one network a row.

    Args:
        images: (B, C, S, S) of the batch, uint8 or floats in [0, 1].
        names: the species of each of its images.
        bird: position of the bird.
        near: name of the network -> positions of the bird's neighbours, the nearest first.
        size: side of one picture in inches.
    """
    pictures = _pictures(images)
    columns = 1 + max(len(positions) for positions in near.values())
    fig, axes = figure(
        len(near), columns, width=size * columns + 1.0, height=1.3 * size * len(near) + 0.3, squeeze=False
    )
    for line, (who, positions) in zip(axes, near.items(), strict=True):
        _framed(line[0], pictures[bird], "the bird", PALETTE["black"], 1.0)
        line[0].set_ylabel(who, fontsize=9)
        for axis, place in zip(line[1:], positions, strict=True):
            what = kin(names[bird], names[place])
            _framed(axis, pictures[place], what, *KIN[what])
    return fig


def _framed(axis, picture: np.ndarray, title: str, colour: str, width: float) -> None:
    axis.imshow(picture)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9, color=colour, loc="center")
    for side in axis.spines.values():
        side.set(visible=True, edgecolor=colour, linewidth=width)


def plot_shares(sizes: Sequence[int], curves: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Share of neighbours of the same class over the batch size; dashed, the most that the batches allow.

    Args:
        sizes: images in a batch.
        curves: name -> (share, the most it could be) for each size, or for the first sizes.
    """
    fig, axis = figure()
    ends = {}
    for colour, marker, (name, values) in zip(COLOURS, MARKERS, curves.items(), strict=False):
        found, possible = zip(*values, strict=True)
        axis.plot(sizes[: len(found)], found, color=colour, marker=marker)
        axis.plot(sizes[: len(found)], possible, color=colour, linestyle="--", linewidth=1)
        ends[name] = (found[-1], colour)
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(sizes), [str(n) for n in sizes])
    axis.minorticks_off()
    axis.set(xlabel="images in a batch", ylabel="neighbours of the same species", ylim=(0, 1.02))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    _label_right(axis, ends)
    return fig


def plot_rates(rates: Mapping[str, Sequence[float]]) -> Figure:
    """The learning rate of every epoch of several trainings, each named where it ends."""
    fig, axis = figure(height=2.6)
    for colour, style, (name, values) in zip(COLOURS, ("-", "--", "-."), rates.items(), strict=False):
        axis.plot(np.arange(len(values)), values, color=colour, linestyle=style, linewidth=2)
        end = (len(values) - 1, values[-1])
        axis.plot(*end, marker="o", color=colour)
        axis.annotate(name, end, (0, 8), textcoords="offset points", color=colour, ha="center")
    axis.set(xlabel="epoch", ylabel="learning rate", ylim=(0, 1.15 * max(map(max, rates.values()))))
    return fig
