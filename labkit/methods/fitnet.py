"""FitNets: hints from the middle of the teacher (Romero et al. 2015, arXiv 1412.6550).

`L_hint = sum over layers of mean (r(F_S) - F_T)^2`, r a learned connector on the student's side. The paper
trains in two phases: the student up to the hint layer with the hint alone, then the whole student by
distillation. The later benchmarks train once, all terms together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Batch
from ..engine import Stage
from ..errors import LabkitError
from ..losses import hint_mse
from ..losses._inputs import pooled_alike
from ..models import Classifier, Output
from .base import register
from .connectors import check_layers, connector
from .distillation import Distillation


@register
class FitNet(Distillation):
    """Regress the teacher's maps: jointly with the labels, or in the paper's two phases.

    Args:
        layers: which of the four maps are hints, 0 shallow to 3 deep.
        pool: both maps are averaged to at most this side before they are compared; None takes them as they
            are, 1 asks *what* is in the image and no longer *where*.
        phases: 1 trains all terms together; 2 first trains the student up to the deepest hint layer, with the
            hints alone, then the whole student without hints.
        hint_share: of the training that the first of two phases takes, in (0, 1); the total stays the same.
        terms: `kd_weight` is 1 in two phases unless given (the paper's second phase distils), else 0.

    Raises:
        LabkitError: an option is outside its range.
    """

    name = "fitnet"
    needs_teacher = True
    published_weight = 100.0

    def __init__(
        self,
        student: Classifier,
        teacher: Classifier,
        layers: Sequence[int] = (1,),
        phases: int = 1,
        hint_share: float = 0.5,
        pool: int | None = None,
        **terms: Any,
    ) -> None:
        if phases not in (1, 2) or not 0 < hint_share < 1:
            raise LabkitError(
                "phases must be 1 (joint) or 2 (hints first) and hint_share in (0, 1), but they are"
                f" {phases} and {hint_share}."
            )
        if pool is not None and pool < 1:
            raise LabkitError(f"pool is the side of the maps that are compared, at least 1, not {pool}.")
        self.layers, self.phases, self.hint_share = check_layers(layers), phases, hint_share
        self.pool = pool
        self.needs = tuple(f"maps.{i}" for i in self.layers)
        terms = {"kd_weight": float(phases == 2), **terms}
        options = {"layers": list(self.layers), "phases": phases, "hint_share": hint_share, "pool": pool}
        super().__init__(student, teacher, **options, **terms)
        self.connectors = nn.ModuleDict(
            {str(i): connector(student.map_channels[i], teacher.map_channels[i]) for i in self.layers}
        )

    def match(self, student: Output, teacher: Output) -> Tensor:
        pairs = ((self.connectors[str(i)](student.maps[i]), teacher.maps[i]) for i in self.layers)
        return torch.stack([hint_mse(*self._at_one_size(*pair)) for pair in pairs]).sum()

    def _at_one_size(self, student_map: Tensor, teacher_map: Tensor) -> tuple[Tensor, ...]:
        alike = pooled_alike(student_map, teacher_map)
        if self.pool is None or max(alike[0].shape[2:]) <= self.pool:
            return alike
        return tuple(F.adaptive_avg_pool2d(x, self.pool) for x in alike)

    def stages(self) -> list[Stage]:
        if self.phases == 1:
            return super().stages()
        lower = nn.ModuleList([*parts_up_to(self.student, max(self.layers)), self.connectors])
        share = self.hint_share
        return [
            # The classifier can't be measured yet, so that the last weights are the phase's result.
            Stage("hints", lower, losses=self._hints, length=share, keep="last"),
            Stage(self.name, self.student, losses=self._responses, length=1 - share),
        ]

    def _hints(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        hint = self.match(self.student(batch.image), self.ask_teacher(batch))
        return {"total": hint, self.name: hint}

    def _responses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return self.weighted(batch, progress, 0.0)


def parts_up_to(student: Classifier, layer: int) -> list[nn.Module]:
    """The modules of `student` on whose parameters the map `layer` depends, and that hold no others.

    Found by a backward pass, so that it holds for any architecture. A parameter that belongs to a module with
    other, later ones inside (a ViT's position embedding) comes alone, in a ParameterList.
    """
    modes = {module: module.training for module in student.modules()}
    side = student.image_size or 64
    parameters = [p for p in student.parameters() if p.requires_grad]
    try:
        x = torch.zeros(
            1, student.mean.shape[1], side, side, device=student.mean.device, dtype=student.mean.dtype
        )
        total = student.eval()(x).maps[layer].sum()
        found = torch.autograd.grad(total, parameters, allow_unused=True)
    finally:
        for module, mode in modes.items():
            module.training = mode
    reached = {p for p, gradient in zip(parameters, found, strict=True) if gradient is not None}
    parts: list[nn.Module] = []
    for module in student.modules():
        own = [p for p in module.parameters(recurse=False) if p in reached]
        if own and all(p in reached for p in module.parameters()):
            parts.append(module)
        elif own:
            parts.append(nn.ParameterList(own))
    return parts
