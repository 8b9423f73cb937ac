"""Teacher assistants (Mirzadeh et al. 2020, arXiv 1902.03393): a chain down to a far smaller student.

Each link is plain distillation, `w CE + (1 - w) T^2 KL`, as in `hinton`; what was a student in one link is
the frozen teacher of the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Batch
from ..engine import Stage
from ..errors import LabkitError
from ..models import Classifier, build
from .base import register
from .distillation import Distillation
from .hinton import check_hard_weight


@register
class TAKD(Distillation):
    """Distil the teacher into an assistant of a size between, then the assistant into the student.

    Args:
        assistant: a network, the name of one to build from scratch, or several of these, large to small.
        temperature: T > 0 of every link.
        hard_weight: w in [0, 1] of every link.
        terms: `ce_weight` and `kd_weight` take the place of w and 1 - w.

    Raises:
        LabkitError: an option is outside its range, or a name is unknown.
    """

    name = "takd"
    needs_teacher = True
    needs = ("logits",)

    @classmethod
    def check_values(cls, options: Mapping[str, Any]) -> None:
        check_hard_weight(options["temperature"], options["hard_weight"])
        chain = options["assistant"]
        nets = chain if isinstance(chain, Sequence) and not isinstance(chain, str) else [chain]
        if not all(isinstance(net, str | nn.Module) for net in nets):
            raise LabkitError(f"assistant is a network, the name of one, or several of these, not {chain!r}.")

    def __init__(
        self,
        student: Classifier,
        teacher: Classifier,
        assistant: Classifier | str | Sequence[Classifier | str] = "small",
        temperature: float = 4.0,
        hard_weight: float = 0.5,
        **terms: Any,
    ) -> None:
        check_hard_weight(temperature, hard_weight)
        weights = {"ce_weight": hard_weight, "kd_weight": 1 - hard_weight, **terms}
        chain = [assistant] if isinstance(assistant, str | nn.Module) else list(assistant)
        nets = [_built(net, student) if isinstance(net, str) else net for net in chain]
        names = [getattr(net, "name", type(net).__name__) for net in nets]
        super().__init__(student, teacher, temperature=temperature, **weights)
        own = {"assistant": names, "temperature": temperature, "hard_weight": hard_weight}
        self.options = own | terms
        self.assistants = nn.ModuleList(nets)

    def train(self, mode: bool = True) -> TAKD:
        """The last link's modes, in which the assistants are teachers; `fit` sets those of the others."""
        super().train(mode)
        self.assistants.eval()
        return self

    def stages(self) -> list[Stage]:
        learners = [*self.assistants, self.student]
        guides = [None, *self.assistants]
        names = [f"assistant {i + 1}" for i in range(len(self.assistants))] + ["student"]
        return [
            Stage(name, learner, losses=partial(self._link, learner, guide), model=learner)
            for name, learner, guide in zip(names, learners, guides, strict=True)
        ]

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The last link's, which trains the student."""
        return self._link(
            self.student, self.assistants[-1] if len(self.assistants) else None, batch, progress
        )

    def _link(
        self, learner: Classifier, guide: Classifier | None, batch: Batch, progress: float
    ) -> dict[str, Tensor]:
        """A batch of the link from `guide` to `learner`; None is the teacher, whose outputs may be stored."""
        logits = learner(batch.image).logits
        if guide is None:
            soft = self.ask_teacher(batch).logits
        else:
            with torch.no_grad():
                soft = guide(batch.image).logits
        return self.taught(logits, batch.label, soft)


def _built(name: str, student: Classifier) -> Classifier:
    """An assistant from scratch, for the student's classes and channels."""
    return build(name, student.num_classes, in_chans=student.mean.shape[1], image_size=student.image_size)
