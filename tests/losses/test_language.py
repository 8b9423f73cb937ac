"""Losses with a vision-language teacher against slow references, their gradients, and bad input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from labkit.losses import (
    hinton_kd,
    image_representation_alignment,
    semantic_image_alignment,
    spatial_representation_alignment,
    vl2lite_linguistic,
    vl2lite_visual,
)

B, C, D, E, S, T = 4, 3, 5, 6, 7.0, 1.7


def rows(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


STUDENT, VLM, TEXT, RAW_TEXT = rows(0, B, D), rows(1, B, E), rows(2, C, D), rows(3, C, E)


def slow_probabilities(images: Tensor, texts: Tensor) -> list[list[float]]:
    out = []
    for image in images.tolist():
        cosines = [
            sum(a * b for a, b in zip(image, text, strict=True)) / (math.hypot(*image) * math.hypot(*text))
            for text in texts.tolist()
        ]
        powers = [math.exp(S * c / T) for c in cosines]
        out.append([p / sum(powers) for p in powers])
    return out


def slow_sia(student: Tensor, vlm: Tensor, text: Tensor, raw_text: Tensor) -> float:
    p, q = slow_probabilities(student, text), slow_probabilities(vlm, raw_text)
    pairs = [(a, b) for r, s in zip(p, q, strict=True) for a, b in zip(r, s, strict=True)]
    return T**2 * sum(b * math.log(b / a) for a, b in pairs) / len(p)


def test_sia_with_a_raw_target_equals_the_formula():
    value = semantic_image_alignment(STUDENT, VLM, TEXT, T, S, RAW_TEXT)
    assert value.item() == pytest.approx(slow_sia(STUDENT, VLM, TEXT, RAW_TEXT), rel=1e-10)


def test_sia_in_one_space_uses_the_same_texts_on_both_sides():
    vlm = rows(4, B, D)
    expected = slow_sia(STUDENT, vlm, TEXT, TEXT)
    assert semantic_image_alignment(STUDENT, vlm, TEXT, T, S).item() == pytest.approx(expected, rel=1e-10)


def test_sia_defaults_are_the_stated_ones():
    given = semantic_image_alignment(STUDENT, VLM, TEXT, 2.0, 1 / 0.07, RAW_TEXT)
    assert torch.equal(semantic_image_alignment(STUDENT, VLM, TEXT, vlm_text_emb=RAW_TEXT), given)


def test_sia_gradients_flow_to_the_prediction_alone():
    student, vlm, text, raw = (x.clone().requires_grad_() for x in (STUDENT, VLM, TEXT, RAW_TEXT))
    semantic_image_alignment(student, vlm, text, T, S, raw).backward()
    assert student.grad.abs().sum() > 0
    assert text.grad.abs().sum() > 0
    assert vlm.grad is None
    assert raw.grad is None
    assert gradcheck(lambda s, t: semantic_image_alignment(s, vlm, t, T, S, raw), (student, text))


def test_sia_without_raw_texts_takes_its_target_as_fixed():
    """The gradient is that with a copy of the texts as target."""
    text = TEXT.clone().requires_grad_()
    vlm = rows(4, B, D)
    semantic_image_alignment(STUDENT, vlm, text, T, S).backward()
    again = TEXT.clone().requires_grad_()
    semantic_image_alignment(STUDENT, vlm, again, T, S, TEXT).backward()
    assert torch.allclose(text.grad, again.grad, rtol=1e-12)


def test_sia_is_zero_for_the_teacher_itself_and_blind_to_lengths():
    assert semantic_image_alignment(VLM, VLM, RAW_TEXT, T, S).item() == pytest.approx(0, abs=1e-12)
    longer = semantic_image_alignment(2 * STUDENT, 3 * VLM, 4 * TEXT, T, S, 5 * RAW_TEXT)
    assert torch.allclose(longer, semantic_image_alignment(STUDENT, VLM, TEXT, T, S, RAW_TEXT), rtol=1e-10)


def test_vl2lite_linguistic_is_half_of_t_squared_kl():
    unit = [torch.nn.functional.normalize(x, dim=1) for x in (STUDENT, TEXT, VLM, RAW_TEXT)]
    expected = hinton_kd(S * unit[0] @ unit[1].T, S * unit[2] @ unit[3].T, T) / 2
    value = vl2lite_linguistic(STUDENT, TEXT, VLM, RAW_TEXT, T, S)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert vl2lite_linguistic(VLM, RAW_TEXT, VLM, RAW_TEXT).item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="student_emb and condensed_text must be"):
        vl2lite_linguistic(STUDENT[:, 1:], TEXT, VLM, RAW_TEXT)
    with pytest.raises(ValueError, match="vlm_image and vlm_text must be"):
        vl2lite_linguistic(STUDENT, TEXT, VLM[:, 1:], RAW_TEXT)


def test_absolute_differences_and_who_gets_their_gradient():
    other = rows(5, B, D)
    expected = sum(
        abs(a - b) for a, b in zip(STUDENT.flatten().tolist(), other.flatten().tolist(), strict=True)
    )
    for loss, moves in ((image_representation_alignment, False), (vl2lite_visual, True)):
        s, t = STUDENT.clone().requires_grad_(), other.clone().requires_grad_()
        value = loss(s, t)
        value.backward()
        assert value.item() == pytest.approx(expected / (B * D), rel=1e-12)
        assert s.grad.abs().sum() > 0
        assert (t.grad is not None) == moves


def test_sra_reductions_and_pooling():
    s, t = rows(0, 2, 3, 4, 4), rows(1, 2, 3, 4, 4)
    squares = sum((a - b) ** 2 for a, b in zip(s.flatten().tolist(), t.flatten().tolist(), strict=True))
    assert spatial_representation_alignment(s, t).item() == pytest.approx(squares / s.numel(), rel=1e-12)
    summed = spatial_representation_alignment(s, t, channels="sum").item()
    assert summed == pytest.approx(squares / (2 * 16), rel=1e-12)
    large = rows(2, 2, 3, 8, 8)
    pooled = large.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    assert torch.allclose(
        spatial_representation_alignment(s, large), spatial_representation_alignment(s, pooled), rtol=1e-12
    )
    target = t.clone().requires_grad_()
    assert gradcheck(lambda x: spatial_representation_alignment(x, target), (s.requires_grad_(),))
    spatial_representation_alignment(s, target).backward()
    assert target.grad is None


def test_zero_vectors_and_half_precision_stay_finite():
    for dtype in (torch.float16, torch.float32):
        s = torch.zeros(2, D, dtype=dtype, requires_grad=True)
        value = semantic_image_alignment(s, torch.ones(2, D, dtype=dtype), torch.ones(C, D, dtype=dtype))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(s.grad).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"\(4, 5\) and \(3, 6\)"):
        semantic_image_alignment(STUDENT, VLM, RAW_TEXT)
    with pytest.raises(ValueError, match=r"\(4, 6\) and \(3, 5\)"):
        semantic_image_alignment(STUDENT, VLM, TEXT)
    with pytest.raises(ValueError, match="vlm_text_emb"):
        semantic_image_alignment(STUDENT, VLM, TEXT, vlm_text_emb=RAW_TEXT[:2])
    with pytest.raises(ValueError, match="logit_scale must be greater than 0"):
        vl2lite_linguistic(STUDENT, TEXT, VLM, RAW_TEXT, logit_scale=0)
    with pytest.raises(ValueError, match="adapt the channels"):
        spatial_representation_alignment(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        spatial_representation_alignment(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), channels="max")
