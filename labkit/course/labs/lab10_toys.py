"""What lab 10's checks watch: a text tower and a prompt learner small enough to follow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Attention(nn.Module):
    """One block of masked self-attention, called as open_clip calls its transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        q, k, v = (2 * self.qkv(x)).chunk(3, dim=-1)
        return x + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask))


class ToyText(nn.Module):
    """The parts of a CLIP text tower under open_clip's names, with random weights."""

    attn_mask: Tensor

    def __init__(self, length: int, width: int, embed: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(length, width))
        self.transformer = _Attention(width)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, embed))
        self.register_buffer("attn_mask", torch.full((length, length), float("-inf")).triu_(1))
        with torch.no_grad():
            self.ln_final.weight.uniform_(0.5, 2)
            self.ln_final.bias.normal_()
        self.requires_grad_(False)


class ToyLearner(nn.Module):
    """A context (M, W) and a frozen map from it to a head of unit vectors (C, E)."""

    def __init__(self, classes: int = 4, embed: int = 6) -> None:
        super().__init__()
        self.context = nn.Parameter(torch.randn(2, 5))
        self.names = nn.Parameter(torch.randn(classes, 5), requires_grad=False)
        self.tower = nn.Linear(5, embed).requires_grad_(False)
        self.calls = 0

    def forward(self) -> Tensor:
        self.calls += 1
        return F.normalize(self.tower(torch.tanh(self.names * self.context[0] + self.context[1])), dim=-1)
