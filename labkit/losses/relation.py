"""Losses on relations between the samples of a batch.

Park et al., "Relational Knowledge Distillation", 2019, arXiv 1904.05068.
Neighbourhood relations: PAND, arXiv 2602.07768, after "Neighborhood relation-based knowledge distillation
for image classification", Neural Networks 2025; the formulas are those of the authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._inputs import full, not_negative, product, same_rows, unit

_TINY = 1e-12  # under the square root: its gradient at zero is infinite


def rkd_distance(student_emb: Tensor, teacher_emb: Tensor) -> Tensor:
    """Distance-wise relational loss: Huber difference of pairwise distances, each network's over its own
    mean.

    `psi_ij = ||e_i - e_j|| / mu`, mu the mean of the positive distances; averaged over all B^2 pairs, the
    diagonal included, as in the authors' code. The student's mu keeps its gradient. Blind to scale,
    rotation, translation.

    Args:
        student_emb: (B, D), B > 1.
        teacher_emb: (B, E); receives no gradient.

    Raises:
        ValueError: not two-dimensional, or batches differ or hold fewer than two samples.
    """
    same_rows(student_emb, teacher_emb, "student_emb and teacher_emb", 2)
    return F.smooth_l1_loss(_distances(full(student_emb)), _distances(full(teacher_emb.detach())))


def _distances(x: Tensor) -> Tensor:
    """(B, D) -> (B, B) distances over their mean."""
    squares = (x[:, None] - x[None]).square().sum(2) if len(x) <= 64 else _squares(x)
    off = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    distances = squares.clamp(min=_TINY).sqrt() * off  # clamped, as theirs: every pair counts as positive
    return distances / distances[off].mean()


def _squares(x: Tensor) -> Tensor:
    """Squared distances by one matrix product, about the mean, which loses fewer digits."""
    x = x - x.mean(0).detach()
    norms = x.square().sum(1)
    return (norms[:, None] + norms[None] - 2 * product(x, x.T)).clamp(min=0)


def rkd_angle(student_emb: Tensor, teacher_emb: Tensor) -> Tensor:
    """Angle-wise relational loss: Huber difference of the cosines at each vertex of all triplets.

    `A_jik = <u_ij, u_kj>`, `u_ij = (e_i - e_j) / ||e_i - e_j||`; averaged over all B^3 entries. Memory grows
    with B^2 D + B^3.

    Args:
        student_emb: (B, D), B > 1.
        teacher_emb: (B, E); receives no gradient.

    Raises:
        ValueError: not two-dimensional, or batches differ or hold fewer than two samples.
    """
    same_rows(student_emb, teacher_emb, "student_emb and teacher_emb", 2)
    return F.smooth_l1_loss(_angles(full(student_emb)), _angles(full(teacher_emb.detach())))


def _angles(x: Tensor) -> Tensor:
    """(B, D) -> (B, B, B) cosines, the first axis is the vertex."""
    towards = unit(x[None] - x[:, None])  # (vertex, other, D); zero where both are one
    return product(towards, towards.transpose(1, 2))


def neighborhood_relation(student_logits: Tensor, teacher_logits: Tensor, k: int = 3) -> Tensor:
    """Differences of the logits to the k nearest neighbours, compared as distributions (NLRD).

    Neighbours are those of the *teacher's* logits by cosine within the batch, without the sample itself.
    `1/(B k) sum JS(softmax(z_i - z_j)_S, softmax(z_i - z_j)_T)`, natural logarithm, no temperature.

    Args:
        student_logits: (B, N).
        teacher_logits: (B, N); receives no gradient.
        k: neighbours, 1..B-1.

    Returns:
        Scalar in [0, log 2].

    Raises:
        ValueError: shapes differ or are not (B, N), or k is outside 1..B-1.
    """
    same_rows(student_logits, teacher_logits, "student_logits and teacher_logits", 2)
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student_logits and teacher_logits must have one shape, but they are"
            f" {tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}."
        )
    if not 1 <= k < len(student_logits):
        raise ValueError(f"k must be within 1..B-1 for B = {len(student_logits)} samples, but it is {k}.")
    s, t = full(student_logits), full(teacher_logits.detach())
    direction = unit(t)
    similarity = product(direction, direction.T).fill_diagonal_(-torch.inf)
    neighbours = similarity.topk(k, dim=1).indices  # (B, k)
    log_p, log_q = (F.log_softmax(z[:, None] - z[neighbours], dim=2) for z in (s, t))  # (B, k, N)
    log_m = torch.logaddexp(log_p, log_q) - torch.log(torch.tensor(2.0, dtype=s.dtype, device=s.device))
    divergence = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
    return not_negative(divergence.sum(2).mean() / 2)
