"""What learns and what teaches: classifiers with feature taps, their cost and their latency."""

from . import lora
from .build import available, build, check_name
from .cka import cka, minibatch_cka
from .classifier import Classifier, DirectTap, Parts
from .cost import Cost, cost
from .digits import SmallCNN, small_cnn
from .dinov2 import SelfSupervised, load_backbone
from .latency import Latency, latency
from .output import Output
from .registry import register
from .shipped import pretrained
from .timm_taps import timm_parts
from .torchvision_taps import torchvision_parts
from .vlm import VisionLanguage, load_vlm
from .weights import load_weights

__all__ = [
    "Classifier",
    "Cost",
    "DirectTap",
    "Latency",
    "Output",
    "Parts",
    "SelfSupervised",
    "SmallCNN",
    "VisionLanguage",
    "available",
    "build",
    "check_name",
    "cka",
    "cost",
    "latency",
    "load_backbone",
    "load_vlm",
    "load_weights",
    "lora",
    "minibatch_cka",
    "pretrained",
    "register",
    "small_cnn",
    "timm_parts",
    "torchvision_parts",
]
