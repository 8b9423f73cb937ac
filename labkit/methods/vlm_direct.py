"""Asking CLIP directly: the baselines "KD(CLIP)", "RKD(CLIP)" and a teacher assistant between.

Tables of VL2Lite and DAIT list the first two without formulas, so that these are reconstructed: the zero-shot
logits `s v W^T` take the place of a classifier's (CLIP, arXiv 2103.00020), the image embeddings v that of its
embeddings. The scale s is the model's own unless told otherwise: with 1 / 0.07 and T = 4 the target is nearly
uniform. Such a student can hardly be better than its teacher's zero-shot accuracy says; report it beside.
"""

from __future__ import annotations

from .base import register
from .hinton import Hinton
from .relational import RKD
from .takd import TAKD
from .vlm_teacher import AsksVLM


@register
class KDClip(AsksVLM, Hinton):
    """`w CE + (1 - w) T^2 KL` with the softened zero-shot logits of a vision-language model.

    Options are those of `Hinton` and of `AsksVLM`.
    """

    name = "kd_clip"


@register
class RKDClip(AsksVLM, RKD):
    """Distances and angles between the model's image embeddings, taught to the student's embeddings.

    Options are those of `RKD` and of `AsksVLM`; prompts are needed only with a `kd_weight`.
    """

    name = "rkd_clip"
    anchored = False


@register
class TAKDClip(AsksVLM, TAKD):
    """Plain distillation from a vision-language model into an assistant, then from it into the student.

    Options are those of `TAKD` and of `AsksVLM`. The assistant hears only the softened zero-shot logits:
    what `dait` adds to this is the alignment with images and texts, and the maps of the second stage.
    """

    name = "takd_clip"
