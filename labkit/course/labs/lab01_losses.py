"""Checks of lab 01: the distillation loss and the student's whole objective."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property

# --- distillation loss ----------------------------------------------------------------------------------


def _draw_kd(seed: int) -> tuple[Tensor, Tensor, float]:
    return torch.randn(5, 7), 2 * torch.randn(5, 7), 2.0


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Distillation loss of logits (B, N) at a temperature > 0; a scalar."""
    log_student = F.log_softmax(student_logits / temperature, dim=1)
    log_teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


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


def _finite_for_a_sure_teacher(answer: Any, seed: int) -> bool:
    return bool(
        torch.isfinite(torch.as_tensor(answer(torch.randn(4, 6), 300 * torch.randn(4, 6), 1.0))).all()
    )


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
            "log_target=True forgotten",
            lambda s, t, temp: temp**2 * F.kl_div(
                F.log_softmax(s / temp, 1), F.log_softmax(t.detach() / temp, 1), reduction="batchmean"
            ),
            "F.kl_div took your log-probabilities for probabilities. Target in logarithms: log_target=True."
            " Target as probabilities: leave it out.",
        ),
        Misconception(
            "log_target=True with probabilities",
            lambda s, t, temp: temp**2 * F.kl_div(
                F.log_softmax(s / temp, 1), torch.softmax(t.detach() / temp, 1),
                reduction="batchmean", log_target=True,
            ),
            "F.kl_div took your probabilities for log-probabilities. Target in logarithms: log_target=True."
            " Target as probabilities: leave it out.",
        ),
        Misconception(
            "a gradient into the teacher",
            lambda s, t, temp: _leaky_kd(s, t, temp),
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
            "finite for a very confident teacher", _finite_for_a_sure_teacher,
            "The logarithm of a softmax that has underflowed to 0 is minus infinity: use F.log_softmax.",
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


def kd_objective(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, temperature: float, hard_weight: float
) -> Tensor:
    """hard_weight * cross-entropy + (1 - hard_weight) * distillation loss; a scalar."""
    hard = F.cross_entropy(student_logits, labels)
    soft = kd_loss(student_logits, teacher_logits, temperature)
    return hard_weight * hard + (1 - hard_weight) * soft


def _leaky_kd(s: Tensor, t: Tensor, temp: float) -> Tensor:
    """The loss without detaching the teacher."""
    log_p, log_q = F.log_softmax(s / temp, 1), F.log_softmax(t / temp, 1)
    return temp**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


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
            "the labels' term at full weight",
            lambda s, t, y, temp, w: _ce(s, y) + (1 - w) * kd_loss(s, t, temp),
            "hard_weight is the labels' own weight: multiply the cross-entropy by it.",
        ),
        Misconception(
            "cross-entropy of probabilities",
            lambda s, t, y, temp, w: w * _ce(s.softmax(1), y) + (1 - w) * kd_loss(s, t, temp),
            "F.cross_entropy takes logits and applies the softmax itself: yours is applied twice.",
        ),
        Misconception(
            "student and teacher swapped",
            lambda s, t, y, temp, w: w * _ce(s, y) + (1 - w) * kd_loss(t, s, temp),
            "kd_loss takes the student's logits first, then the teacher's.",
        ),
        Misconception(
            "a gradient into the teacher",
            lambda s, t, y, temp, w: w * _ce(s, y) + (1 - w) * _leaky_kd(s, t, temp),
            "The value is right, but the teacher's logits receive a gradient. Call your kd_loss, or detach"
            " them.",
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
