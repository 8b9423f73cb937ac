"""What every loss does to its inputs: check the shapes, leave half precision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def same_shape(first: Tensor, second: Tensor, names: str, ndim: int) -> None:
    """Raise ValueError, naming both shapes, unless both tensors have `ndim` axes and one shape."""
    if first.shape != second.shape or first.ndim != ndim:
        raise ValueError(
            f"{names} must both be {ndim}-d tensors of one shape,"
            f" but they are {tuple(first.shape)} and {tuple(second.shape)}."
        )


def positive(value: float, name: str) -> None:
    """Raise ValueError unless `value` > 0."""
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0, but it is {value}.")


def full(x: Tensor) -> Tensor:
    """`x` in float32 (float64 stays): softmaxes in half precision lose the small classes."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def not_negative(divergence: Tensor) -> Tensor:
    """A divergence, 0 where rounding took it below; its gradient stays."""
    return divergence - divergence.detach().clamp(max=0)


def product(first: Tensor, second: Tensor) -> Tensor:
    """`first @ second` in full precision, under autocast, too: a cosine in bf16 has two or three digits."""
    with torch.autocast(first.device.type, enabled=False):
        return full(first) @ full(second)


def map_pairs(
    student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], names: str
) -> list[tuple[Tensor, Tensor]]:
    """Pairs of feature maps, the teacher's detached, in full precision.

    Raises:
        ValueError: there are none or unequal numbers of them, or a pair is not (B, C, H, W) with one B.
    """
    if isinstance(student_maps, Tensor) or isinstance(teacher_maps, Tensor):
        raise ValueError(f"{names} must be lists of (B, C, H, W) maps, one per layer, not single tensors.")
    if len(student_maps) != len(teacher_maps) or not student_maps:
        raise ValueError(
            f"{names} must hold as many maps, at least one, but there are {len(student_maps)}"
            f" and {len(teacher_maps)}."
        )
    for s, t in zip(student_maps, teacher_maps, strict=True):
        if s.ndim != 4 or t.ndim != 4 or s.shape[0] != t.shape[0]:
            raise ValueError(
                f"{names} must hold (B, C, H, W) maps of one batch, but a pair is {tuple(s.shape)}"
                f" and {tuple(t.shape)}."
            )
    return [(full(s), full(t.detach())) for s, t in zip(student_maps, teacher_maps, strict=True)]


def pooled_alike(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (B, C, H, W) at the smaller of their sizes: the larger one is average-pooled."""
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    fit = [x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in (first, second)]
    return fit[0], fit[1]


def same_rows(first: Tensor, second: Tensor, names: str, at_least: int = 1) -> None:
    """Raise ValueError, naming both shapes, unless both are (B, ...) matrices of one B >= `at_least`."""
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or len(first) < at_least:
        least = f" of at least {at_least}" if at_least > 1 else ""
        raise ValueError(
            f"{names} must be matrices with as many rows{least},"
            f" but they are {tuple(first.shape)} and {tuple(second.shape)}."
        )


def unit(x: Tensor) -> Tensor:
    """`x` (..., D) with rows of length 1; a row of zeros stays, without its direction's huge gradient."""
    length = x.norm(dim=-1, keepdim=True)
    return x * torch.where(length > 1e-12, 1 / length.clamp(min=1e-12), 0.0)
