"""Relational knowledge distillation (Park et al. 2019, arXiv 1904.05068).

`L = CE + weight (25 L_D + 50 L_A)`: what is taught is how the samples of a batch lie to each other in the
space of embeddings, distances between pairs (L_D) and angles in triplets (L_A), so that the two networks'
widths need not agree and no connector stands between them. 25 and 50 are the paper's for classification.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..errors import LabkitError
from ..losses import rkd_angle, rkd_distance
from ..models import Classifier, Output
from .base import register
from .distillation import Distillation


@register
class RKD(Distillation):
    """Match distances and angles between the embeddings of a batch, as they are, not normalised.

    Memory grows with B^2 D and B^3; a batch needs two samples, and means something from three on. Of several
    processes each compares the images that it has.

    Args:
        distance_weight: of L_D, >= 0.
        angle_weight: of L_A, >= 0.

    Raises:
        LabkitError: a weight is negative, both are 0, or the teacher is no classifier.
    """

    name = "rkd"
    needs_teacher = True
    needs = ("embedding",)
    published_weight = 1.0

    def __init__(
        self,
        student: Classifier,
        teacher: nn.Module,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        **terms: Any,
    ) -> None:
        if min(distance_weight, angle_weight) < 0 or not distance_weight + angle_weight > 0:
            raise LabkitError(
                "distance_weight and angle_weight must be at least 0, and one of them more, but they are"
                f" {distance_weight} and {angle_weight}."
            )
        if callable(getattr(teacher, "encode_image", None)):
            raise LabkitError(
                f"The method '{self.name}' learns from a classifier, not from a {type(teacher).__name__}:"
                " 'rkd_clip' learns from a vision-language model."
            )
        own = {"distance_weight": distance_weight, "angle_weight": angle_weight}
        super().__init__(student, teacher, **own, **terms)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def match(self, student: Output, teacher: Output) -> Tensor:
        total = student.embedding.new_zeros(())
        if self.distance_weight:
            total = total + self.distance_weight * rkd_distance(student.embedding, teacher.embedding)
        if self.angle_weight:
            total = total + self.angle_weight * rkd_angle(student.embedding, teacher.embedding)
        return total
