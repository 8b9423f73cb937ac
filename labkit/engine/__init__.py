"""The one training loop, evaluation, checkpoints, history and the bank of frozen features."""

from .bank import FeatureBank
from .bank_list import banks, remove_banks
from .bank_text import text_anchors
from .evaluate import Evaluation, evaluate
from .fit import fit
from .history import History
from .recipe import Recipe
from .run import Run, load_run
from .stage import Stage

__all__ = [
    "Evaluation",
    "FeatureBank",
    "History",
    "Recipe",
    "Run",
    "Stage",
    "banks",
    "evaluate",
    "fit",
    "load_run",
    "remove_banks",
    "text_anchors",
]
