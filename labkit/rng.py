"""Random numbers keyed by (seed, epoch, sample, ...) instead of drawn from a shared stream.

A sample's augmentation and dropout are then the same whatever the batch, the process or the device it lands
on, and a resumed run needs no generator state for them. The mixer is SplitMix64 (Steele, Lea and Flood, 2014,
doi:10.1145/2660193.2660195), written with torch's wrapping int64 arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's >> keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """One SplitMix64 output per int64 entry of `x`, same shape."""
    x = x + _GOLDEN
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def keyed_uniform(keys: tuple[int, ...], index: Tensor, draws: int) -> Tensor:
    """Uniform numbers in [0, 1) for each sample.

    Args:
        keys: integers shared by the batch, such as (seed, epoch, purpose).
        index: (B,) int64 sample ids.
        draws: how many numbers per sample.

    Returns:
        (B, draws) float32 on the device of `index`.
    """
    state = torch.zeros((), dtype=torch.int64, device=index.device)
    for key in keys:
        state = mix(state + int(key))
    counter = torch.arange(draws, dtype=torch.int64, device=index.device)
    bits = mix(mix(state + index.long())[:, None] + counter)  # (B, draws)
    return _shift(bits, 40).float() * 2.0**-24


def permutation(n: int, *keys: int) -> Tensor:
    """A permutation of 0..n-1, (n,) int64 on the CPU, that depends on the keys alone."""
    seed = torch.zeros((), dtype=torch.int64)
    for key in keys:
        seed = mix(seed + int(key))
    generator = torch.Generator().manual_seed(int(seed) & 0x7FFFFFFFFFFFFFFF)
    return torch.randperm(n, generator=generator)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (all devices) at once; cuDNN takes algorithms that repeat."""
    from accelerate.utils import set_seed

    set_seed(seed)
    torch.backends.cudnn.deterministic = True
