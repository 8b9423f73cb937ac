"""Dropout keyed by (seed, epoch, sample), so that batches, processes and interruptions don't change it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ..rng import keyed_uniform


@dataclass
class Clock:
    """Where training is: set by the loop before each step, read by every dropout layer."""

    seed: int
    epoch: int = 0
    index: Tensor | None = None
    calls: dict[int, int] = field(default_factory=dict)

    def tick(self, epoch: int, index: Tensor) -> None:
        """Begin a step over the samples `index` (B,)."""
        self.epoch, self.index = epoch, index
        self.calls.clear()


def _rate(layer: nn.Module) -> float:
    """Drop rate of a dropout or stochastic-depth layer; 0 for every other layer."""
    if isinstance(layer, nn.Dropout | nn.Dropout2d) or type(layer).__name__ == "StochasticDepth":
        return float(layer.p)
    return float(layer.drop_prob or 0.0) if type(layer).__name__ == "DropPath" else 0.0


def _keyed(layer: nn.Module, salt: int, clock: Clock, x: Tensor) -> Tensor:
    rate = _rate(layer)
    if not layer.training or rate == 0.0:
        return x
    rows = x.shape[0]
    if clock.index is None or rows % len(clock.index):
        return F.dropout(x, rate)  # not one row (or one run of rows) per sample: nothing to key by
    call = clock.calls[salt] = clock.calls.get(salt, -1) + 1
    if isinstance(layer, nn.Dropout):
        shape = x.shape
    elif isinstance(layer, nn.Dropout2d):
        shape = (*x.shape[:2], *[1] * (x.ndim - 2))
    else:  # stochastic depth drops whole samples
        shape = (rows, *[1] * (x.ndim - 1))
    draws = math.prod(shape) // len(clock.index)  # several rows where a layer splits a sample into windows
    uniform = keyed_uniform((clock.seed, clock.epoch, salt, call), clock.index, draws)
    keep = (uniform.reshape(shape) >= rate).to(x.dtype)
    scaled = rate < 1.0 and getattr(layer, "scale_by_keep", True)  # timm's DropPath can go without
    return x * keep / (1.0 - rate) if scaled else x * keep


@contextmanager
def keyed_dropout(root: nn.Module, clock: Clock) -> Iterator[None]:
    """Inside the block, the dropout layers of `root` draw their masks from `clock`, not from a stream."""
    layers = [(salt, m) for salt, m in enumerate(root.modules()) if _rate(m) > 0]
    for salt, layer in layers:
        layer.forward = partial(_keyed, layer, salt, clock)
    try:
        yield
    finally:
        for _, layer in layers:
            del layer.forward
