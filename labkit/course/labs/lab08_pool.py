"""The check of lab 08 on what to keep of a backbone's tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..checks import Check, Misconception


def _draw_tokens(seed: int) -> tuple[Tensor, int]:
    registers = 2 + seed % 2
    return torch.randn(3, 1 + registers + 5, 4), registers


def _observe_pool(pool: Any, tokens: Tensor, registers: int) -> dict[str, Any]:
    found = {kind: pool(tokens, kind, registers) for kind in ("cls", "patches", "both")}
    found["patches, no registers"] = pool(tokens, "patches", 0)
    return found


def pool(tokens: Tensor, kind: str, registers: int = 0) -> Tensor:
    """One vector per image from tokens (B, 1 + R + P, D): 'cls' (B, D), 'patches' (B, D), 'both' (B, 2D)."""
    cls = tokens[:, 0]
    patches = tokens[:, 1 + registers :].mean(dim=1)
    return {"cls": cls, "patches": patches, "both": torch.cat([cls, patches], dim=1)}[kind]


def _pool(
    mean: Callable[[Tensor, int], Tensor] = lambda tokens, r: tokens[:, 1 + r :].mean(1),
    both: Callable[[Tensor, Tensor], Tensor] = lambda cls, patches: torch.cat([cls, patches], 1),
) -> Any:
    def answer(tokens: Tensor, kind: str, registers: int = 0) -> Tensor:
        cls, patches = tokens[:, 0], mean(tokens, registers)
        return both(cls, patches) if kind == "both" else cls if kind == "cls" else patches

    return answer


POOL = Check(
    id="08-pool",
    title="CLS, mean patch, or both",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_tokens,
    observe=_observe_pool,
    reference=pool,
    misconceptions=(
        Misconception(
            "the mean over all tokens",
            _pool(lambda tokens, r: tokens.mean(1)),
            "Your mean includes the CLS token (and the registers). Average the patches alone.",
        ),
        Misconception(
            "registers averaged as well",
            _pool(lambda tokens, r: tokens[:, 1:].mean(1)),
            "The registers stand between CLS and the patches and belong to no place: start after them.",
        ),
        Misconception(
            "registers cut off at the end",
            _pool(lambda tokens, r: tokens[:, 1 : tokens.shape[1] - r].mean(1)),
            "You dropped the last patches. The registers come right after CLS: the patches start at 1 + R.",
        ),
        Misconception(
            "CLS forgotten when skipping",
            _pool(lambda tokens, r: tokens[:, r:].mean(1)),
            "Skip the registers *and* the CLS token: the patches start at 1 + R.",
        ),
        Misconception(
            "the sum of the patches",
            _pool(lambda tokens, r: tokens[:, 1 + r :].sum(1)),
            "Divide by the number of patches, or the features grow with the image.",
        ),
        Misconception(
            "the maximum over the patches",
            _pool(lambda tokens, r: tokens[:, 1 + r :].amax(1)),
            "That is max pooling. Formula (1) is a mean.",
        ),
        Misconception(
            "the mean over the features",
            _pool(
                lambda tokens, r: tokens[:, 1 + r :].mean(2),
                lambda cls, patches: torch.cat([cls, patches], 1),
            ),
            "You averaged the D numbers of each patch. The patches are axis 1: .mean(dim=1).",
        ),
        Misconception(
            "one patch instead of their mean",
            _pool(lambda tokens, r: tokens[:, 1 + r]),
            "That is the first patch, the upper left corner. Slice with a colon, then average.",
        ),
        Misconception(
            "both added",
            _pool(both=lambda cls, patches: cls + patches),
            "A sum can't be taken apart again. Put the two vectors side by side: (B, 2D).",
        ),
        Misconception(
            "both averaged",
            _pool(both=lambda cls, patches: (cls + patches) / 2),
            "A mean can't be taken apart again. Put the two vectors side by side: (B, 2D).",
        ),
        Misconception(
            "the patches first",
            _pool(both=lambda cls, patches: torch.cat([patches, cls], 1)),
            "A probe would not mind, but say where things are and keep to it: CLS first.",
        ),
        Misconception(
            "joined along the batch",
            _pool(both=lambda cls, patches: torch.cat([cls, patches], 0)),
            "You have twice as many images now. Join along the features: dim=1.",
        ),
        Misconception(
            "stacked on a new axis",
            _pool(both=lambda cls, patches: torch.stack([cls, patches], 1)),
            "One vector per image, (B, 2D): torch.cat along dim=1, not torch.stack.",
        ),
    ),
    hints=(
        "Write down the axes of tokens, (B, 1 + R + P, D), and where the patches begin.",
        "tokens[:, 0] is CLS, tokens[:, 1 + registers:] the patches; .mean(dim=1) averages over them;"
        " torch.cat(..., dim=1) sets vectors side by side.",
        "With R = 1 and tokens a, r, p, q of one image: CLS is a, the patches' mean (p + q) / 2, and both"
        " together a followed by (p + q) / 2.",
    ),
)
