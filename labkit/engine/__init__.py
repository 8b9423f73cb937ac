"""The one training loop, evaluation, checkpoints, history and the bank of frozen features."""

from .bank import FeatureBank
from .bank_list import banks, remove_banks
from .bank_text import text_anchors
from .evaluate import Evaluation, evaluate
from .fit import fit
from .grad_cam import PartAttention, attention_on_parts, grad_cam
from .history import History
from .mistakes import Mistakes, families, mistakes
from .recipe import Recipe
from .run import Run, load_run
from .stage import Stage

__all__ = [
    "Evaluation",
    "FeatureBank",
    "History",
    "Mistakes",
    "PartAttention",
    "Recipe",
    "Run",
    "Stage",
    "attention_on_parts",
    "banks",
    "evaluate",
    "families",
    "fit",
    "grad_cam",
    "load_run",
    "mistakes",
    "remove_banks",
    "text_anchors",
]
