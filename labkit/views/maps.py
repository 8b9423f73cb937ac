"""The figures of lab 04: feature maps beside the images they belong to, layers compared, ReviewKD's fusion.

Every map is drawn over the same square as its image, so that a place in one is the same place in the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from .figures import MARKERS, PALETTE, figure
from .plots import COLOURS

HEAT = "inferno"


def plot_attention(
    images: Tensor,
    titles: Sequence[str],
    attention: Mapping[str, Tensor],
    notes: Mapping[str, Sequence[str]] | None = None,
    size: float = 1.45,
) -> Figure:
    """Images in the first row; below it, for each network, its attention over the same images in grey.

    Args:
        images: (N, C, S, S), uint8 or floats in [0, 1].
        titles: one for each image.
        attention: name -> (N, h, w), at least 0; every map is scaled to its own maximum.
        notes: name -> a line under each map.
        size: side of one picture in inches.
    """
    pictures = _pictures(images)
    rows = 1 + len(attention)
    fig, axes = figure(
        rows,
        len(pictures),
        width=size * len(pictures) + 0.9,
        height=size * (1.28 * rows + 0.15),
        squeeze=False,
    )
    for axis, picture, title in zip(axes[0], pictures, titles, strict=True):
        _place(axis, picture, title)
    for line, (name, maps) in zip(axes[1:], attention.items(), strict=True):
        for axis, picture, values in zip(line, pictures, np.asarray(maps), strict=True):
            _place(axis, picture.mean(-1), cmap="gray")
            _heat(axis, values, picture.shape[0], alpha=0.65)
        for axis, note in zip(line, (notes or {}).get(name, ()), strict=False):
            axis.set_xlabel(note, fontsize=9)
        line[0].set_ylabel(name)
    axes[0, 0].set_ylabel("image")
    return fig


def plot_layers(
    image: Tensor,
    rows: Mapping[str, Sequence[Tensor]],
    columns: Sequence[str],
    title: str = "",
    top: float | None = None,
) -> Figure:
    """One image at the left of each row of maps, all over the same square.

    Args:
        image: (C, S, S), uint8 or floats in [0, 1].
        rows: name -> maps (h, w) of any sizes.
        columns: a title for each map.
        title: above everything, the one message.
        top: the value of the brightest colour in every map; None gives each map its own scale.
    """
    picture = _pictures(image[None])[0]
    wide = 1 + len(columns)
    fig, axes = figure(len(rows), wide, width=1.55 * wide, height=1.48 * len(rows) + 0.55, squeeze=False)
    for line, (name, maps) in zip(axes, rows.items(), strict=True):
        _place(line[0], picture)
        line[0].set_ylabel(name)
        for axis, values in zip(line[1:], maps, strict=True):
            _place(axis)
            _heat(axis, np.asarray(values), picture.shape[0], top=top)
    for axis, column in zip(axes[0], ["image", *columns], strict=True):
        axis.set_title(column, fontsize=10)
    fig.suptitle(title, fontsize=11)
    return fig


def plot_cka(matrices: Mapping[str, np.ndarray], layers: Sequence[str], title: str = "") -> Figure:
    """Similarities of every student layer with every teacher layer, side by side on one scale from 0 to 1.

    Args:
        matrices: name -> (student layers, teacher layers).
        layers: names of the layers.
        title: the one message.
    """
    count = len(matrices)
    fig, axes = figure(1, count, width=2.4 * count + 1.0, height=3.1, sharey=True, squeeze=False)
    fig.set_layout_engine("compressed")  # for axes of fixed shape beside a colour bar
    for axis, (name, matrix) in zip(axes[0], matrices.items(), strict=True):
        drawn = axis.imshow(np.asarray(matrix), cmap="cividis", vmin=0, vmax=1)
        for (row, column), value in np.ndenumerate(np.asarray(matrix)):
            colour = "black" if value > 0.5 else "white"
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)
        axis.set_xticks(range(len(layers)), layers)
        axis.set_yticks(range(len(layers)), layers)
        axis.set(title=name, xlabel="teacher's layer")
    axes[0, 0].set_ylabel("student's layer")
    fig.colorbar(drawn, ax=list(axes[0]), label="CKA", shrink=0.8)
    fig.suptitle(title, fontsize=11)
    return fig


def plot_depths(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    title: str = "",
    bands: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Accuracy over the matched layer, 0 to 3, with intervals.

    Args:
        curves: name -> (mean, half width of the interval) for each layer, shares in [0, 1].
        title: the one message.
        bands: name -> the same of what matches no layer, drawn as a level with its interval.
    """
    fig, axis = figure(height=3.2)
    for name, (mean, half) in (bands or {}).items():
        axis.axhspan(mean - half, mean + half, color=PALETTE["grey"], alpha=0.15, linewidth=0)
        axis.axhline(mean, color=PALETTE["grey"], linestyle="--")
        axis.annotate(name, (1, mean), (5, 0), xycoords=("axes fraction", "data"), va="center",
                      textcoords="offset points", color=PALETTE["grey"])  # fmt: skip
    for place, (colour, marker, (name, points)) in enumerate(
        zip(COLOURS, MARKERS, curves.items(), strict=False)
    ):
        mean, half = np.asarray(points, dtype=float).T
        x = np.arange(len(mean)) + 0.06 * place  # side by side, so that no bar hides another
        axis.errorbar(x, mean, np.nan_to_num(half), color=colour, marker=marker, capsize=3)
        axis.annotate(name, (x[-1], mean[-1]), (10, 0), textcoords="offset points", color=colour, va="center")
    axis.set_xticks(range(4), ["0\nearly", "1", "2", "3\nlate"])
    axis.set(xlabel="matched layer", ylabel="test accuracy", title=title)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.margins(x=0.12)
    return fig


def plot_fusion() -> Figure:
    """ReviewKD's attention-based fusion of one level, as boxes and arrows with shapes."""
    fig, axis = figure(width=9.0, height=3.3)
    axis.set(xlim=(-0.1, 18.1), ylim=(0, 6.6))
    axis.axis("off")
    blue, red, green, grey = (PALETTE[name] for name in ("blue", "vermillion", "green", "grey"))
    boxes = {
        "map": (1.7, 4.9, "student's map $f$\n$(B, C_S, h, w)$", grey),
        "y": (1.7, 1.3, "from the deeper level\n$(B, m, h', w')$", grey),
        "conv": (5.2, 4.9, "1x1 conv, BN\n$x$: $(B, m, h, w)$", blue),
        "up": (5.2, 1.3, "nearest, to $h$ x $w$\n$y$: $(B, m, h, w)$", blue),
        "gate": (8.7, 3.1, "1x1 conv, sigmoid\n$z$: $(B, 2, h, w)$", red),
        "mix": (12.6, 3.1, "$z_0 x + z_1 y$\n$(B, m, h, w)$", red),
        "out": (16.3, 4.9, "3x3 conv, BN\n$(B, C_T, h, w)$ to HCL", green),
        "next": (16.3, 1.3, "to the shallower level\n$(B, m, h, w)$", grey),
    }
    for x, y, text, colour in boxes.values():
        patch = FancyBboxPatch(
            (x - 1.5, y - 0.75),
            3.0,
            1.5,
            boxstyle="round,pad=0.1",
            facecolor="white",
            edgecolor=colour,
            lw=1.6,
        )
        axis.add_patch(patch)
        axis.text(x, y, text, ha="center", va="center", fontsize=9)
    for start, end in (
        ("map", "conv"), ("y", "up"), ("conv", "gate"), ("up", "gate"), ("gate", "mix"),
        ("conv", "mix"), ("up", "mix"), ("mix", "out"), ("mix", "next"),
    ):  # fmt: skip
        _arrow(axis, boxes[start][:2], boxes[end][:2], curved=start in ("conv", "up") and end == "mix")
    axis.set_title("One level of ReviewKD: two gates decide, place by place, what the deeper level adds")
    return fig


def _arrow(axis, start: tuple[float, float], end: tuple[float, float], curved: bool) -> None:
    """From the right edge of one box to the left edge of another; curved ones pass outside the gate."""
    side = 1 if end[1] > start[1] else -1
    tip = (end[0], end[1] - side * 0.9) if curved else (end[0] - 1.65, end[1])
    style = f"angle3,angleA=0,angleB={side * 90}" if curved else "arc3"
    axis.annotate(
        "", tip, (start[0] + 1.65, start[1] - (side * 0.45 if curved else 0)),
        arrowprops={"arrowstyle": "-|>", "color": PALETTE["grey"], "connectionstyle": style, "lw": 1.3},
    )  # fmt: skip


def _pictures(images: Tensor) -> np.ndarray:
    """(N, S, S, 3) floats in [0, 1]."""
    array = np.asarray(images)
    array = np.moveaxis(array / 255 if array.dtype == np.uint8 else array, 1, -1)
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array


def _place(axis, picture: np.ndarray | None = None, title: str = "", **options) -> None:
    """A square without ticks, with the picture in it."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_title(title, fontsize=9)
    if picture is not None:
        side = picture.shape[0]
        axis.imshow(picture, extent=(0, side, side, 0), vmin=0, vmax=1, **options)


def _heat(axis, values: np.ndarray, side: int, alpha: float = 1.0, top: float | None = None) -> None:
    """A map (h, w) as coarse as it is, stretched over the square of the image."""
    top = top or values.max() or 1.0
    axis.imshow(
        values, extent=(0, side, side, 0), cmap=HEAT, vmin=min(0.0, float(values.min())), vmax=top,
        alpha=alpha, interpolation="nearest",
    )  # fmt: skip
