"""Knowledge distillation by softened responses (Hinton, Vinyals, Dean 2015, arXiv 1503.02531).

`L = w CE(z_S, y) + (1 - w) T^2 KL(softmax(z_T / T) || softmax(z_S / T))`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import LabkitError
from ..models import Classifier
from .base import register
from .distillation import Distillation


@register
class Hinton(Distillation):
    """Learn from the labels and from the teacher's softened probabilities on the same augmented image.

    Args:
        temperature: T > 0.
        hard_weight: w in [0, 1], the weight of the labels; 0 needs no labels at all.
        terms: `ce_weight` and `kd_weight` take the place of w and 1 - w.

    Raises:
        LabkitError: an option is outside its range.
    """

    name = "hinton"
    needs_teacher = True
    needs = ("logits",)

    @classmethod
    def check_values(cls, options: Mapping[str, Any]) -> None:
        check_hard_weight(options["temperature"], options["hard_weight"])

    def __init__(
        self,
        student: Classifier,
        teacher: Classifier,
        temperature: float = 4.0,
        hard_weight: float = 0.5,
        **terms: Any,
    ) -> None:
        check_hard_weight(temperature, hard_weight)
        weights = {"ce_weight": hard_weight, "kd_weight": 1 - hard_weight, **terms}
        super().__init__(student, teacher, temperature=temperature, **weights)
        self.options = {"temperature": temperature, "hard_weight": hard_weight, **terms}


def check_hard_weight(temperature: float, hard_weight: float) -> None:
    """Raise LabkitError unless T > 0 and w is in [0, 1]."""
    if not temperature > 0 or not 0 <= hard_weight <= 1:
        raise LabkitError(
            f"temperature must be greater than 0 and hard_weight in [0, 1],"
            f" but they are {temperature} and {hard_weight}."
        )
