"""Feature distillation in its simplest form: match what the last layer reads.

`L = CE + weight mean (W e_S + b - e_T)^2`, e the pooled embedding before the classifier; W, b belong to the
method. FitNets (arXiv 1412.6550) with the hint at the very end, where a map has become a vector.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..losses._inputs import full
from ..models import Classifier, Output
from .base import register
from .distillation import Distillation


@register
class PreFC(Distillation):
    """Regress the teacher's embedding (B, D_T) from the student's (B, D_S) through a linear connector."""

    name = "pre_fc"
    needs_teacher = True
    needs = ("embedding",)
    published_weight = 1.0

    def __init__(self, student: Classifier, teacher: Classifier, **terms: Any) -> None:
        super().__init__(student, teacher, **terms)
        self.connector = nn.Linear(student.embedding_dim, teacher.embedding_dim)

    def match(self, student: Output, teacher: Output) -> Tensor:
        return F.mse_loss(full(self.connector(student.embedding)), full(teacher.embedding.detach()))
