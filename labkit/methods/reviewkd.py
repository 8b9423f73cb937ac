"""Knowledge review (Chen et al. 2021, arXiv 2104.09044): deep student layers help to explain shallow ones.

From the deepest level, the pooled vector as a 1x1 map, to the shallowest, a student map is fused with what
came from deeper (`connectors.Fusion`) and compared with the teacher's map of its level by the hierarchical
context loss. The authors' targets are maps before their last ReLU; ours are the maps as the networks give
them, after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import LabkitError
from ..losses import hcl
from ..models import Classifier, Output
from .base import register
from .connectors import Fusion, check_layers
from .distillation import Distillation


@register
class ReviewKD(Distillation):
    """`CE + weight min(progress / warmup, 1) HCL` over the levels.

    Args:
        layers: which of the four maps beside the pooled vector, shallow to deep.
        warmup: share of the training over which the weight rises; the authors take 20 of 240 epochs.

    Raises:
        LabkitError: an option is outside its range.
    """

    name = "reviewkd"
    needs_teacher = True
    published_weight = 5.0

    def __init__(
        self,
        student: Classifier,
        teacher: Classifier,
        layers: Sequence[int] = (0, 1, 2, 3),
        warmup: float = 1 / 12,
        **terms: Any,
    ) -> None:
        if not 0 <= warmup <= 1:
            raise LabkitError(f"warmup is a share of the training in [0, 1], but it is {warmup}.")
        self.layers, self.warmup = tuple(sorted(check_layers(layers))), warmup
        self.needs = (*(f"maps.{i}" for i in self.layers), "embedding")
        super().__init__(student, teacher, layers=list(self.layers), warmup=warmup, **terms)
        ours, theirs = (
            [*(net.map_channels[i] for i in self.layers), net.embedding_dim] for net in (student, teacher)
        )
        width = min(512, ours[-1])
        self.fusions = nn.ModuleList(
            Fusion(s, width, t, deepest=i + 1 == len(ours))
            for i, (s, t) in enumerate(zip(ours, theirs, strict=True))
        )

    def match(self, student: Output, teacher: Output) -> Tensor:
        return hcl(self.review(student), self._levels(teacher))

    def review(self, student: Output) -> list[Tensor]:
        """The student's fused maps at the teacher's widths, shallow to deep."""
        deeper, outs = None, []
        for fusion, level in zip(reversed(self.fusions), reversed(self._levels(student)), strict=True):
            out, deeper = fusion(level, deeper)
            outs.append(out)
        return outs[::-1]

    def _levels(self, net: Output) -> list[Tensor]:
        return [*(net.maps[i] for i in self.layers), net.embedding[..., None, None]]

    def ramp(self, progress: float) -> float:
        return min(progress / self.warmup, 1.0) if self.warmup else 1.0
