"""Methods x seeds x budgets: runs, their intervals, tables, and the demo."""

from .demo import demo
from .grid import run_lab
from .matrix import bench_data
from .results import Results, read_results
from .stats import Interval, interval, paired

__all__ = ["Interval", "Results", "bench_data", "demo", "interval", "paired", "read_results", "run_lab"]
