"""The figures of lab 02: times, timelines, multiply-accumulates against milliseconds, the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from .figures import PALETTE, figure, show

if TYPE_CHECKING:
    from ipywidgets import Box
    from matplotlib.axis import Axis

    from ..bench.pretend import PretendDevice
    from ..models import Cost

# One name, colour and marker for each network in all figures of the lab.
LOOKS = {
    "resnet50": ("ResNet-50", "blue", "o"),
    "resnet18": ("ResNet-18", "vermillion", "s"),
    "efficientnet_b0": ("EfficientNet-B0", "green", "^"),
    "mobilenet_v2": ("MobileNetV2", "orange", "D"),
    "shufflenet_v2_x1_0": ("ShuffleNetV2", "purple", "v"),
    "mobilenet_v3_small": ("MobileNetV3-small", "black", "P"),
}
_KINDS = {"k x k": "blue", "1 x 1": "sky", "depthwise": "vermillion", "linear": "grey"}
_SPANS = {"launch": "sky", "wait": "yellow", "cold": "vermillion", "work": "blue"}


def look(net: str) -> tuple[str, str, str]:
    """(name to print, colour, marker) of a network by torchvision's name."""
    name, colour, marker = LOOKS.get(net, (net, "grey", "o"))
    return name, PALETTE[colour], marker


def plot_first_runs(times: Mapping[str, Sequence[float]]) -> Figure:
    """Time of each call, in order, one line per network."""
    fig, axis = figure(height=2.8)
    for net, values in times.items():
        name, colour, marker = look(net)
        axis.plot(range(1, len(values) + 1), values, color=colour, marker=marker, markersize=5)
        _label(axis, name, (len(values), values[-1]), colour, offset=(8, 0))
    axis.set(
        xlabel="call",
        ylabel="ms (log scale)",
        yscale="log",
        title="One network, one image, and every call another time",
    )
    axis.set_xticks(range(1, max(map(len, times.values())) + 1))
    _plain(axis.yaxis)
    axis.margins(x=0.13)
    return fig


def plot_shares(macs: Mapping[str, Mapping[str, float]]) -> Figure:
    """How the multiply-accumulates of each network divide among the kinds of layers; totals at the right."""
    fig, axis = figure(height=2.9)
    for row, kinds in enumerate(macs.values()):
        total, left = sum(kinds.values()), 0.0
        for kind, colour in _KINDS.items():
            share = kinds.get(kind, 0) / total
            axis.barh(row, share, left=left, color=PALETTE[colour], edgecolor="white", height=0.72)
            if share > 0.04:
                dark = colour != "sky"
                axis.text(left + share / 2, row, f"{share:.0%}", ha="center", va="center", fontsize=9,
                          color="white" if dark else "black")  # fmt: skip
            left += share
        axis.text(1.01, row, f"{total / 1e9:.2f} G", va="center")
    patches = [Patch(color=PALETTE[colour], label=kind) for kind, colour in _KINDS.items()]
    axis.legend(handles=patches, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False)
    axis.set_yticks(range(len(macs)), [look(net)[0] for net in macs])
    axis.set(xlim=(0, 1), title="Where the multiply-accumulates are", ylim=(len(macs) - 0.5, -0.5), xticks=[])
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return fig


def plot_memory(costs: Mapping[str, Cost]) -> Figure:
    """Megabytes of the weights and of the activations of one image, for each network."""
    fig, axis = figure(height=2.9)
    for row, cost in enumerate(costs.values()):
        bars = ((-0.2, cost.weight_mb, "blue", "weights"), (0.2, cost.activation_mb, "orange", "activations"))
        for shift, megabytes, colour, what in bars:
            axis.barh(row + shift, megabytes, color=PALETTE[colour], height=0.36)
            note = f" {megabytes:.1f}" + (f"  {what}" if row == 0 else "")
            axis.text(megabytes, row + shift, note, va="center", fontsize=9)
    axis.set_yticks(range(len(costs)), [look(net)[0] for net in costs])
    axis.set(
        xlabel="MB (float32, one image)",
        title="The small network's weights are small, its activations need not be",
    )
    axis.invert_yaxis()
    axis.margins(x=0.12)
    return fig


def plot_timeline(device: PretendDevice, title: str) -> Figure:
    """What Python and the pretend device did when; the triangles are the moments the clock was read."""
    fig, axis = figure(height=2.4)
    lanes = {"python": 1, "device": 0}
    for span in device.spans:
        axis.barh(lanes[span.lane], span.end - span.start, left=span.start, height=0.5,
                  color=PALETTE[_SPANS[span.kind]], edgecolor="white", linewidth=0.8)  # fmt: skip
    axis.plot(device.reads, [1.42] * len(device.reads), linestyle="", marker="v", color="black", markersize=6)
    axis.set_yticks([1, 0], ["Python", "device"])
    end = max(span.end for span in device.spans)
    axis.set(xlabel="ms", ylim=(-0.4, 1.65), xlim=(-0.01 * end, 1.03 * end), title=title)
    patches = [Patch(color=PALETTE[colour], label=kind) for kind, colour in _SPANS.items()]
    patches.append(Line2D([], [], linestyle="", marker="v", color="black", label="clock read"))
    axis.legend(handles=patches, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return fig


def plot_latencies(times: Mapping[str, Sequence[float]], marks: Mapping[str, Mapping[str, float]]) -> Figure:
    """Every run as a dot, one panel per network; `marks` holds named places such as {'median': 31.0}."""
    fig, axes = figure(len(times), 1, height=1.5 * len(times) + 0.4, squeeze=False)
    for axis, (net, values) in zip(axes.flat, times.items(), strict=True):
        name, colour, _ = look(net)
        lift = 0.25 * np.sin(2.4 * np.arange(len(values)))  # spread, so that dots don't hide each other
        axis.plot(values, lift, linestyle="", marker=".", color=colour, alpha=0.6)
        for shape, height, (what, place) in zip("^sD", (0.45, 0.62, 0.45), marks[net].items(), strict=True):
            axis.plot([place, place], [-0.3, height], color="black", linewidth=1)
            axis.plot(place, height, marker=shape, color="black", markersize=6, linestyle="", label=what)
        axis.set(yticks=[], ylim=(-0.4, 0.8), xlim=(0, 1.05 * max(values)), ylabel=name)
        axis.spines["left"].set_visible(False)
    axes[0, 0].set_title("Where the runs lie, and what summarises them")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1.0, 0.4), frameon=False)
    axes[-1, 0].set_xlabel("ms")
    return fig


def plot_macs_latency(gmacs: Mapping[str, float], ms: Mapping[str, float], reference: str) -> Figure:
    """Latency against multiply-accumulates, both logarithmic, and the line on which `reference` lies."""
    fig, axis = figure(height=3.3)
    rate = ms[reference] / gmacs[reference]
    ends = np.array([min(gmacs.values()) / 1.5, max(gmacs.values()) * 1.5])
    axis.plot(ends, rate * ends, color=PALETTE["grey"], linestyle="--", linewidth=1.5)
    axis.annotate(f"if {look(reference)[0]}'s ms per MAC held", (ends[0], rate * ends[0]), (26, 0),
                  textcoords="offset points", color=PALETTE["grey"], va="center")  # fmt: skip
    for net in gmacs:
        name, colour, marker = look(net)
        axis.plot(gmacs[net], ms[net], marker=marker, color=colour, markersize=8)
        _label(axis, name, (gmacs[net], ms[net]), colour, (-8, 6), "right")
    axis.set(xscale="log", yscale="log", title="Multiply-accumulates don't tell the time")
    axis.set(xlabel="10⁹ multiply-accumulates (log scale)", ylabel="median ms (log scale)")
    _plain(axis.xaxis, axis.yaxis)
    axis.set_xlim(left=ends[0] / 2.8)  # room for the names
    return fig


def plot_rates(points: Sequence[tuple[str, float, float]], compute: float, memory: float) -> Figure:
    """GMAC/s reached against MACs per byte: points (kind, MAC per byte, GMAC/s) under two measured roofs."""
    fig, axis = figure(height=3.2)
    x = np.geomspace(0.4, 60, 100)
    axis.plot(x, np.minimum(compute, memory * x), color=PALETTE["grey"], linewidth=1.5)
    best = (
        ("copying memory", (0.6, 0.6 * memory), (8, -10)),
        ("one large matrix product", (9, compute), (0, 5)),
    )
    for text, place, offset in best:
        axis.annotate(text, place, offset, textcoords="offset points", color=PALETTE["grey"])
    markers = {"k x k": "o", "1 x 1": "s", "depthwise": "D"}
    for kind, marker in markers.items():
        mine = np.array([(i, r) for k, i, r in points if k == kind])
        colour = PALETTE["black" if kind == "1 x 1" else _KINDS[kind]]
        axis.plot(*mine.T, linestyle="", marker=marker, color=colour, markersize=7)
        _label(axis, kind, max(mine.tolist()), colour, offset=(8, -8))  # at the rightmost point
    axis.set(xscale="log", yscale="log", xlabel="multiply-accumulates per byte moved (log scale)",
             ylabel="10⁹ MAC per second (log scale)",
             title="A depthwise multiply-accumulate is the dearest")  # fmt: skip
    _plain(axis.xaxis, axis.yaxis)
    return fig


def plot_pareto(
    ms: Mapping[str, tuple[float, float, float]],
    accuracy: Mapping[str, tuple[float, float]],
    front: Sequence[str],
    newer: tuple[str, float] | None = None,
) -> Figure:
    """Accuracy (per cent, half width) against latency (median, and the range from best to p95) and the front.

    Args:
        newer: a network and the accuracy of newer weights for it: an open marker straight above.
    """
    fig, axis = figure(height=3.5)
    steps = [(ms[net][0], accuracy[net][0]) for net in front]
    axis.step(*zip(*steps, strict=True), where="post", color=PALETTE["grey"], linewidth=1.5, zorder=1)
    for net, (middle, low, high) in ms.items():
        name, colour, marker = look(net)
        height, half = accuracy[net]
        axis.errorbar(middle, height, half, [[middle - low], [high - middle]], color=colour, marker=marker,
                      markersize=8, linewidth=1, capsize=2)  # fmt: skip
        where = ((-8, 9), "right") if net in front[1:] else ((0, -14), "center")
        _label(axis, name if net in front else f"{name} (beaten)", (middle, height), colour, *where)
    if newer:
        net, better = newer
        _, colour, marker = look(net)
        middle, height = ms[net][0], accuracy[net][0]
        arrow = {"arrowstyle": "->", "color": colour}
        axis.annotate("", (middle, better), (middle, height), arrowprops=arrow)
        axis.plot(middle, better, marker=marker, color=colour, markersize=8, fillstyle="none")
        _label(axis, "same network,\nnewer training", (middle, better), colour, (-10, -4), "right")
    axis.set(xscale="log", xlabel="latency in ms (median; bar: fastest run to p95; log scale)",
             ylabel="ImageNet top-1 in %", title="Nothing lies above and left of the grey steps")  # fmt: skip
    _plain(axis.xaxis)
    axis.margins(x=0.12, y=0.14)
    return fig


def plot_batches(
    sweeps: Mapping[str, Sequence[Mapping[str, float]]], deadline: float, batch: int | None = None
) -> Figure:
    """Latency and throughput over the batch size, the latter relative to one image; `batch` is ringed."""
    fig, axes = figure(1, 2, height=2.9)
    for net, rows in sweeps.items():
        name, colour, marker = look(net)
        sizes = [row["batch"] for row in rows]
        for axis, what, unit in zip(
            axes, ("ms", "images_per_s"), (1.0, rows[0]["images_per_s"]), strict=True
        ):
            values = [row[what] / unit for row in rows]
            axis.plot(sizes, values, color=colour, marker=marker)
            top = values.index(max(values))
            _label(axis, name, (sizes[top], values[top]), colour, (0, 10), "right" if top else "left")
            if batch in sizes:
                ring = (batch, values[sizes.index(batch)])
                axis.plot(*ring, marker="o", markersize=15, fillstyle="none", color=colour)
    left, right = axes
    left.axhline(deadline, color=PALETTE["grey"], linestyle="--")
    left.annotate("deadline", (sizes[0], deadline), (0, 4), textcoords="offset points", color=PALETTE["grey"])
    left.set(ylabel="ms until the batch is done (log scale)", title="Every image waits longer", yscale="log")
    right.set(ylabel="throughput, batch 1 = 1", title="What all gain together")
    for axis in axes:
        axis.set(xlabel="images in the batch", xscale="log")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(y=0.12)
    right.set_ylim(0, 1.2 * right.get_ylim()[1])
    _plain(left.yaxis)
    return fig


def batch_slider(sweeps: Mapping[str, Sequence[Mapping[str, float]]], deadline: float) -> Box:
    """A slider over the batch sizes of `sweeps` that rings the chosen one in `plot_batches`."""
    import ipywidgets as widgets

    sizes = [row["batch"] for row in next(iter(sweeps.values()))]
    slider = widgets.SelectionSlider(options=sizes, description="batch", continuous_update=False)
    output = widgets.Output()

    def draw(_change: object = None) -> None:
        with output:
            output.clear_output(wait=True)
            show(plot_batches(sweeps, deadline, slider.value), f"Batch {slider.value} ringed on every curve.")

    slider.observe(draw, "value")
    draw()
    return widgets.VBox([slider, output])


def _label(
    axis, text: str, place: tuple[float, float], colour: str, offset: tuple[float, float], ha: str = "left"
) -> None:
    axis.annotate(
        text, place, offset, textcoords="offset points", color=colour, ha=ha, va="center", fontsize=9
    )


def _plain(*axes: Axis) -> None:
    """Ordinary numbers at 1, 2 and 5 on a logarithmic axis."""
    for axis in axes:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
