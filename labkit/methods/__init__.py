"""One short file per published method; `create` builds one by its name."""

from .attention import Attention
from .base import Method, available, check_numbers, check_options, create, register
from .calibration import Calibration, calibrate, read_calibration
from .dait import DAIT
from .distillation import Distillation
from .fitnet import FitNet
from .hinton import Hinton
from .pand import PAND
from .pre_fc import PreFC
from .relational import RKD
from .reviewkd import ReviewKD
from .scratch import LabelSmoothing, Scratch
from .takd import TAKD
from .vl2lite import VL2Lite
from .vlm_direct import KDClip, RKDClip, TAKDClip
from .vlm_teacher import asks_vlm

__all__ = [
    "DAIT",
    "PAND",
    "RKD",
    "TAKD",
    "Attention",
    "Calibration",
    "Distillation",
    "FitNet",
    "Hinton",
    "KDClip",
    "LabelSmoothing",
    "Method",
    "PreFC",
    "RKDClip",
    "ReviewKD",
    "Scratch",
    "TAKDClip",
    "VL2Lite",
    "asks_vlm",
    "available",
    "calibrate",
    "check_numbers",
    "check_options",
    "create",
    "read_calibration",
    "register",
]
