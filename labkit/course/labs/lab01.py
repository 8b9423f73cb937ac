"""Checks of lab 01: softened softmax, distillation loss, objective; the rest is beside it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...losses import hinton_kd as kd_loss
from ...losses import kd_objective
from ..checks import Check, Misconception, Property
from .lab01_bug import BUG
from .lab01_training import EVALUATE, TRAIN_STEP

# --- softened softmax -----------------------------------------------------------------------------------


def _draw_softmax(seed: int) -> tuple[Tensor, float]:
    return 2 * torch.randn(5, 7), 2.5


def softened_softmax(logits: Tensor, temperature: float) -> Tensor:
    """Class probabilities of each row of `logits` (B, N) at a temperature > 0; shape (B, N)."""
    return torch.softmax(logits / temperature, dim=1)


def _one_hot_when_cold(answer: Any, seed: int) -> bool:
    logits = torch.stack([torch.randperm(6) for _ in range(4)]).float()  # no two nearly equal
    return torch.allclose(answer(logits, 0.01), F.one_hot(logits.argmax(1), 6).float(), atol=1e-4)


def _uniform_when_hot(answer: Any, seed: int) -> bool:
    return torch.allclose(answer(torch.randn(4, 6), 1e6), torch.full((4, 6), 1 / 6), atol=1e-4)


def _survives_large_logits(answer: Any, seed: int) -> bool:
    return bool(torch.isfinite(answer(1000 * torch.randn(3, 4), 0.5)).all())


SOFTENED_SOFTMAX = Check(
    id="01-softened-softmax",
    title="the softmax at a temperature",
    points=2,
    minutes=5,
    difficulty=1,
    draw=_draw_softmax,
    reference=softened_softmax,
    differentiable=(0,),
    misconceptions=(
        Misconception(
            "the temperature is not used",
            lambda z, t: torch.softmax(z, 1),
            "These are the probabilities at T = 1. Where in formula (1) does T stand?",
        ),
        Misconception(
            "logits multiplied by the temperature",
            lambda z, t: torch.softmax(z * t, 1),
            "Multiplying makes the distribution sharper as T grows. Formula (1) divides.",
        ),
        Misconception(
            "softmax over the batch",
            lambda z, t: torch.softmax(z / t, 0),
            "Your columns sum to one, not your rows. Each image (row) needs its own distribution over"
            " classes.",
        ),
        Misconception(
            "probabilities divided by the temperature",
            lambda z, t: torch.softmax(z, 1) / t,
            "Your rows sum to 1/T. The division belongs to the logits, before the exponential.",
        ),
        Misconception(
            "logarithms of the probabilities",
            lambda z, t: torch.log_softmax(z / t, 1),
            "All your values are negative: that is log_softmax. It is needed inside the loss, not here.",
        ),
        Misconception(
            "probabilities that are not normalised",
            lambda z, t: (z / t).exp(),
            "The exponentials still have to be divided by their sum over the classes.",
        ),
    ),
    properties=(
        Property("one-hot as T goes to 0", _one_hot_when_cold, "At a tiny T the largest logit takes it all."),
        Property("uniform as T goes to infinity", _uniform_when_hot, "At a huge T all classes become equal."),
        Property(
            "finite for large logits",
            _survives_large_logits,
            "exp() of a large number overflows: subtract each row's maximum first, or call torch.softmax.",
        ),
    ),
    hints=(
        "Only the logits change: everything else is the softmax you know.",
        "Formula (1): divide the logits by T, then apply the softmax along the classes, dim=1.",
        "With logits [2, 0] and T = 2 the scaled logits are [1, 0], so the first probability is"
        " e / (e + 1) = 0.731, and 0.881 without the temperature.",
    ),
)

# --- distillation loss ----------------------------------------------------------------------------------


def _draw_kd(seed: int) -> tuple[Tensor, Tensor, float]:
    return torch.randn(5, 7), 2 * torch.randn(5, 7), 2.0


def _kd(
    s: Tensor, t: Tensor, temp_s: float, temp_t: float, reduction: str = "batchmean", dim: int = 1
) -> Tensor:
    log_p, log_q = F.log_softmax(s / temp_s, dim), F.log_softmax(t.detach() / temp_t, dim)
    return F.kl_div(log_p, log_q, reduction=reduction, log_target=True)


def _soft_cross_entropy(s: Tensor, t: Tensor, temp: float) -> Tensor:
    q = torch.softmax(t.detach() / temp, 1)
    return -(temp**2) * (q * F.log_softmax(s / temp, 1)).sum(1).mean()


def _zero_when_equal(answer: Any, seed: int) -> bool:
    logits = torch.randn(4, 6)
    return abs(float(answer(logits, logits + 3.0, 2.0))) < 1e-5


def _becomes_logit_matching(answer: Any, seed: int) -> bool:
    s, t = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    centred = [z - z.mean(1, keepdim=True) for z in (s, t)]
    limit = (centred[0] - centred[1]).square().sum(1).mean() / (2 * 6)
    return abs(float(answer(s, t, 1e4)) - float(limit)) < 1e-3 * float(limit)


KD_LOSS = Check(
    id="01-kd-loss",
    title="the distillation loss",
    points=3,
    minutes=10,
    difficulty=3,
    draw=_draw_kd,
    reference=kd_loss,
    differentiable=(0, 1),
    misconceptions=(
        Misconception(
            "T² forgotten",
            lambda s, t, temp: _kd(s, t, temp, temp),
            "Without the factor T² the gradient shrinks like 1/T², and changing T changes the weight of the"
            " whole term. See formula (2).",
        ),
        Misconception(
            "T instead of T²",
            lambda s, t, temp: temp * _kd(s, t, temp, temp),
            "One 1/T comes from the chain rule and another from the softened probabilities: the factor is"
            " T².",
        ),
        Misconception(
            "student and teacher swapped",
            lambda s, t, temp: temp**2 * F.kl_div(
                F.log_softmax(t.detach() / temp, 1), F.log_softmax(s / temp, 1),
                reduction="batchmean", log_target=True,
            ),
            "This is KL(student ‖ teacher). F.kl_div(input, target) computes KL(target ‖ input):"
            " the student's log-probabilities come first.",
        ),
        Misconception(
            "the temperature only on the student",
            lambda s, t, temp: temp**2 * _kd(s, t, temp, 1.0),
            "The student then learns logits T times the teacher's. Soften both distributions.",
        ),
        Misconception(
            "the temperature only on the teacher",
            lambda s, t, temp: temp**2 * _kd(s, t, 1.0, temp),
            "The student is asked to be soft at T = 1. Soften both distributions.",
        ),
        Misconception(
            'reduction="mean"',
            lambda s, t, temp: temp**2 * _kd(s, t, temp, temp, "mean"),
            "That averages over the classes as well, so the term is N times too small."
            " Sum over classes, average over images: reduction=\"batchmean\".",
        ),
        Misconception(
            "summed over the batch",
            lambda s, t, temp: temp**2 * _kd(s, t, temp, temp, "sum"),
            "Your loss grows with the batch size. Average over the images: reduction=\"batchmean\".",
        ),
        Misconception(
            "softmax over the batch",
            lambda s, t, temp: temp**2 * _kd(s, t, temp, temp, dim=0),
            "The distributions run over the images. Every softmax here goes along the classes, dim=1.",
        ),
        Misconception(
            "cross-entropy with soft targets",
            _soft_cross_entropy,
            "Close: it has the same gradient and would train the same student, but it is larger by the"
            " teacher's entropy and not zero for a perfect student. Formula (2) is the KL divergence.",
        ),
        Misconception(
            "probabilities where F.kl_div wants log-probabilities",
            lambda s, t, temp: temp**2 * F.kl_div(
                torch.softmax(s / temp, 1), torch.softmax(t.detach() / temp, 1), reduction="batchmean"
            ),
            "F.kl_div's first argument must be log-probabilities: log_softmax, not softmax.",
        ),
        Misconception(
            "a gradient into the teacher",
            lambda s, t, temp: temp**2 * F.kl_div(
                F.log_softmax(s / temp, 1), F.log_softmax(t / temp, 1),
                reduction="batchmean", log_target=True,
            ),
            "The value is right, but the teacher's logits receive a gradient: it would learn to please the"
            " student. Detach them.",
        ),
    ),
    properties=(
        Property(
            "zero when teacher and student agree", _zero_when_equal,
            "Equal distributions have divergence 0, also when all logits of a row are shifted by a constant.",
        ),
        Property(
            "logit matching as T goes to infinity", _becomes_logit_matching,
            "For a large T the loss must approach the squared difference of the centred logits over 2N.",
        ),
    ),
    hints=(
        "You need log-probabilities of the student and of the teacher, both at temperature T.",
        "Formula (2) with F.kl_div: student's log_softmax first, the target second, reduction=\"batchmean\","
        " log_target=True if you pass the teacher's logarithms; times T².",
        "For one image with teacher (0.7, 0.3) and student (0.5, 0.5) at T = 2:"
        " KL = 0.7 ln(0.7/0.5) + 0.3 ln(0.3/0.5) = 0.0823, and the loss is 4 x 0.0823 = 0.329.",
    ),
)  # fmt: skip

# --- the student's objective ----------------------------------------------------------------------------


def _draw_objective(seed: int) -> tuple[Tensor, Tensor, Tensor, float, float]:
    return (*_draw_kd(seed)[:2], torch.randint(7, (5,)), 2.0, 0.3)


def _ce(s: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(s, y)


OBJECTIVE = Check(
    id="01-kd-objective",
    title="the student's whole objective",
    points=2,
    minutes=5,
    difficulty=2,
    draw=_draw_objective,
    reference=kd_objective,
    differentiable=(0, 1),
    misconceptions=(
        Misconception(
            "the two weights swapped",
            lambda s, t, y, temp, w: (1 - w) * _ce(s, y) + w * kd_loss(s, t, temp),
            "hard_weight belongs to the labels. (Public code disagrees about what alpha means: read first.)",
        ),
        Misconception(
            "the labels' term at temperature T",
            lambda s, t, y, temp, w: w * _ce(s / temp, y) + (1 - w) * kd_loss(s, t, temp),
            "The hard term is the ordinary cross-entropy: labels know no temperature.",
        ),
        Misconception(
            "T² on both terms",
            lambda s, t, y, temp, w: temp**2 * w * _ce(s, y) + (1 - w) * kd_loss(s, t, temp),
            "T² undoes what softening does to the gradient of the soft term. The hard term was not softened.",
        ),
        Misconception(
            "the soft term at full weight",
            lambda s, t, y, temp, w: w * _ce(s, y) + kd_loss(s, t, temp),
            "The weights of the two terms sum to one: the soft term has 1 - hard_weight.",
        ),
        Misconception(
            "no weights",
            lambda s, t, y, temp, w: _ce(s, y) + kd_loss(s, t, temp),
            "hard_weight is not used: see formula (3).",
        ),
        Misconception(
            "a second T²",
            lambda s, t, y, temp, w: w * _ce(s, y) + (1 - w) * temp**2 * kd_loss(s, t, temp),
            "kd_loss already contains T².",
        ),
        Misconception(
            "only the hard term",
            lambda s, t, y, temp, w: w * _ce(s, y),
            "The teacher is missing: add (1 - hard_weight) times kd_loss.",
        ),
    ),
    hints=(
        "Two terms: one you know from every classifier, one you have just written.",
        "Formula (3): hard_weight * F.cross_entropy(student_logits, labels) plus"
        " (1 - hard_weight) * kd_loss(...).",
        "With cross-entropy 1.2, distillation loss 0.4 and hard_weight 0.25: 0.25 x 1.2 + 0.75 x 0.4 = 0.6.",
    ),
)

CHECKS = [SOFTENED_SOFTMAX, KD_LOSS, OBJECTIVE, TRAIN_STEP, EVALUATE, BUG]
