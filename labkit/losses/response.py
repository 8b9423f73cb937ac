"""Losses on responses (logits).

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531:
`L_KD = T^2 KL(softmax(z_T / T) || softmax(z_S / T))`, `L = w CE(z_S, y) + (1 - w) L_KD`.
Ba, Caruana, "Do Deep Nets Really Need to be Deep?", 2014, arXiv 1312.6184: regression of the logits.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ._inputs import full, not_negative, positive, same_shape


def hinton_kd(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Knowledge distillation by softened responses, Hinton et al. 2015: T^2 KL(teacher || student).

    The factor T^2 keeps the gradient's size independent of T. Summed over classes, averaged over the batch.

    Args:
        student_logits: (B, N).
        teacher_logits: (B, N); receives no gradient.
        temperature: T > 0; the larger, the softer both distributions.

    Returns:
        Scalar >= 0; zero only where the logits of each row agree up to a constant.

    Raises:
        ValueError: shapes differ or are not (B, N), or temperature <= 0.

    Example:
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0, -1.0]])
        >>> hinton_kd(z, z + 5.0).item()
        0.0
    """
    same_shape(student_logits, teacher_logits, "student_logits and teacher_logits", 2)
    positive(temperature, "temperature")
    log_p = F.log_softmax(full(student_logits) / temperature, dim=1)  # (B, N) prediction
    log_q = F.log_softmax(full(teacher_logits.detach()) / temperature, dim=1)  # (B, N) target
    divergence = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    return temperature**2 * not_negative(divergence)


def kd_objective(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float = 4.0,
    hard_weight: float = 0.5,
) -> Tensor:
    """The student's whole objective: hard_weight * CE(labels) + (1 - hard_weight) * hinton_kd.

    The hard term is taken at temperature 1.

    Args:
        student_logits: (B, N).
        teacher_logits: (B, N); receives no gradient.
        labels: (B,) int64 class indices.
        temperature: T > 0, of the soft term only.
        hard_weight: in [0, 1]; 1 is training without a teacher, 0 without labels.

    Raises:
        ValueError: shapes disagree, temperature <= 0, or hard_weight outside [0, 1].
    """
    if not 0.0 <= hard_weight <= 1.0:
        raise ValueError(f"hard_weight must be in [0, 1], but it is {hard_weight}.")
    if labels.shape != student_logits.shape[:1]:
        raise ValueError(
            f"labels must be (B,) for logits (B, N),"
            f" but they are {tuple(labels.shape)} and {tuple(student_logits.shape)}."
        )
    soft = hinton_kd(student_logits, teacher_logits, temperature)
    return hard_weight * F.cross_entropy(full(student_logits), labels) + (1.0 - hard_weight) * soft


def logit_mse(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Mean squared difference of the logits over batch and classes, Ba and Caruana 2014.

    Args:
        student_logits: (B, N).
        teacher_logits: (B, N); receives no gradient.

    Raises:
        ValueError: shapes differ or are not (B, N).
    """
    same_shape(student_logits, teacher_logits, "student_logits and teacher_logits", 2)
    return F.mse_loss(full(student_logits), full(teacher_logits.detach()))
