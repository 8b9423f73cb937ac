"""Interactive figures. Each has a static twin in its notebook."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from torch import Tensor

from .figures import show
from .plots import plot_bars


def temperature_slider(
    softened: Callable[[Tensor, float], Tensor], logits: Tensor, classes: Sequence[str], top: float = 20.0
):
    """A slider over T in [0.2, top] above the bars of `softened(logits, T)` for one image's logits (N,)."""
    import ipywidgets as widgets

    slider = widgets.FloatLogSlider(
        value=3, base=top, min=-0.5, max=1, step=0.05, description="T", readout_format=".2f"
    )
    output = widgets.Output()

    def draw(_change: object = None) -> None:
        values = softened(logits[None], float(slider.value))[0]
        fig = plot_bars({f"T = {slider.value:.2f}": values.tolist()}, classes)
        fig.axes[0].set_ylim(0, 1)
        with output, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            output.clear_output(wait=True)
            show(fig, f"Bar chart of the class probabilities at temperature {slider.value:.2f}")

    slider.observe(draw, "value")
    draw()
    return widgets.VBox([slider, output])
