"""What every classifier of labkit returns: the logits and the features that a method may distil."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """One forward pass, B images and N classes.

    Attributes:
        logits: (B, N) raw scores.
        embedding: (B, D), the input of the last Linear: `model.head(embedding)` gives `logits`.
        maps: exactly 4 feature maps (B, C_i, H_i, W_i), shallow to deep, without prefix tokens.
        final_map: (B, C, H, W), what global pooling sees.
    """

    logits: Tensor
    embedding: Tensor
    maps: tuple[Tensor, Tensor, Tensor, Tensor]
    final_map: Tensor
