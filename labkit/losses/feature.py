"""Losses on feature maps.

Romero et al., "FitNets: Hints for Thin Deep Nets", 2015, arXiv 1412.6550: regression of a hint layer.
Zagoruyko, Komodakis, "Paying More Attention to Attention", 2017, arXiv 1612.03928:
`a(F) = flatten(mean_c |F_c|^p) / ||.||_2`, `L = sum_l mean (a(F_S^l) - a(F_T^l))^2`.
Chen et al., "Distilling Knowledge via Knowledge Review", 2021, arXiv 2104.09044: the hierarchical context
loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ._inputs import full, map_pairs, pooled_alike, positive, same_shape, unit


def hint_mse(student_map: Tensor, teacher_map: Tensor) -> Tensor:
    """Mean squared difference of two feature maps over all elements, as the benchmarks of FitNets compute it.

    The paper's form, `1/2 ||u - r||^2`, is this times half the elements of a map.

    Args:
        student_map: (B, C, H, W), after the connector.
        teacher_map: (B, C, H, W); receives no gradient.

    Raises:
        ValueError: shapes differ or are not (B, C, H, W).

    Example:
        >>> import torch
        >>> hint_mse(torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)).item()
        1.0
    """
    same_shape(student_map, teacher_map, "student_map and teacher_map", 4)
    return F.mse_loss(full(student_map), full(teacher_map.detach()))


def attention_transfer(
    student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], p: float = 2
) -> Tensor:
    """Squared difference of normalised attention maps, Zagoruyko and Komodakis 2017, as their code has it.

    Where two maps differ in size the larger *feature map* is average-pooled before its attention map is
    taken. Averaged over batch and positions, summed over the pairs of maps; hence the published weight of
    about 1000.

    Args:
        student_maps: maps (B, C, H, W), shallow to deep; channels may differ from the teacher's.
        teacher_maps: as many; they receive no gradient.
        p: power of the absolute activations, > 0.

    Raises:
        ValueError: the numbers of maps or their batch sizes differ, they are not (B, C, H, W), or p <= 0.
    """
    positive(p, "p")
    pairs = map_pairs(student_maps, teacher_maps, "student_maps and teacher_maps")
    alike = [pooled_alike(*pair) for pair in pairs]
    return torch.stack([F.mse_loss(_attention(s, p), _attention(t, p)) for s, t in alike]).sum()


def _attention(x: Tensor, p: float) -> Tensor:
    """(B, C, H, W) -> (B, H W), rows of unit length."""
    return unit(x.abs().pow(p).mean(1).flatten(1))


def hcl(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Hierarchical context loss, Chen et al. 2021: squared differences at full size and pooled to 4, 2 and 1.

    Each pooled size that is smaller than the map weighs half of the one before, the sum is divided by the
    total weight, and the maps are summed.

    Args:
        student_maps: maps (B, C, H, W).
        teacher_maps: as many, of the same shapes but for the size, which is pooled to the smaller; no
        gradient.

    Raises:
        ValueError: the numbers of maps, batch sizes or channels differ, or they are not (B, C, H, W).
    """
    pairs = map_pairs(student_maps, teacher_maps, "student_maps and teacher_maps")
    return torch.stack([_context(*pooled_alike(*pair)) for pair in pairs]).sum()


def _context(s: Tensor, t: Tensor) -> Tensor:
    same_shape(s, t, "a student map and its teacher map", 4)
    numerator, weight, weights = F.mse_loss(s, t), 1.0, 1.0
    for size in (4, 2, 1):
        if size < s.shape[2]:
            weight /= 2
            weights += weight
            numerator = numerator + weight * F.mse_loss(*(F.adaptive_avg_pool2d(x, size) for x in (s, t)))
    return numerator / weights
