"""The controls: a student trained on the labels alone, with and without label smoothing.

Label smoothing: Szegedy et al. 2016, arXiv 1512.00567. It softens the targets without a teacher, so a gain of
distillation over it is knowledge of the teacher and not mere softness.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..data import Batch
from ..errors import LabkitError
from ..models import Classifier
from .base import Method, register


@register
class Scratch(Method):
    """Cross-entropy on the labels. A teacher is ignored, so that all methods can be called alike."""

    name = "scratch"

    def __init__(self, student: Classifier, teacher: Classifier | None = None) -> None:
        super().__init__(student)

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        ce = F.cross_entropy(self.student(batch.image).logits, batch.label)
        return {"total": ce, "ce": ce}


@register
class LabelSmoothing(Method):
    """Cross-entropy against (1 - smoothing) one-hot + smoothing / N; `smoothing` in [0, 1).

    Raises:
        LabkitError: `smoothing` is outside its range.
    """

    name = "label_smoothing"

    def __init__(
        self, student: Classifier, teacher: Classifier | None = None, smoothing: float = 0.1
    ) -> None:
        super().__init__(student, smoothing=smoothing)
        if not 0 <= smoothing < 1:
            raise LabkitError(f"smoothing must be in [0, 1), but it is {smoothing}.")
        self.smoothing = smoothing

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        logits = self.student(batch.image).logits
        ce = F.cross_entropy(logits, batch.label, label_smoothing=self.smoothing)
        return {"total": ce, "ce": ce}
