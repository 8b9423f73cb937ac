"""Where networks look: Grad-CAM over the birds, the parts that tell look-alikes apart outlined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from .figures import MARKERS, PALETTE, figure
from .maps import HEAT, _pictures, _place
from .plots import COLOURS

TOP = 12.0  # times an even map: the end of the colours


def plot_looks(
    images: Tensor,
    titles: Sequence[str],
    looks: Mapping[str, Tensor],
    parts: Tensor,
    notes: Mapping[str, Sequence[str]] | None = None,
    size: float = 1.6,
) -> Figure:
    """One bird a row and one network a column, all on the same crop and one scale of colours.

    A colour says how many times as much of the attention lies there as if it were spread evenly over the
    image, so that networks whose logits differ in size can be compared; a map of zeros stays black.

    Args:
        images: (N, C, S, S), uint8 or floats in [0, 1].
        titles: a short name for each bird.
        looks: name of the network -> (N, S, S) of `grad_cam`.
        parts: (N, S, S) bool, outlined in every picture: `annotate(split).discriminative()`.
        notes: name -> a line under each of its pictures, such as what it predicts.
        size: side of one picture in inches.
    """
    pictures, masks = _pictures(images), np.asarray(parts)
    rows, columns = len(pictures), 1 + len(looks)
    height = size * (1.0 + 0.1 * bool(notes)) * rows + 0.4
    fig, axes = figure(rows, columns, width=size * columns + 1.3, height=height, squeeze=False)
    fig.set_layout_engine("compressed")  # for axes of fixed shape beside a colour bar
    for line, title, picture, mask in zip(axes, titles, pictures, masks, strict=True):
        _bird(line[0], picture, mask)
        line[0].set_ylabel(title, fontsize=9)
    for column, (name, maps) in enumerate(looks.items(), start=1):
        for row, values in enumerate(np.asarray(maps, dtype=float)):
            axis, side = axes[row, column], values.shape[0]
            pale = 0.4 + 0.6 * pictures[row].mean(-1, keepdims=True)  # so that it shows through the dark
            _bird(axis, np.repeat(pale, 3, -1), masks[row])
            density = values / (values.mean() or 1.0)
            drawn = axis.imshow(density, extent=(0, side, side, 0), cmap=HEAT, vmin=0, vmax=TOP, alpha=0.55)
            if notes and name in notes:
                axis.set_xlabel(notes[name][row], fontsize=8)
    for axis, name in zip(axes[0], ["image", *looks], strict=True):
        axis.set_title(name, fontsize=9)
    bar = fig.colorbar(drawn, ax=list(axes.flat), shrink=0.8, extend="max", alpha=1.0)
    bar.set_label("times an even map")
    return fig


def plot_part_attention(
    scores: Mapping[str, Sequence[float]],
    controls: Mapping[str, float],
    title: str = "",
    xlabel: str = "share of Grad-CAM on the discriminative parts",
) -> Figure:
    """The attention-on-part score of every run as a point, the controls as lines.

    Args:
        scores: network -> its score at every seed, shares in [0, 1].
        controls: name -> mean share, as `PartAttention.controls`; leave `best` out, it is far to the right.
        title: the one message.
        xlabel: what is plotted.
    """
    from matplotlib.ticker import PercentFormatter

    fig, axis = figure(height=1.3 + 0.42 * len(scores))
    rows = range(len(scores))[::-1]
    for row, colour, marker, values in zip(rows, COLOURS * 3, MARKERS * 3, scores.values(), strict=False):
        axis.plot(values, [row] * len(values), marker, color=colour, alpha=0.6, markersize=7)
        axis.plot([np.mean(values)] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=3)
    for place, (name, level) in enumerate(sorted(controls.items(), key=lambda item: item[1])):
        axis.axvline(level, color=PALETTE["grey"], linestyle="--", linewidth=1)
        axis.annotate(
            name, (level, 1), (0, 2 + 11 * (place % 2)), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=PALETTE["grey"], ha="center", fontsize=9,
        )  # fmt: skip
    axis.set_yticks(list(rows), list(scores))
    axis.set_ylim(-0.6, len(scores) - 0.4)
    axis.set_xlabel(xlabel)
    axis.set_title(title, pad=28)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    return fig


def _bird(axis, picture: np.ndarray, mask: np.ndarray) -> None:
    """The picture with the outline of its mask, along the pixels' edges."""
    _place(axis, picture)
    side = mask.shape[0]
    # each pixel as 4x4, so that the line follows its edges instead of cutting the corners of thin parts
    fine = np.pad(np.kron(mask, np.ones((4, 4))), 1)
    at = (np.arange(4 * side + 2) - 0.5) / 4
    if mask.any():
        axis.contour(at, at, fine, levels=[0.5], colors=[PALETTE["sky"]], linewidths=1.0)
    axis.set(xlim=(0, side), ylim=(side, 0))
