"""PAND: prompts that are calibrated first, then alignment and neighbourhoods (arXiv 2602.07768).

Stage 1, prompt-aware semantic calibration, is `calibration.calibrate`: it makes the anchors t*. Stage 2,
neighbourhood-aware structural distillation, is the method here:

    L = lambda CE + (1 - lambda) (L_img + L_txt) / 2 + weight lam NLRD(z_S, s v t*^T)

with VL2Lite's L_img and lambda, `L_txt = T^2 KL` (twice VL2Lite's), and the differences of logits to the k
nearest neighbours, the student's from its own classifier. Formulas of the authors' code (LLLVTA/PAND); the
paper's symbols are reconstructed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data import Batch
from ..errors import LabkitError
from ..losses import neighborhood_relation, semantic_image_alignment
from ..losses._inputs import full, product, unit
from ..models import Classifier, VisionLanguage
from .base import register
from .calibration import Cached, calibrate
from .vl2lite import VL2Lite
from .vlm_teacher import Anchors, Prompts, check_vlm


@register
class PAND(VL2Lite):
    """VL2Lite's alignment with calibrated anchors, and the neighbourhoods of the vision-language model.

    Its two halves are switched apart: plain `prompts` in place of calibrated `anchors`, and weight=0.

    Args:
        student, teacher: see `AsksVLM`.
        prompts: one text per class: fixed anchors, or with `calibrate_on` what the calibration starts from.
        anchors: calibrated ones, a `Calibration` or its file (or the authors' .pt), or (C, E).
        classes: class names, see `AsksVLM`.
        calibrate_on: run stage 1 here, before stage 2, on the model's features of the training images (not
            augmented): a `FeatureBank` or (features, labels).
        calibration: options of `calibrate`; with `out` in it an interrupted run finds its anchors again.
        k: neighbours in the batch, of several processes in the process's part of it, 1..B-1. A batch of many
            classes has few of the same class; the history's 'same_class' is their share.
        lam: the neighbourhood term's inner factor, the authors' lambda.
        weight: of the neighbourhood term, constant over the training; 0 leaves it out.
        options: of `VL2Lite`.

    Raises:
        LabkitError: an option is outside its range, or what `AsksVLM` and `calibrate` raise.
    """

    name = "pand"

    @classmethod
    def check_values(cls, options: Mapping[str, Any]) -> None:
        super().check_values(options)
        _check(options["k"], options["weight"], options["lam"])

    def __init__(
        self,
        student: Classifier,
        teacher: VisionLanguage | None = None,
        *,
        prompts: Prompts | None = None,
        anchors: Anchors | None = None,
        classes: Sequence[str] | None = None,
        calibrate_on: Cached | None = None,
        calibration: dict[str, Any] | None = None,
        k: int = 3,
        lam: float = 1.0,
        weight: float = 1.0,
        **options: Any,
    ) -> None:
        _check(k, weight, lam)
        if calibration and calibrate_on is None:
            raise LabkitError("calibration=... are options of stage 1: pass calibrate_on=..., its features.")
        if calibrate_on is not None and teacher is not None:
            if anchors is not None or prompts is None:
                raise LabkitError(
                    "calibrate_on=... learns the anchors from prompts: give prompts=..., and no anchors."
                )
            check_vlm(teacher, self.name)
            made = calibrate(teacher, prompts, calibrate_on, classes=classes, **(calibration or {}))
            prompts, anchors = None, made
        super().__init__(student, teacher, prompts=prompts, anchors=anchors, classes=classes, **options)
        self.k, self.lam, self.weight = k, lam, weight
        self.options |= {"k": k, "lam": lam, "weight": weight}

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        terms, student, teacher = self.aligned(batch, progress)
        if self.weight * self.lam:
            nlrd = self.lam * neighborhood_relation(student.logits, teacher.logits, self.k)
            same = same_class_share(teacher.logits, batch.label, self.k)
            terms |= {"total": terms["total"] + self.weight * nlrd, "nlrd": nlrd, "same_class": same}
        return terms

    def text_loss(self, h: Tensor, v: Tensor) -> Tensor:
        t = self.teacher.anchors
        scale = self.teacher.scale
        return semantic_image_alignment(h, v, self.text_layer(t), self.temperature, scale, vlm_text_emb=t)


def _check(k: int, weight: float, lam: float) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise LabkitError(f"k must be a whole number of neighbours of at least 1, but it is {k!r}.")
    if min(weight, lam) < 0:
        raise LabkitError(f"weight and lam must be at least 0, but they are {weight} and {lam}.")


@torch.no_grad()
def same_class_share(teacher_logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Share of the k nearest neighbours by the teacher's logits (B, N) that have a sample's own label."""
    direction = unit(full(teacher_logits))
    nearest = product(direction, direction.T).fill_diagonal_(-torch.inf).topk(k, dim=1).indices
    return (labels[nearest] == labels[:, None]).to(direction.dtype).mean()
