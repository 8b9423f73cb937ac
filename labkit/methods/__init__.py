"""One short file per published method; `create` builds one by its name."""

from .attention import Attention
from .base import Method, available, create, register
from .distillation import Distillation
from .fitnet import FitNet
from .hinton import Hinton
from .pre_fc import PreFC
from .reviewkd import ReviewKD
from .scratch import LabelSmoothing, Scratch
from .takd import TAKD

__all__ = [
    "TAKD",
    "Attention",
    "Distillation",
    "FitNet",
    "Hinton",
    "LabelSmoothing",
    "Method",
    "PreFC",
    "ReviewKD",
    "Scratch",
    "available",
    "create",
    "register",
]
