"""VL2Lite (Jang et al., CVPR 2025): a small classifier beside a vision-language model, in one stage.

`L = lambda CE + (1 - lambda) (L_img + L_txt) / 2`, `lambda = clip(slope e + offset, 0, 1)`

    L_img = mean | h / ||h|| - a_img(v) |             both sides learn
    L_txt = T^2 / 2 KL( softmax(s v t^T / T) || softmax(s cos(h, a_txt(t)) / T) )

h is the student's embedding, v and t the model's image and text embeddings, a_img and a_txt two condensation
layers `Linear -> ReLU -> Linear`, of unit length at the end. The formulas are those of the authors' code
(Myleswork/VL2Lite), whose lambda ends at 1/8: slope=8 is the other reading of "one eighth of training".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Batch
from ..errors import LabkitError
from ..losses import vl2lite_linguistic, vl2lite_visual
from ..losses._inputs import full, unit
from ..losses.language import CLIP_SCALE
from ..models import Classifier, Output, VisionLanguage
from .base import register
from .vlm_teacher import AsksVLM, Balance, spread


@register
class VL2Lite(AsksVLM):
    """Align the student with the model's images and class texts while it learns the labels.

    The target of L_img is trained, too, and part of that loss is minimised by moving it: the history's
    'spread' shows whether a_img collapses. At lambda = 0, the start, the student's head learns nothing.

    Args:
        student, teacher: see `AsksVLM`, whose prompts, anchors, classes and logit_scale (1 / 0.07) it takes.
        temperature: T > 0 of L_txt.
        slope, offset, e, epochs: of lambda, see `Balance`; slope=0 makes it the constant `offset`.
        visual, linguistic: weights of the two halves, >= 0; 0 leaves one out.

    Raises:
        LabkitError: an option is outside its range, or what `AsksVLM` raises.
    """

    name = "vl2lite"
    needs_teacher = True
    needs = ("embedding",)
    published_scale = CLIP_SCALE

    @classmethod
    def check_values(cls, options: Mapping[str, Any]) -> None:
        super().check_values(options)
        _check(options["temperature"], options["visual"], options["linguistic"])
        Balance(options["slope"], options["offset"], options["e"], options["epochs"] or 1)

    def __init__(
        self,
        student: Classifier,
        teacher: VisionLanguage | None = None,
        *,
        temperature: float = 2.0,
        slope: float = 1 / 8,
        offset: float = 0.0,
        e: str = "progress",
        epochs: int | None = None,
        visual: float = 1.0,
        linguistic: float = 1.0,
        **anchors: Any,
    ) -> None:
        _check(temperature, visual, linguistic)
        balance = Balance(slope, offset, e, epochs)
        super().__init__(student, teacher, **anchors)
        self.temperature, self.balance = temperature, balance
        self.visual, self.linguistic = visual, linguistic
        self.options = {"temperature": temperature, "slope": slope, "offset": offset, "e": e}
        self.options |= {"visual": visual, "linguistic": linguistic}
        widths = self.teacher.embed_dim, student.embedding_dim
        self.image_layer = condensation(*widths) if visual else None
        self.text_layer = condensation(*widths) if linguistic else None

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return self.aligned(batch, progress)[0]

    def aligned(self, batch: Batch, progress: float) -> tuple[dict[str, Tensor], Output, Output]:
        """The losses, and what student and teacher said."""
        student, teacher = self.student(batch.image), self.ask_teacher(batch)
        share = self.balance(progress)
        ce, h, v = F.cross_entropy(student.logits, batch.label), student.embedding, teacher.embedding
        terms, both = {"ce": ce, "lambda": full(ce).new_full((), share)}, 0.0
        if self.image_layer is not None:
            condensed = unit(full(self.image_layer(v)))
            terms["visual"] = vl2lite_visual(unit(full(h)), condensed)
            terms["spread"] = spread(condensed)
            both = both + self.visual * terms["visual"]
        if self.text_layer is not None:
            terms["linguistic"] = self.text_loss(h, v)
            both = both + self.linguistic * terms["linguistic"]
        return {"total": share * ce + (1 - share) * both / 2, **terms}, student, teacher

    def text_loss(self, h: Tensor, v: Tensor) -> Tensor:
        """L_txt of the student's embeddings (B, D) and the model's (B, E)."""
        t = self.teacher.anchors
        return vl2lite_linguistic(h, self.text_layer(t), v, t, self.temperature, self.teacher.scale)


def _check(temperature: float, visual: float, linguistic: float) -> None:
    if not temperature > 0:
        raise LabkitError(f"temperature must be greater than 0, but it is {temperature}.")
    if min(visual, linguistic) < 0:
        raise LabkitError(
            f"The weights visual and linguistic must be at least 0, but are {visual} and {linguistic}."
        )


def condensation(wide: int, narrow: int) -> nn.Sequential:
    """VL2Lite's layer from the vision-language model's width to the student's."""
    return nn.Sequential(nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, narrow))
