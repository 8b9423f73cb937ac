"""What every loss does to its inputs: check the shapes, leave half precision."""

from __future__ import annotations

import torch
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
