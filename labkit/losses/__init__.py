"""Distillation losses: pure functions of tensors that return a scalar. One file per family."""

from .feature import attention_transfer, hcl, hint_mse
from .language import (
    image_representation_alignment,
    semantic_image_alignment,
    spatial_representation_alignment,
    vl2lite_linguistic,
    vl2lite_visual,
)
from .relation import neighborhood_relation, rkd_angle, rkd_distance
from .response import hinton_kd, kd_objective, logit_mse

__all__ = [
    "attention_transfer",
    "hcl",
    "hint_mse",
    "hinton_kd",
    "image_representation_alignment",
    "kd_objective",
    "logit_mse",
    "neighborhood_relation",
    "rkd_angle",
    "rkd_distance",
    "semantic_image_alignment",
    "spatial_representation_alignment",
    "vl2lite_linguistic",
    "vl2lite_visual",
]
