"""Checks of lab 12: CLIP's zero-shot logits as a teacher; the others are beside it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...losses import hinton_kd
from ..checks import Check, Misconception, Property
from .lab12_bug import BUG
from .lab12_layer import CONDENSE
from .lab12_spread import SPREAD
from .lab12_step import STEP
from .lab12_text import LINGUISTIC
from .lab12_visual import VISUAL

# --- KD(CLIP) -------------------------------------------------------------------------------------------

SCALE, TEMPERATURE, HARD = 7.5, 2.5, 0.3


def sized(*shape: int) -> Tensor:
    """Vectors of clearly different lengths."""
    return torch.randn(*shape) * (0.5 + 2 * torch.rand(*shape[:-1], 1))


def _draw_kd(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, float, float, float]:
    logits, images, texts = 2 * torch.randn(5, 4), sized(5, 8), sized(4, 8)
    return logits, images, texts, torch.randint(4, (5,)), SCALE, TEMPERATURE, HARD


def kd_clip(
    student_logits: Tensor, image_features: Tensor, text_features: Tensor, labels: Tensor, scale: float,
    temperature: float, hard_weight: float,
) -> Tensor:  # fmt: skip
    """Labels and softened zero-shot logits, weighted; a scalar.

    Args:
        student_logits: (B, C).
        image_features: (B, E), text_features: (C, E), neither normalised.
        labels: (B,).
        scale: s > 0.
        temperature: T > 0.
        hard_weight: w in [0, 1].
    """
    cosines = F.normalize(image_features, dim=-1) @ F.normalize(text_features, dim=-1).T
    soft = hinton_kd(student_logits, scale * cosines, temperature)
    return hard_weight * F.cross_entropy(student_logits, labels) + (1 - hard_weight) * soft


def _variant(
    z: Tensor, v: Tensor, t: Tensor, y: Tensor, s: float, temperature: float, w: float, *,
    power: int = 1, unit_v: bool = True, unit_t: bool = True, own: bool = False, softened: bool = False,
    probabilities: bool = False, swap: bool = False, squared: bool = False, weights: Any = None,
    softened_labels: bool = False, hard_target: bool = False, no_square: bool = False, axis: int = -1,
    soft_by: Any = None,
) -> Tensor:  # fmt: skip
    """The loss with each of its parts switchable, for the wrong answers."""
    v = F.normalize(v, dim=axis) if unit_v else v
    t = F.normalize(t, dim=axis) if unit_t else t
    teacher, student = s**power * v @ t.T, z * (s if own else 1.0)
    teacher = teacher / temperature if softened else teacher
    teacher = teacher.softmax(1) if probabilities else teacher
    first, second = (teacher, student) if swap else (student, teacher)
    soft = hinton_kd(first, second, temperature) * (temperature**2 if squared else 1.0)
    soft = soft / temperature**2 if no_square else soft
    soft = F.cross_entropy(student, teacher.argmax(1)) if hard_target else soft
    soft = soft if soft_by is None else soft_by(student, teacher, temperature)
    hard = F.cross_entropy(student / (temperature if softened_labels else 1.0), y)
    first_weight, second_weight = weights or (w, 1 - w)
    return first_weight * hard + second_weight * soft


def _switched(**switches: Any) -> Any:
    return lambda *inputs: _variant(*inputs, **switches)


def _cross_entropy(z: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return temperature**2 * F.cross_entropy(z / temperature, (teacher / temperature).softmax(1))


def _lengths_dont_matter(answer: Any, seed: int) -> bool:
    z, v, t, *rest = _draw_kd(seed)
    return torch.allclose(answer(z, v, t, *rest), answer(z, 5 * v, 0.2 * t, *rest), rtol=1e-4)


def _agreement_leaves_the_labels(answer: Any, seed: int) -> bool:
    _, v, t, y, s, temperature, w = _draw_kd(seed)
    z = s * F.normalize(v, dim=-1) @ F.normalize(t, dim=-1).T
    return torch.allclose(answer(z, v, t, y, s, temperature, w), w * F.cross_entropy(z, y), rtol=1e-4)


KD_CLIP = Check(
    id="12-kd-clip",
    title="distillation from CLIP's zero-shot logits",
    points=3,
    minutes=8,
    difficulty=2,
    draw=_draw_kd,
    reference=kd_clip,
    differentiable=(0,),
    misconceptions=(
        Misconception(
            "no logit scale",
            _switched(power=0),
            "These targets are softened cosines, all within [-1, 1]: nearly the same probability for every"
            " class. Zero-shot logits are s times the cosine.",
        ),
        Misconception(
            "divided by the scale",
            _switched(power=-1),
            "The scale is one over a temperature: it multiplies the cosines. Dividing flattens them.",
        ),
        Misconception(
            "nothing normalised",
            _switched(unit_v=False, unit_t=False),
            "A product of vectors is a cosine only if both have length 1: F.normalize(x, dim=-1).",
        ),
        Misconception(
            "only the images normalised",
            _switched(unit_t=False),
            "The texts' vectors have different lengths too, and the longest would win: normalise both.",
        ),
        Misconception(
            "only the texts normalised",
            _switched(unit_v=False),
            "An image with a long vector would be a surer teacher: normalise both sides.",
        ),
        Misconception(
            "normalised over the batch",
            _switched(axis=0),
            "Each row is one vector, and its length is a norm along the last axis: dim=-1.",
        ),
        Misconception(
            "the scale exponentiated again",
            lambda z, v, t, y, s, T, w: _variant(z, v, t, y, float(torch.tensor(s).exp()), T, w),
            "Models store the logarithm of s; what you are given here has been through exp() already.",
        ),
        Misconception(
            "the mean over the classes, too",
            _switched(soft_by=lambda z, t, T: hinton_kd(z, t, T) / z.shape[1]),
            "KL is a sum over the classes, averaged over the batch: reduction='batchmean', not 'mean'.",
        ),
        Misconception(
            "cross-entropy with the soft target",
            _switched(soft_by=_cross_entropy),
            "That trains the same, for it differs from KL by the target's entropy, a constant. Formula (1)"
            " has KL, which is zero where both agree.",
        ),
        Misconception(
            "logits matched by squares",
            _switched(soft_by=lambda z, t, T: F.mse_loss(z, t)),
            "The soft term compares two softened distributions, by KL, and not the logits themselves.",
        ),
        Misconception(
            "the teacher softened twice",
            _switched(softened=True),
            "hinton_kd divides both by T. You have divided the teacher's logits by T before, so they are"
            " softened twice.",
        ),
        Misconception(
            "probabilities in place of logits",
            _switched(probabilities=True),
            "hinton_kd takes logits, and applies the softmax itself.",
        ),
        Misconception(
            "the scale on the student, too",
            _switched(own=True),
            "The student's logits are as large as its head makes them: the scale belongs to the cosines.",
        ),
        Misconception(
            "student and teacher swapped",
            _switched(swap=True),
            "hinton_kd takes the student's logits first, then the teacher's.",
        ),
        Misconception(
            "a second T²",
            _switched(squared=True),
            "hinton_kd already contains T².",
        ),
        Misconception(
            "no T²",
            _switched(no_square=True),
            "The soft term lacks its T², without which its gradient shrinks as T grows: hinton_kd contains"
            " it.",
        ),
        Misconception(
            "the weights swapped",
            _switched(weights=(1 - HARD, HARD)),
            "hard_weight belongs to the labels and 1 - hard_weight to CLIP.",
        ),
        Misconception(
            "both terms with weight one",
            _switched(weights=(1.0, 1.0)),
            "The two terms share one unit of weight: w and 1 - w.",
        ),
        Misconception(
            "the labels left out",
            _switched(weights=(0.0, 1 - HARD)),
            "The cross-entropy with the labels is missing.",
        ),
        Misconception(
            "CLIP left out",
            _switched(weights=(HARD, 0.0)),
            "Only the labels are left: the softened zero-shot logits are missing.",
        ),
        Misconception(
            "the labels softened as well",
            _switched(softened_labels=True),
            "T belongs to the soft term alone: the cross-entropy reads the student's logits as they are.",
        ),
        Misconception(
            "CLIP's best class as a label",
            _switched(hard_target=True),
            "That takes CLIP's first choice for the truth. What it says of the other classes is what"
            " distillation is about: compare the two softened distributions.",
        ),
    ),
    properties=(
        Property(
            "lengths of CLIP's vectors don't matter",
            _lengths_dont_matter,
            "Multiply CLIP's features by 5: cosines stay what they are.",
        ),
        Property(
            "a student with the teacher's logits is left with w times its cross-entropy",
            _agreement_leaves_the_labels,
            "Where both distributions agree, the soft term is zero.",
        ),
    ),
    hints=(
        "Two steps: what CLIP says of each class (lab 10's head), then lab 01's objective with it.",
        "Formula (1): cosines of normalised vectors, times s, are the teacher's logits; hinton_kd does the"
        " rest.",
        "With cosines 0.8 and 0.6, s = 10 and T = 2 the teacher's logits are 8 and 6, its softened"
        " probabilities 0.73 and 0.27.",
    ),
)

CHECKS = [KD_CLIP, CONDENSE, VISUAL, SPREAD, LINGUISTIC, STEP, BUG]
