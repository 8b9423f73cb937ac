"""Knowledge distillation by softened responses (Hinton, Vinyals, Dean 2015, arXiv 1503.02531).

`L = w CE(z_S, y) + (1 - w) T^2 KL(softmax(z_T / T) || softmax(z_S / T))`
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..data import Batch
from ..errors import LabkitError
from ..losses import hinton_kd
from ..models import Classifier
from .base import Method, register


@register
class Hinton(Method):
    """Learn from the labels and from the teacher's softened probabilities on the same augmented image.

    Args:
        temperature: T > 0.
        hard_weight: w in [0, 1], the weight of the labels; 0 needs no labels at all.

    Raises:
        LabkitError: an option is outside its range.
    """

    name = "hinton"
    needs_teacher = True

    def __init__(
        self, student: Classifier, teacher: Classifier, temperature: float = 4.0, hard_weight: float = 0.5
    ) -> None:
        super().__init__(student, teacher, temperature=temperature, hard_weight=hard_weight)
        if not temperature > 0 or not 0 <= hard_weight <= 1:
            raise LabkitError(
                f"temperature must be greater than 0 and hard_weight in [0, 1],"
                f" but they are {temperature} and {hard_weight}."
            )
        self.temperature, self.hard_weight = temperature, hard_weight

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        logits = self.student(batch.image).logits
        ce = F.cross_entropy(logits, batch.label)
        kd = hinton_kd(logits, self.ask_teacher(batch).logits, self.temperature)
        return {"total": self.hard_weight * ce + (1 - self.hard_weight) * kd, "ce": ce, "kd": kd}
