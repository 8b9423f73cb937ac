"""Encoders for the tests of the bank; as a program: `python bank_toys.py` encodes and says what it did.

The processes import it under its own name, so that the encoder is the same to all of them.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import torch
from engine_toys import images
from torch import Tensor, nn

from labkit.data import ImageSet
from labkit.engine import FeatureBank

CHUNKS = 6


class Seeing(nn.Module):
    """Returns the images themselves and a few numbers; counts what it saw, and can end its process."""

    def __init__(self, kill_at: int = 0, pause: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layer = nn.Linear(36, 4)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(4)
        self._seen, self._kill_at, self._pause = [], kill_at, pause  # underscores: no part of the key

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self._seen.append(len(x))
        if len(self._seen) == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self._pause)
        assert not torch.is_grad_enabled()
        return {
            "embedding": self.norm(self.dropout(self.layer(x.flatten(1)))),
            "pixels": x,
            "depth": (x[:, :, ::2], x[:, :, ::3]),
        }

    @property
    def seen(self) -> int:
        """Images so far."""
        return sum(self._seen)


class Plain(nn.Module):
    """A tensor, not a mapping; its one weight tells two of them apart."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.flatten(1)


def small() -> ImageSet:
    """48 images: CHUNKS chunks of 8."""
    return images(48, 4)


def encode(encoder: nn.Module, split: ImageSet | None = None, **kw) -> FeatureBank:
    """A bank of one batch a chunk."""
    options = {"batch_size": 8, "chunk": 8, "device": "cpu", **kw}
    return FeatureBank(encoder, split if split is not None else small(), **options)


def main(kill_at: str, pause: str) -> None:
    encoder = Seeing(int(kill_at), float(pause))
    print("ready", flush=True)
    sys.stdin.readline()
    bank = encode(encoder)
    print(bank.key, encoder.seen, bank.features().sum().item().hex(), flush=True)
