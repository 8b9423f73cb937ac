"""Attention transfer (Zagoruyko, Komodakis 2017, arXiv 1612.03928): look where the teacher looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..losses import attention_transfer
from ..models import Classifier, Output
from .base import register
from .connectors import check_layers
from .distillation import Distillation


@register
class Attention(Distillation):
    """Match normalised attention maps at several depths; no connector, since channels are averaged away.

    Args:
        layers: which of the four maps, 0 shallow to 3 deep.
        p: power of the absolute activations, > 0.
    """

    name = "attention"
    needs_teacher = True
    published_weight = 1000.0

    def __init__(
        self,
        student: Classifier,
        teacher: Classifier,
        layers: Sequence[int] = (1, 2, 3),
        p: float = 2,
        **terms: Any,
    ) -> None:
        self.layers, self.p = check_layers(layers), p
        self.needs = tuple(f"maps.{i}" for i in self.layers)
        super().__init__(student, teacher, layers=list(self.layers), p=p, **terms)

    def match(self, student: Output, teacher: Output) -> Tensor:
        pairs = ([net.maps[i] for i in self.layers] for net in (student, teacher))
        return attention_transfer(*pairs, p=self.p)
