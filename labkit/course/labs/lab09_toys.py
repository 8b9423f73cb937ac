"""The networks that lab 09's checks try a student's code on: tiny ViTs with timm's names."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...models import Output

WIDTH, CLASSES = 4, 3


class LoRALinear(nn.Module):
    """A frozen Linear `base` plus a trainable update of low rank: W x + b + (alpha / rank) B A x."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base, self.rank, self.alpha = base, rank, alpha
        base.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(rank, base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return self.base(x) + self.alpha / self.rank * (x @ self.A.T @ self.B.T)


class Attention(nn.Module):
    """One head; the names are timm's."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(torch.softmax(q @ k.transpose(1, 2) / WIDTH**0.5, -1) @ v)


class Block(nn.Module):
    """Attention and a residual; no MLP, for speed."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(WIDTH), Attention()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(self.norm1(x))


class ToyViT(nn.Module):
    """Tokens (B, N, WIDTH) in, logits (B, CLASSES) out; `blocks[i].attn.qkv` and `head` as in timm."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x.mean(1)))


class ToyClassifier(nn.Module):
    """The toy as labkit's classifiers are: the library's network in `.net`, an `Output` out, with dropout."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.drop = net, nn.Dropout(0.2)
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Output:
        self.modes.append(self.training)
        logits = self.net(self.drop(x))
        return Output(logits, logits, (), logits)


def add_adapters(net: nn.Module, rank: int, alpha: float) -> nn.Module:
    """Freeze the network, put a LoRALinear around every qkv layer, and leave the head trainable."""
    net.requires_grad_(False)
    for block in net.blocks:
        block.attn.qkv = LoRALinear(block.attn.qkv, rank, alpha)
    net.head.requires_grad_(True)
    return net


def training_names(model: nn.Module) -> str:
    """What trains, as one comparable text."""
    return ", ".join(sorted(name for name, p in model.named_parameters() if p.requires_grad)) or "nothing"
