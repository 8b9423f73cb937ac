"""Losses that take a vision-language model as teacher.

DAIT, arXiv 2603.15166: alignment of an intermediate teacher with the model's images and texts (stage 1), and
of the student's map with the intermediate's (stage 2). Its layers and scales follow the reading stated in
each function. VL2Lite, Jang et al., CVPR 2025: the same two alignments for the student directly, as in the
authors' code.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ._inputs import full, pooled_alike, positive, product, same_rows, same_shape, unit
from .response import hinton_kd

CLIP_SCALE = 1 / 0.07  # CLIP's logit scale at the start of its training, which VL2Lite and PAND keep


def semantic_image_alignment(
    student_emb: Tensor,
    vlm_emb: Tensor,
    text_emb: Tensor,
    temperature: float = 2.0,
    logit_scale: float = CLIP_SCALE,
    vlm_text_emb: Tensor | None = None,
) -> Tensor:
    """SIA: T^2 KL(target || prediction) between distributions over the class texts.

    Target: softmax(s cos(vlm_emb, vlm_text_emb) / T), from the raw space of the vision-language model where
    `vlm_text_emb` is given, else with `text_emb`; it receives no gradient. Prediction: softmax(s
    cos(student_emb, text_emb) / T); both of its arguments receive gradient. All inputs are normalised here.
    The article prints the form without a scale (`logit_scale=1`), whose target is nearly uniform.

    Args:
        student_emb: (B, D).
        vlm_emb: (B, E); E = D without `vlm_text_emb`.
        text_emb: (C, D), one text per class.
        temperature: T > 0.
        logit_scale: s > 0, already exponentiated.
        vlm_text_emb: (C, E).

    Raises:
        ValueError: shapes disagree, or temperature or logit_scale <= 0.
    """
    positive(logit_scale, "logit_scale")
    raw_text = text_emb if vlm_text_emb is None else vlm_text_emb
    same_rows(student_emb, vlm_emb, "student_emb and vlm_emb")
    same_rows(text_emb, raw_text, "text_emb and vlm_text_emb")
    prediction = logit_scale * cosines(student_emb, text_emb, "student_emb and text_emb")
    target = logit_scale * cosines(vlm_emb.detach(), raw_text.detach(), "vlm_emb and the texts of its target")
    return hinton_kd(prediction, target, temperature)


def cosines(first: Tensor, second: Tensor, names: str) -> Tensor:
    """(B, D), (C, D) -> (B, C) cosines in full precision.

    Raises:
        ValueError: not two-dimensional, or the widths differ.
    """
    same_width(first, second, names)
    return product(unit(full(first)), unit(full(second)).T)


def same_width(first: Tensor, second: Tensor, names: str) -> None:
    """Raise ValueError, naming both shapes, unless they are (B, D) and (C, D)."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{names} must be (B, D) and (C, D) of one width, but they are {tuple(first.shape)}"
            f" and {tuple(second.shape)}."
        )


def image_representation_alignment(student_emb: Tensor, vlm_emb: Tensor) -> Tensor:
    """IRA: mean absolute difference of the embeddings; normalises nothing.

    Args:
        student_emb: (B, D).
        vlm_emb: (B, D), of the vision-language model, condensed to D; receives no gradient.

    Raises:
        ValueError: shapes differ or are not (B, D).
    """
    same_shape(student_emb, vlm_emb, "student_emb and vlm_emb", 2)
    return F.l1_loss(full(student_emb), full(vlm_emb.detach()))


def spatial_representation_alignment(
    student_map: Tensor, teacher_map: Tensor, channels: str = "mean"
) -> Tensor:
    """SRA: squared difference of two feature maps, averaged over batch and positions.

    The larger map is average-pooled to the smaller. The article sums over channels; averaged, the loss
    doesn't grow with the teacher's width.

    Args:
        student_map: (B, C, H, W), after the adapter.
        teacher_map: (B, C, H', W'); receives no gradient.
        channels: 'mean' or 'sum'.

    Raises:
        ValueError: batches or channel counts differ, not (B, C, H, W), or another value of `channels`.
    """
    if channels not in ("mean", "sum"):
        raise ValueError(f"channels must be 'mean' or 'sum', but it is {channels!r}.")
    if student_map.ndim != 4 or teacher_map.ndim != 4 or student_map.shape[:2] != teacher_map.shape[:2]:
        raise ValueError(
            f"student_map and teacher_map must be (B, C, H, W) with one B and one C, but they are"
            f" {tuple(student_map.shape)} and {tuple(teacher_map.shape)}: adapt the channels first."
        )
    s, t = pooled_alike(full(student_map), full(teacher_map.detach()))
    squares = (s - t).square()
    return squares.mean() if channels == "mean" else squares.sum(1).mean()


def vl2lite_visual(student_emb: Tensor, condensed_image: Tensor) -> Tensor:
    """VL2Lite's visual loss: mean absolute difference; normalises nothing, and both arguments receive
    gradient.

    Args:
        student_emb: (B, D), which the method normalises.
        condensed_image: (B, D), the vision-language model's image embedding after the condensation layer.

    Raises:
        ValueError: shapes differ or are not (B, D).
    """
    same_shape(student_emb, condensed_image, "student_emb and condensed_image", 2)
    return F.l1_loss(full(student_emb), full(condensed_image))


def vl2lite_linguistic(
    student_emb: Tensor,
    condensed_text: Tensor,
    vlm_image: Tensor,
    vlm_text: Tensor,
    temperature: float = 2.0,
    logit_scale: float = CLIP_SCALE,
) -> Tensor:
    """VL2Lite's linguistic loss: T^2 / 2 times the batch mean of KL(target || prediction) over the class
    texts.

    The target comes from the raw space of the vision-language model, the prediction from the student's
    embedding and the condensed texts; all inputs are normalised here.

    Args:
        student_emb: (B, D).
        condensed_text: (C, D); receives gradient.
        vlm_image: (B, E); no gradient.
        vlm_text: (C, E); no gradient.
        temperature: T > 0.
        logit_scale: > 0, already exponentiated.

    Raises:
        ValueError: shapes disagree, or temperature or logit_scale <= 0.
    """
    same_rows(student_emb, vlm_image, "student_emb and vlm_image")
    same_rows(condensed_text, vlm_text, "condensed_text and vlm_text")
    same_width(student_emb, condensed_text, "student_emb and condensed_text")
    same_width(vlm_image, vlm_text, "vlm_image and vlm_text")
    both = temperature, logit_scale
    return semantic_image_alignment(student_emb, vlm_image, condensed_text, *both, vlm_text) / 2
