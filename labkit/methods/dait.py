"""DAIT: an intermediate teacher, trained between a vision-language model and a student (arXiv 2603.15166).

    stage 1  L = lambda CE + (1 - lambda) / 2 (SIA + IRA)    the intermediate, on augmented views
    stage 2  L = lambda CE + (1 - lambda) SRA                the student, on the images as they are (DAIT-F)
             L = lambda CE + (1 - lambda) T^2 KL             the same on logits (DAIT-L)
    lambda = clip(k e + b, 0, 1), e in [0, 1) the share of the stage that is done

    SIA = T^2 KL( softmax(s v t^T / T) || softmax(s cos(u, g_txt(t)) / T) )
    IRA = mean | u - g_img(v) |, of unit vectors            no gradient to g_img

v, t are the model's image and text embeddings, u a linear projection of the intermediate's pooled embedding.
Losses, roles and numbers are the article's; e, the layers, the scale s = 1 / 0.07 and the stop-gradients are
reconstructed, so that no term has a trivial solution: the target of SIA is the model's raw space, and g_img,
which IRA could otherwise satisfy by a constant, is held by a term of its own,
`T^2 KL(softmax(s v t^T / T) || softmax(s cos(g_img(v), sg[g_txt(t)]) / T))`, that trains nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Batch
from ..engine import Stage
from ..errors import LabkitError, unknown
from ..losses import (
    hinton_kd,
    image_representation_alignment,
    semantic_image_alignment,
    spatial_representation_alignment,
)
from ..losses._inputs import full, unit
from ..losses.language import CLIP_SCALE
from ..models import Classifier, Output, VisionLanguage, build
from .base import register
from .connectors import connector
from .dait_parts import Condensation, final_channels
from .vlm_teacher import AsksVLM, Balance, spread


@register
class DAIT(AsksVLM):
    """Adapt the intermediate with the model's help (stage "adapt"), then distil it (stage "transfer").

    `losses` are those of the last stage; `deployed()` is the student, or with only=1 the intermediate.

    Args:
        student: see `Method`.
        teacher: see `AsksVLM`, whose prompts, anchors (PAND's, too), classes and logit_scale it takes. Not
            needed, and not kept, where no stage asks it.
        intermediate: a pretrained classifier of the same classes, or the name of one to build with its
            pretrained weights and a new head; stronger than the student, or the detour costs.
        transfer: 'feature' (DAIT-F: the last maps, through a 1x1 convolution and BatchNorm of the method) or
            'logit' (DAIT-L).
        only: 1 or 2 for one stage alone; None for both. With 2 the intermediate is taken as it is, and a bank
            of it, {"intermediate": FeatureBank(intermediate, ...)}, spares its forward pass.
        k, b, e, epochs: of lambda in both stages, see `Balance`; k=0 makes it the constant b. With e='epoch'
            the stages have equal lengths.
        sia_weight, ira_weight: of the two terms, >= 0, 0 leaves one out; without both stage 1 is plain
            cross-entropy, the control. IRA on unit vectors is small: sqrt(width) would bring it to about 1.
        width: D of u and of the condensed embeddings.
        condensation: 'learned' for g_img as above; 'orthogonal' for a fixed random matrix; or a fixed matrix
            (D, E), such as `principal_axes` of the features: these can't collapse.
        temperature: T > 0 of SIA and of DAIT-L.
        channels: 'mean' or 'sum' over the channels in SRA; the article sums.
        transfer_views: what stage 2 shows, 'original' or 'augment': with few images per class the former is
            soon known by heart.
        lengths: share of `fit`'s epochs or steps that each stage takes.

    Raises:
        LabkitError: an option is outside its range, the classes differ, or what `AsksVLM` raises.
    """

    name = "dait"
    needs_teacher = True
    needs = ("embedding",)
    published_scale = CLIP_SCALE

    @classmethod
    def check_values(cls, options: Mapping[str, Any]) -> None:
        super().check_values(options)
        _check(options, options["lengths"])
        Balance(options["k"], options["b"], options["e"], options["epochs"] or 1)

    def __init__(
        self,
        student: Classifier,
        teacher: VisionLanguage | None = None,
        *,
        intermediate: Classifier | str | None = None,
        transfer: str = "feature",
        only: int | None = None,
        k: float = 0.5,
        b: float = 0.0,
        e: str = "progress",
        epochs: int | None = None,
        sia_weight: float = 1.0,
        ira_weight: float = 1.0,
        width: int = 512,
        condensation: str | Tensor = "learned",
        temperature: float = 2.0,
        channels: str = "mean",
        transfer_views: Literal["original", "augment"] = "original",
        lengths: tuple[float, float] = (1.0, 1.0),
        **anchors: Any,
    ) -> None:
        settings = {"transfer": transfer, "only": only, "k": k, "b": b, "e": e, "epochs": epochs}
        settings |= {"sia_weight": sia_weight, "ira_weight": ira_weight, "width": width}
        settings |= {"temperature": temperature, "channels": channels, "transfer_views": transfer_views}
        _check(settings, lengths)
        balance, intermediate = Balance(k, b, e, epochs), _intermediate(intermediate, student)
        self.needs_teacher = only != 2 and sia_weight + ira_weight > 0
        super().__init__(student, teacher if self.needs_teacher else None, **anchors)
        for name in ("transfer", "only", "sia_weight", "ira_weight", "temperature", "channels"):
            setattr(self, name, settings[name])
        self.balance, self.transfer_views, self.lengths = balance, transfer_views, tuple(lengths)
        kind = "given" if isinstance(condensation, Tensor) else condensation
        made = {"intermediate": getattr(intermediate, "config", None), "condensation": kind}
        self.options = settings | made | {"lengths": list(lengths)}
        self.intermediate = intermediate
        if only != 2 and not any(p.requires_grad for p in intermediate.parameters()):
            raise LabkitError(
                "The intermediate is frozen, so stage 1 can't adapt it: call"
                " intermediate.requires_grad_(True), or pass only=2 to distil it as it is."
            )
        self._between(width, condensation)

    def _between(self, width: int, kind: str | Tensor) -> None:
        """What stands between the networks, for the stages that are run."""
        self.condensation, self.projection, self.adapter = None, None, None
        if self.needs_teacher:
            self.condensation = Condensation(self.teacher.embed_dim, width, kind, self.ira_weight > 0)
            self.projection = nn.Linear(self.intermediate.embedding_dim, self.condensation.width)
        if self.only == 2:
            self.frozen = (*self.frozen, "intermediate")
            self.intermediate.requires_grad_(False).eval()
        if self.only != 1 and self.transfer == "feature":
            self.adapter = connector(final_channels(self.student), final_channels(self.intermediate))

    def train(self, mode: bool = True) -> DAIT:
        """The last stage's modes: in the second the intermediate is a teacher. `fit` sets the first one's."""
        super().train(mode)
        self.intermediate.train(mode and self.only == 1)
        return self

    def stages(self) -> list[Stage]:
        parts = {"intermediate": self.intermediate}
        if self.condensation is not None:
            parts |= {"projection": self.projection, "condensation": self.condensation}
        learner = nn.ModuleList([self.student, *([self.adapter] if self.adapter is not None else [])])
        first, second = self.lengths
        both = {
            1: Stage("adapt", nn.ModuleDict(parts), losses=self.adapt, model=self.intermediate, length=first),
            2: Stage("transfer", learner, views=self.transfer_views, losses=self.losses, length=second),
        }
        return [stage for number, stage in both.items() if self.only in (None, number)]

    def deployed(self) -> Classifier:
        return self.intermediate if self.only == 1 else self.student

    # Stage 1 ---------------------------------------------------------------------------------------------

    def adapt(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The losses that train the intermediate, its projection and the condensation layers."""
        out = self.intermediate(batch.image)
        ce = F.cross_entropy(out.logits, batch.label)
        if self.condensation is None:
            return {"total": ce, "ce": ce}
        v, t = self.ask_teacher(batch).embedding, self.teacher.anchors
        u, texts = self.projection(out.embedding), self.condensation.text(t)
        share = self.balance(progress)
        terms, both, anchor = {"ce": ce, "lambda": full(ce).new_full((), share)}, 0.0, 0.0
        if self.sia_weight:
            terms["sia"] = self._by_texts(u, texts, v)
            both = both + self.sia_weight * terms["sia"]
        if self.ira_weight:
            condensed = self.condensation.image(v)
            terms["ira"] = image_representation_alignment(unit(full(u)), unit(full(condensed)))
            both = both + self.ira_weight * terms["ira"]
            terms["spread"] = spread(condensed)
            if self.condensation.learned:
                anchor = terms["anchor"] = self._by_texts(condensed, texts.detach(), v)
        return {"total": share * ce + (1 - share) / 2 * both + anchor, **terms}

    def _by_texts(self, embedding: Tensor, texts: Tensor, v: Tensor) -> Tensor:
        """SIA of `embedding` (B, D) against condensed texts (C, D); the target is the model's own space."""
        scale, t = self.teacher.scale, self.teacher.anchors
        return semantic_image_alignment(embedding, v, texts, self.temperature, scale, vlm_text_emb=t)

    # Stage 2 ---------------------------------------------------------------------------------------------

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        if self.only == 1:
            return self.adapt(batch, progress)
        student, guide = self.student(batch.image), self.ask_intermediate(batch)
        ce, share = F.cross_entropy(student.logits, batch.label), self.balance(progress)
        if self.transfer == "logit":
            name, own = "kd", hinton_kd(student.logits, guide.logits, self.temperature)
        else:
            adapted = self.adapter(student.final_map)
            name, own = "sra", spatial_representation_alignment(adapted, guide.final_map, self.channels)
        total = share * ce + (1 - share) * own
        return {"total": total, "ce": ce, name: own, "lambda": full(ce).new_full((), share)}

    def ask_intermediate(self, batch: Batch) -> Output:
        """The intermediate's output without gradient, or what stage 2 needs of it from a bank."""
        need = "logits" if self.transfer == "logit" else "final_map"
        stored = batch.stored.get(f"intermediate.{need}")
        if stored is not None and self.only == 2:  # else stage 1 has changed the network since
            return Output(None, None, (None,) * 4, None)._replace(**{need: stored})
        with torch.no_grad():
            return self.intermediate(batch.image)


def _intermediate(net: Classifier | str | None, student: Classifier) -> Classifier:
    """The intermediate teacher, built where it is a name."""
    if isinstance(net, str):
        settings = {"in_chans": student.mean.shape[1], "image_size": student.image_size}
        return build(net, student.num_classes, weights="pretrained", **settings)
    if not isinstance(net, nn.Module) or net is student:
        raise LabkitError(
            "The method 'dait' needs an intermediate teacher beside its student: pass intermediate=..., a"
            " pretrained classifier or the name of one."
        )
    if net.num_classes != student.num_classes:
        raise LabkitError(
            f"Student and intermediate must share their classes, but have {student.num_classes} and"
            f" {net.num_classes}: call intermediate.reset_head({student.num_classes})."
        )
    return net


def _check(settings: Mapping[str, Any], lengths: tuple[float, float]) -> None:
    for name, known in (
        ("transfer", ("feature", "logit")),
        ("channels", ("mean", "sum")),
        ("transfer_views", ("original", "augment")),
    ):
        if settings[name] not in known:
            raise unknown(f"value of {name}", settings[name], known)
    if settings["only"] not in (None, 1, 2):
        raise LabkitError(f"only must be 1, 2 or None for both stages, but it is {settings['only']!r}.")
    sia, ira, t, width = (settings[k] for k in ("sia_weight", "ira_weight", "temperature", "width"))
    if min(sia, ira) < 0 or not t > 0 or width < 1:
        raise LabkitError(
            "sia_weight and ira_weight must be at least 0, temperature greater than 0 and width at least 1,"
            f" but they are {sia}, {ira}, {t} and {width}."
        )
    if len(lengths) != 2 or min(lengths) <= 0:
        raise LabkitError(f"lengths are two shares greater than 0, not {lengths}.")
    if settings["e"] == "epoch" and settings["only"] is None and lengths[0] != lengths[1]:
        raise LabkitError(
            "e='epoch' counts the epochs of both stages by one number: give equal lengths, or run them apart."
        )
