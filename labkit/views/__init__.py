"""Everything a person looks at: figures, tables and widgets. Imported lazily; matplotlib loads here."""

from .figures import MARKERS, PALETTE, figure, show
from .plots import (
    plot_bars,
    plot_confusion,
    plot_images,
    plot_lines,
    plot_losses,
    plot_run,
    plot_seeds,
    plot_sweep,
)
from .tables import Table
from .widgets import temperature_slider

__all__ = [
    "MARKERS",
    "PALETTE",
    "Table",
    "figure",
    "plot_bars",
    "plot_confusion",
    "plot_images",
    "plot_lines",
    "plot_losses",
    "plot_run",
    "plot_seeds",
    "plot_sweep",
    "show",
    "temperature_slider",
]
