"""Methods x seeds x budgets: runs, their intervals, tables, and the demo."""

from .demo import demo
from .grid import run_lab
from .results import Results, read_results
from .stats import Interval, interval, paired

__all__ = ["Interval", "Results", "demo", "interval", "paired", "read_results", "run_lab"]
