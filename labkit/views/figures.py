"""The look of every figure: one palette, one size, alt text."""

from __future__ import annotations

import io

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/: told apart with every common colour vision.
PALETTE = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#7F7F7F",
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_STYLE = {
    "figure.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.prop_cycle": mpl.cycler(color=list(PALETTE.values())[1:]),
    "figure.facecolor": "white",  # readable in dark themes too
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
}


def figure(rows: int = 1, columns: int = 1, *, width: float = 8.0, height: float = 3.2, **kw):
    """A figure in the course's style and its axes, as `plt.subplots` gives them; sizes in inches."""
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(width, height))
        axes = fig.subplots(rows, columns, **kw)
    return fig, axes


def png(fig: Figure) -> bytes:
    """The figure as PNG of at most 256 colours, a third of the bytes and no loss that one can see.

    Without the date and version that would make two builds differ.
    """
    from PIL import Image

    buffer, small = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(_STYLE):
        fig.savefig(buffer, format="png", metadata={"Software": None})
    with Image.open(buffer) as picture:
        flat = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    flat.save(small, format="png", optimize=True)
    return small.getvalue()


def show(fig: Figure, alt: str) -> None:
    """Display the figure in a notebook; `alt` is the sentence for readers who can't see it."""
    from IPython.display import display

    # nbconvert and JupyterLab read the alt text from the metadata; plain text is the fallback everywhere.
    data = {"image/png": png(fig), "text/plain": alt}
    display(data, raw=True, metadata={"image/png": {"alt": alt}})
