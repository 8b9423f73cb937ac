"""Checks of lab 10: the zero-shot head and the ensemble of templates; the others are beside it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property
from .lab10_bug import BUG
from .lab10_prompts import ASSEMBLE, ENCODE
from .lab10_training import STEP

# --- zero-shot logits -----------------------------------------------------------------------------------


def _sized(*shape: int) -> Tensor:
    """Vectors of clearly different lengths."""
    return torch.randn(*shape) * (0.5 + 3 * torch.rand(*shape[:-1], 1))


def _draw_zero_shot(seed: int) -> tuple[Tensor, Tensor, float]:
    return _sized(5, 8), _sized(4, 8), 3.5


def zero_shot_logits(image_features: Tensor, text_features: Tensor, scale: float) -> Tensor:
    """Scaled cosines (B, C) of image features (B, E) and text features (C, E)."""
    v = F.normalize(image_features, dim=-1)
    w = F.normalize(text_features, dim=-1)
    return scale * v @ w.T


def _ignores_lengths(answer: Any, seed: int) -> bool:
    v, w, scale = _draw_zero_shot(seed)
    return torch.allclose(answer(v, w, scale), answer(7 * v, 0.2 * w, scale), rtol=1e-4, atol=1e-5)


def _is_the_scale_for_itself(answer: Any, seed: int) -> bool:
    v = _sized(4, 6)
    return torch.allclose(answer(v, 2 * v, 9.0).diagonal(), torch.full((4,), 9.0), rtol=1e-4)


ZERO_SHOT = Check(
    id="10-zero-shot",
    title="logits from image and text features",
    points=2,
    minutes=6,
    difficulty=1,
    draw=_draw_zero_shot,
    reference=zero_shot_logits,
    differentiable=(0, 1),
    misconceptions=(
        Misconception(
            "no normalisation",
            lambda v, w, s: s * v @ w.T,
            "A long text vector then wins for every image. Formula (1) compares directions: divide every"
            " vector by its length.",
        ),
        Misconception(
            "only the images normalised",
            lambda v, w, s: s * F.normalize(v, dim=-1) @ w.T,
            "The classes' vectors have different lengths too: normalise both sides.",
        ),
        Misconception(
            "only the texts normalised",
            lambda v, w, s: s * v @ F.normalize(w, dim=-1).T,
            "The order of the classes is right, but an image with a long vector looks surer than it is:"
            " normalise both sides.",
        ),
        Misconception(
            "no logit scale",
            lambda v, w, s: F.normalize(v, dim=-1) @ F.normalize(w, dim=-1).T,
            "These are cosines, between -1 and 1: after a softmax they are almost uniform. Multiply by the"
            " scale.",
        ),
        Misconception(
            "divided by the scale",
            lambda v, w, s: F.normalize(v, dim=-1) @ F.normalize(w, dim=-1).T / s,
            "The scale is one over a temperature: it multiplies.",
        ),
        Misconception(
            "the scale exponentiated again",
            lambda v, w, s: torch.tensor(s).exp() * F.normalize(v, dim=-1) @ F.normalize(w, dim=-1).T,
            "The model stores a logarithm, but what you are given here has been through exp() already.",
        ),
        Misconception(
            "probabilities instead of logits",
            lambda v, w, s: zero_shot_logits(v, w, s).softmax(1),
            "Leave the softmax to whoever needs probabilities: a loss, for one, wants logits.",
        ),
        Misconception(
            "softmax over the batch",
            lambda v, w, s: zero_shot_logits(v, w, s).softmax(0),
            "Your columns sum to one: that asks which image fits a class. And formula (1) has no softmax.",
        ),
        Misconception(
            "normalised over the batch",
            lambda v, w, s: s * F.normalize(v, dim=0) @ F.normalize(w, dim=0).T,
            "Each row is one vector. Its length is a norm along the last axis, dim=-1.",
        ),
        Misconception(
            "divided by the norm of the whole matrix",
            lambda v, w, s: s * (v / v.norm()) @ (w / w.norm()).T,
            "You divided by one number, the norm of the whole matrix. Each row has its own length: dim=-1,"
            " keepdim=True.",
        ),
        Misconception(
            "classes times images",
            lambda v, w, s: zero_shot_logits(v, w, s).T,
            "One row per image, please: (B, C). Swap the two factors of the product.",
        ),
    ),
    properties=(
        Property(
            "lengths of vectors don't matter",
            _ignores_lengths,
            "Multiply all inputs by 7: a cosine stays what it is.",
        ),
        Property(
            "a vector and its own direction give the scale",
            _is_the_scale_for_itself,
            "The cosine of a vector with itself is 1, so its logit is the scale.",
        ),
    ),
    hints=(
        "What is compared are directions, and the result is stretched by one number.",
        "Formula (1): `F.normalize(x, dim=-1)` for both, one matrix product, times the scale.",
        "With v = (3, 4) and w = (0, 2): directions (0.6, 0.8) and (0, 1), cosine 0.8, at scale 10 a logit"
        " of 8.",
    ),
)

# --- prompt ensembling ----------------------------------------------------------------------------------


def _draw_ensemble(seed: int) -> tuple[Tensor, Tensor, float]:
    return _sized(5, 8), _sized(3, 4, 8), 3.5


def ensemble_logits(image_features: Tensor, text_features: Tensor, scale: float) -> Tensor:
    """Logits (B, C) of image features (B, E) with the mean direction of text features (R, C, E)."""
    w = F.normalize(text_features, dim=-1).mean(0)
    return zero_shot_logits(image_features, w, scale)


def _probabilities(v: Tensor, texts: Tensor, scale: float) -> Tensor:
    return torch.stack([zero_shot_logits(v, w, scale).softmax(1) for w in texts]).mean(0)


def _mean_logits(v: Tensor, texts: Tensor, scale: float) -> Tensor:
    return torch.stack([zero_shot_logits(v, w, scale) for w in texts]).mean(0)


def _same_in_any_order(answer: Any, seed: int) -> bool:
    v, texts, scale = _draw_ensemble(seed)
    return torch.allclose(answer(v, texts, scale), answer(v, texts.flip(0), scale), rtol=1e-4, atol=1e-5)


def _one_is_no_ensemble(answer: Any, seed: int) -> bool:
    v, texts, scale = _draw_ensemble(seed)
    single = zero_shot_logits(v, texts[0], scale)
    return torch.allclose(answer(v, texts[:1], scale), single, rtol=1e-4, atol=1e-5)


ENSEMBLE = Check(
    id="10-ensemble",
    title="logits from several templates per class",
    points=3,
    minutes=8,
    difficulty=2,
    draw=_draw_ensemble,
    reference=ensemble_logits,
    differentiable=(0, 1),
    misconceptions=(
        Misconception(
            "averaged before normalising",
            lambda v, texts, s: zero_shot_logits(v, texts.mean(0), s),
            "A template whose vectors are long then outvotes the others. First make every text a direction,"
            " then average.",
        ),
        Misconception(
            "not normalised after the mean",
            _mean_logits,
            "The mean of unit vectors is shorter than 1, and more so for classes whose templates disagree:"
            " those lose for no fault of their own. Normalise again. (Averaging the logits does the same.)",
        ),
        Misconception(
            "never normalised",
            lambda v, texts, s: s * F.normalize(v, dim=-1) @ texts.mean(0).T,
            "Both normalisations of the texts are missing: before the mean and after it.",
        ),
        Misconception(
            "probabilities averaged",
            _probabilities,
            "That is another method: one classifier per template and a vote. Formula (2) averages the"
            " embeddings, which leaves one head of the size of a single template's.",
        ),
        Misconception(
            "logarithms of averaged probabilities",
            lambda v, texts, s: _probabilities(v, texts, s).log(),
            "That is a vote of R classifiers, in logarithms. Formula (2) averages the embeddings.",
        ),
        Misconception(
            "normalised over the classes",
            lambda v, texts, s: zero_shot_logits(v, F.normalize(texts, dim=1).mean(0), s),
            "`F.normalize` works along dim=1 unless told otherwise, and here that is the axis of the classes."
            " Say dim=-1.",
        ),
        Misconception(
            "averaged over the classes",
            lambda v, texts, s: zero_shot_logits(v, F.normalize(texts, dim=-1).mean(1), s),
            "The result has one column per template. The mean runs over the templates, the first axis.",
        ),
        Misconception(
            "the ensemble without its scale",
            lambda v, texts, s: ensemble_logits(v, texts, 1.0),
            "These are cosines. Multiply by the scale, as in formula (1).",
        ),
        Misconception(
            "the first template only",
            lambda v, texts, s: zero_shot_logits(v, texts[0], s),
            "These are the logits of the first template alone.",
        ),
        Misconception(
            "the best template for each image",
            lambda v, texts, s: torch.stack([zero_shot_logits(v, w, s) for w in texts]).amax(0),
            "A maximum over templates favours classes with an odd one out. Formula (2) takes the mean.",
        ),
        Misconception(
            "the images not normalised",
            lambda v, texts, s: s * v @ F.normalize(F.normalize(texts, dim=-1).mean(0), dim=-1).T,
            "The texts are right. The image features need to be unit vectors as well: your first function"
            " does that.",
        ),
    ),
    properties=(
        Property("the order of the templates doesn't matter", _same_in_any_order, "A mean has no order."),
        Property(
            "one template alone gives its own logits",
            _one_is_no_ensemble,
            "With M = 1 the result must be that of `zero_shot_logits`.",
        ),
    ),
    hints=(
        "Three steps: make directions, average over templates, and go on as before.",
        "Formula (2): `F.normalize(text_features, dim=-1)`, `.mean(0)`, then `zero_shot_logits`, which"
        " normalises again.",
        "Directions (1, 0) and (0, 1) of one class: mean (0.5, 0.5) of length 0.71, normalised (0.71, 0.71)."
        " With an image along (1, 0) the cosine is 0.71, not 0.5.",
    ),
)

CHECKS = [ZERO_SHOT, ENSEMBLE, ASSEMBLE, ENCODE, STEP, BUG]
