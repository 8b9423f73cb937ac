"""A vision-language model of a few hundred weights, with the interface of `models.VisionLanguage`."""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import models
from labkit.data import Batch

PROMPTS = ("a drawing of a circle", "a drawing of a square", "a drawing of a star")
WIDTH = 6


class ToyVLM(nn.Module):
    """Images by a fixed linear layer on 4x4 patches, texts by their hash; counts the images it encodes."""

    name = "toy"
    embed_dim = WIDTH

    def __init__(self, channels: int = 1, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(16 * channels, WIDTH, generator=generator))
        self.requires_grad_(False)
        self._texts, self._images = 0, 0  # underscores: no part of a bank's key
        self.train()

    def train(self, mode: bool = True) -> ToyVLM:
        return super().train(False)

    @property
    def logit_scale(self) -> float:
        return 20.0

    def forward(self, images: Tensor) -> Tensor:
        return self.encode_image(images)

    def encode_image(self, images: Tensor) -> Tensor:
        self._images += len(images)
        patches = F.adaptive_avg_pool2d(images.to(self.weight.dtype), 4).flatten(1) - 0.4
        return F.normalize(patches @ self.weight, dim=1)

    def encode_text(self, texts: list[str]) -> Tensor:
        self._texts += len(texts)
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return F.normalize(torch.stack(rows), dim=1)

    def zero_shot(self, prompts) -> Tensor:
        templates = [prompts] if isinstance(prompts[0], str) else prompts
        return F.normalize(torch.stack([self.encode_text(texts) for texts in templates]).mean(0), dim=1)


def classifier(seed: int = 0, classes: int = 3, widths: tuple[int, ...] = (2, 4), hidden: int = 8):
    torch.manual_seed(seed)
    return models.build("digit_cnn", classes, widths=widths, hidden=hidden)


def a_batch(n: int = 6, classes: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(n)
    images = torch.rand(n, 1, 8, 8, generator=generator)
    return Batch(images, index * 2 % classes, index, torch.zeros_like(index), {})


def kl(target_logits: Tensor, logits: Tensor, t: float) -> Tensor:
    """T^2 KL(softmax(target / T) || softmax(logits / T)), mean over rows, from the definition."""
    p, q = (target_logits / t).softmax(1), (logits / t).softmax(1)
    return t * t * (p * (p / q).log()).sum(1).mean()


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a[:, None], b[None], dim=2)
