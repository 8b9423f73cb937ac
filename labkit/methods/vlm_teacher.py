"""A vision-language model as teacher: its image embeddings, one text anchor per class, and who asks for them.

What every method with such a teacher shares. The model is frozen and knows no labels: an image is a unit
vector v, a class a unit vector t_c, and `s cos(v, t_c)` are its logits.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import Batch
from ..errors import LabkitError, unknown
from ..losses._inputs import full, product, unit
from ..models import Classifier, Output, VisionLanguage
from .base import _METHODS, Method, available
from .calibration import Calibration, read_calibration

OWN = "own"  # of logit_scale: the one that the model has learned
STORED = ("vlm.features", "features", "teacher.features")  # where a bank over the model puts v

Prompts = Sequence[str] | Sequence[Sequence[str]]
Anchors = Tensor | Calibration | str | os.PathLike[str]


class ZeroShot(nn.Module):
    """A vision-language model and its class anchors, with the output of a classifier.

    Args:
        vlm: frozen; its `encode_image` gives unit vectors (B, E).
        anchors: (C, E) unit vectors, or None where no classes are asked about.
        logit_scale: s > 0.
        config: what it was made of, in plain types, for the record of a run.
    """

    anchors: Tensor | None

    def __init__(
        self, vlm: nn.Module, anchors: Tensor | None, logit_scale: float, config: dict[str, Any]
    ) -> None:
        super().__init__()
        self.vlm, self.scale, self.config = vlm, logit_scale, config
        self.register_buffer("anchors", anchors)
        self.eval()

    @property
    def embed_dim(self) -> int:
        """Width E of images and texts."""
        return self.vlm.embed_dim

    def forward(self, images: Tensor) -> Output:
        """The model's answer to images (B, 3, H, W) in [0, 1]."""
        return self.read(self.vlm.encode_image(images))

    def read(self, v: Tensor) -> Output:
        """The answer where the images are encoded already, unit vectors (B, E): `logits` and `embedding`."""
        if self.anchors is None:
            return Output(None, v, (None,) * 4, None)
        v = v.to(self.anchors.dtype)
        return Output(self.scale * product(v, self.anchors.T), v, (None,) * 4, None)


class AsksVLM(Method):
    """A method whose teacher is a vision-language model; `self.teacher` becomes a `ZeroShot` of it.

    Where a bank over the model has stored its embeddings (`fit(..., bank={"vlm": FeatureBank(vlm, ...)})`),
    the model does not run.

    Args:
        student: see `Method`.
        teacher: a `models.VisionLanguage`, or a module with its interface.
        prompts: one text per class in the order of the classes, or one such list per template, whose
            embeddings are averaged; encoded here, once.
        anchors: in place of prompts, (C, E), or a `Calibration` or the file of one.
        classes: the C class names, which a file of anchors must have been made for.
        logit_scale: s > 0; 'own' for the model's learned one; None takes the method's.

    Raises:
        LabkitError: the teacher is another kind of network, the anchors are missing, of another number of
            classes, of another width or for other classes, or the scale is not above 0.
    """

    anchored: ClassVar[bool] = True
    published_scale: ClassVar[float | str] = OWN

    @classmethod
    def check_values(cls, options: Mapping[str, Any]) -> None:
        if options["logit_scale"] not in (None, OWN):
            _positive(options["logit_scale"])
        super().check_values(options)

    def __init__(
        self,
        student: Classifier,
        teacher: VisionLanguage | None = None,
        *,
        prompts: Prompts | None = None,
        anchors: Anchors | None = None,
        classes: Sequence[str] | None = None,
        logit_scale: float | str | None = None,
        **options: Any,
    ) -> None:
        if teacher is not None:
            check_vlm(teacher, self.name)
            scale = self.published_scale if logit_scale is None else logit_scale
            texts, source = class_anchors(teacher, prompts, anchors, classes)
            if texts is None and (self.anchored or options.get("kd_weight", 0) > 0):
                raise LabkitError(
                    f"The method '{self.name}' compares images with one text per class: pass prompts=[...],"
                    " such as data.prompts(template), or anchors=..."
                )
            count = getattr(student, "num_classes", None)
            if texts is not None and count is not None and len(texts) != count:
                raise LabkitError(
                    f"There are {len(texts)} class anchors, but the student has {count} classes: give one"
                    " prompt or anchor per class, in the order of the classes."
                )
            config = {"vlm": getattr(teacher, "name", type(teacher).__name__), "logit_scale": scale, **source}
            teacher = ZeroShot(teacher, texts, _scale(teacher, scale), config)
        super().__init__(student, teacher, **options)

    def ask_teacher(self, batch: Batch) -> Output:
        """`logits` (B, C) and `embedding` (B, E) of the batch's images, stored or computed, no gradient."""
        found = [batch.stored[name] for name in STORED if name in batch.stored]
        if not found:
            return super().ask_teacher(batch)
        if found[0].ndim != 2 or found[0].shape[1] != self.teacher.embed_dim:
            raise LabkitError(
                f"The bank's features are {tuple(found[0].shape)}, but the teacher's embeddings are"
                f" {self.teacher.embed_dim} wide: build the bank over this vision-language model."
            )
        return self.teacher.read(found[0])


def asks_vlm(name: str) -> bool:
    """Whether the method of this name takes a vision-language model as teacher, and not a classifier.

    Raises:
        LabkitError: there is no such method.
    """
    if name not in available():
        raise unknown("method", name, available())
    return issubclass(_METHODS[name], AsksVLM)


def check_vlm(teacher: object, method: str) -> None:
    """Raise LabkitError unless `teacher` encodes images and texts into one space."""
    able = all(callable(getattr(teacher, name, None)) for name in ("encode_image", "encode_text"))
    if not isinstance(teacher, nn.Module) or not able:
        raise LabkitError(
            f"The method '{method}' learns from a vision-language model, not from a {type(teacher).__name__}:"
            " pass teacher=labkit.models.load_vlm(...)."
        )


def class_anchors(
    vlm: VisionLanguage,
    prompts: Prompts | None = None,
    anchors: Anchors | None = None,
    classes: Sequence[str] | None = None,
) -> tuple[Tensor | None, dict[str, Any]]:
    """One unit vector per class, and where they come from in plain types.

    Returns:
        (C, E) on the model's device, or None where neither is given; and `{"prompts": ...}` or
        `{"anchors": a hash}`.

    Raises:
        LabkitError: both are given, the shape is not (C, E), a number is not finite, or a file is for other
            classes.
    """
    if prompts is not None and anchors is not None:
        raise LabkitError("Give prompts=... or anchors=..., one of the two.")
    if prompts is not None:
        return vlm.zero_shot(prompts).detach().clone(), {"prompts": list(prompts)}
    if anchors is None:
        return None, {}
    if isinstance(anchors, str | os.PathLike):
        if classes is None:
            raise LabkitError(
                f"{anchors} names the classes that it was made for: pass classes=data.classes, so that they"
                " can be compared."
            )
        anchors = read_calibration(anchors)
    if isinstance(anchors, Calibration):
        if classes is not None:
            anchors.check_classes(classes)
        theirs, own = anchors.settings.get("vlm"), getattr(vlm, "name", None)
        if None not in (theirs, own) and theirs != own:
            raise LabkitError(
                f"The anchors were made with the vision-language model '{theirs}', not with '{own}':"
                " calibrate them with the model that teaches."
            )
        anchors = anchors.text
    if not isinstance(anchors, Tensor) or anchors.ndim != 2 or anchors.shape[1] != vlm.embed_dim:
        shape = tuple(anchors.shape) if isinstance(anchors, Tensor) else type(anchors).__name__
        raise LabkitError(
            f"The class anchors must be (C, {vlm.embed_dim}), as wide as the model's embeddings, but they are"
            f" {shape}: take those of the same vision-language model."
        )
    if not anchors.isfinite().all():
        raise LabkitError("A class anchor is not finite: make the anchors again.")
    own = anchors.detach().float().cpu().contiguous()
    digest = hashlib.sha256(own.numpy().tobytes()).hexdigest()[:12]
    device = next((t.device for t in (*vlm.parameters(), *vlm.buffers())), torch.device("cpu"))
    return F.normalize(own, dim=1).to(device), {"anchors": digest}


def _scale(vlm: VisionLanguage, scale: float | str) -> float:
    return float(vlm.logit_scale) if scale == OWN else _positive(scale)


def _positive(scale: float | str) -> float:
    if isinstance(scale, str) or not scale > 0:
        raise LabkitError(f"logit_scale must be greater than 0, or 'own', but it is {scale!r}.")
    return float(scale)


@dataclass(frozen=True)
class Balance:
    """How the labels' share of a loss grows: `lambda = clip(k e + b, 0, 1)`.

    Args:
        k: slope; 0 makes lambda the constant b.
        b: where it starts.
        e: 'progress' for the share of the stage that is done, in [0, 1): k and b then have natural ranges;
            'epoch' for the bare number of the epoch, as in public code whose lambda is 1 from the second or
            third epoch on, so that nothing is distilled for the rest.
        epochs: how many epochs the stage has, which only 'epoch' needs.

    Raises:
        LabkitError: an unknown e, or 'epoch' without epochs.
    """

    k: float
    b: float
    e: str = "progress"
    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.e not in ("progress", "epoch"):
            raise unknown("meaning of e", self.e, ("progress", "epoch"))
        if self.e == "epoch" and not (isinstance(self.epochs, int) and self.epochs > 0):
            raise LabkitError("e='epoch' needs epochs=..., the number of epochs of the stage.")

    def __call__(self, progress: float) -> float:
        """lambda at this point of the stage, in [0, 1]."""
        e = progress if self.e == "progress" else math.floor(progress * self.epochs + 1e-6)
        return min(1.0, max(0.0, self.k * e + self.b))


@torch.no_grad()
def spread(x: Tensor) -> Tensor:
    """Variance of the directions of (B, D), in [0, 1): near 0 they have collapsed into one."""
    return 1 - unit(full(x)).mean(0).square().sum()
