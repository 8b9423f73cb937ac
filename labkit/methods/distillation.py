"""What most methods share: the labels, the teacher's responses and a term of their own, each with its weight.

`L = ce_weight CE(z_S, y) + kd_weight T^2 KL(softmax(z_T / T) || softmax(z_S / T)) + weight L_own`
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from ..data import Batch
from ..errors import LabkitError
from ..losses import hinton_kd
from ..models import Classifier, Output
from .base import Method


class Distillation(Method):
    """Three weighted terms; a subclass with a term of its own writes `match` and names what it `needs`.

    Args:
        student, teacher: see `Method`. The teacher is dropped where nothing asks it.
        ce_weight: of the labels, >= 0.
        kd_weight: of the softened responses, >= 0.
        temperature: T > 0 of the responses.
        weight: of the method's own term, >= 0; None takes `published_weight`.

    Raises:
        LabkitError: a weight is negative, all are 0, or temperature is not above 0.
    """

    published_weight: ClassVar[float] = 0.0

    def __init__(
        self,
        student: Classifier,
        teacher: Classifier | None = None,
        *,
        ce_weight: float = 1.0,
        kd_weight: float = 0.0,
        temperature: float = 4.0,
        weight: float | None = None,
        **options: Any,
    ) -> None:
        weight = self.published_weight if weight is None else weight
        terms = {"ce_weight": ce_weight, "kd_weight": kd_weight, "weight": weight}
        if min(terms.values()) < 0 or not any(terms.values()):
            raise LabkitError(
                "The weights of a method must be at least 0, and one of them more, but they are"
                f" ce_weight={ce_weight}, kd_weight={kd_weight} and weight={weight}."
            )
        if weight and type(self).match is Distillation.match:
            raise LabkitError(f"The method '{self.name}' has no term of its own: leave weight out.")
        if not temperature > 0:
            raise LabkitError(f"temperature must be greater than 0, but it is {temperature}.")
        if kd_weight and teacher is None and not self.needs_teacher:
            raise LabkitError(
                f"The method '{self.name}' with kd_weight={kd_weight} needs a trained teacher:"
                " pass teacher=..."
            )
        asked = self.needs_teacher or kd_weight > 0
        usual = {"ce_weight": 1.0, "kd_weight": 0.0, "weight": self.published_weight, "temperature": 4.0}
        given = {k: v for k, v in {**terms, "temperature": temperature}.items() if v != usual[k]}
        super().__init__(student, teacher if asked else None, **given, **options)
        self.ce_weight, self.kd_weight, self.weight = ce_weight, kd_weight, weight
        self.temperature = temperature
        if kd_weight and "logits" not in self.needs:
            self.needs = (*self.needs, "logits")

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return self.weighted(batch, progress, self.weight)

    def weighted(self, batch: Batch, progress: float, weight: float) -> dict[str, Tensor]:
        """The losses of a batch with another weight of the method's own term; 0 leaves it out."""
        student = self.student(batch.image)
        teacher = self.ask_teacher(batch) if self.teacher is not None else None
        terms = self.taught(student.logits, batch.label, teacher.logits if "logits" in self.needs else None)
        if weight:
            terms[self.name] = self.match(student, teacher)
            terms["total"] = terms["total"] + weight * self.ramp(progress) * terms[self.name]
        return terms

    def taught(self, logits: Tensor, label: Tensor, soft: Tensor | None) -> dict[str, Tensor]:
        """What the labels (B,) and, unless None, a teacher's logits (B, N) ask of logits (B, N)."""
        ce = self.label_loss(logits, label)
        terms = {"total": self.ce_weight * ce, "ce": ce}
        if soft is not None:
            terms["kd"] = hinton_kd(logits, soft, self.temperature)
            terms["total"] = terms["total"] + self.kd_weight * terms["kd"]
        return terms

    def label_loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """What the labels (B,) ask of the student's logits (B, N): cross-entropy."""
        return F.cross_entropy(logits, label)

    def match(self, student: Output, teacher: Output) -> Tensor:
        """The method's own term, a scalar."""
        raise NotImplementedError

    def ramp(self, progress: float) -> float:
        """The share of `weight` that counts at this point of the stage; all of it unless overridden."""
        return 1.0
