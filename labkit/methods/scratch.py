"""The controls: a student trained on the labels alone, with and without label smoothing.

Label smoothing: Szegedy et al. 2016, arXiv 1512.00567. It softens the targets without a teacher, so a gain of
distillation over it is knowledge of the teacher and not mere softness.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ..errors import LabkitError
from ..models import Classifier
from .base import register
from .distillation import Distillation


@register
class Scratch(Distillation):
    """Cross-entropy on the labels. A teacher is ignored, so that all methods can be called alike."""

    name = "scratch"


@register
class LabelSmoothing(Distillation):
    """Cross-entropy against (1 - smoothing) one-hot + smoothing / N; `smoothing` in [0, 1).

    Raises:
        LabkitError: `smoothing` is outside its range.
    """

    name = "label_smoothing"

    def __init__(
        self, student: Classifier, teacher: Classifier | None = None, smoothing: float = 0.1, **terms: Any
    ) -> None:
        super().__init__(student, teacher, smoothing=smoothing, **terms)
        if not 0 <= smoothing < 1:
            raise LabkitError(f"smoothing must be in [0, 1), but it is {smoothing}.")
        self.smoothing = smoothing

    def label_loss(self, logits: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(logits, label, label_smoothing=self.smoothing)
