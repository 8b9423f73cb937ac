"""The losses of self-distillation without labels, and the head they act on.

DINO: the student's probabilities over prototypes, seen from one crop, follow the teacher's from another crop
of the same bird (Caron et al., 2021, https://arxiv.org/abs/2104.14294). DINOv2 balances the teacher's
assignments by Sinkhorn and Knopp's iterations (https://arxiv.org/abs/2304.07193); its losses on masked
patches (iBOT, https://arxiv.org/abs/2111.07832) and on the spread of a batch (KoLeo) are left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ITERATIONS = 3  # of Sinkhorn and Knopp, as in the authors' code
_EPS = 1e-8


class Head(nn.Module):
    """Three layers down to a bottleneck on the unit sphere, then similarities to prototypes of norm 1.

    Args:
        width: of the tokens, D; the hidden layers have 4 D units, the sphere D dimensions.
        prototypes: how many, K.
    """

    def __init__(self, width: int, prototypes: int) -> None:
        super().__init__()
        hidden = 4 * width
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Linear(hidden, width),
        )
        self.prototypes = nn.Parameter(torch.randn(prototypes, width))
        for layer in self.mlp[::3]:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (M, D) brought onto the unit sphere: (M, D)."""
        return F.normalize(self.mlp(tokens).float(), dim=-1, eps=1e-6)

    def compare(self, embeddings: Tensor) -> Tensor:
        """Cosine similarities (..., K) of embeddings to the prototypes."""
        return F.linear(embeddings, F.normalize(self.prototypes, dim=-1))


@torch.no_grad()
def assignments(logits: Tensor, temperature: float) -> Tensor:
    """The teacher's targets: probabilities (M, K), sharpened, with all K prototypes in equal use.

    Sinkhorn and Knopp's iterations on exp(logits / temperature) take the place of DINO's running centre: no
    prototype can draw all the images to itself, however small the batch.
    """
    scaled = logits.float() / temperature
    q = torch.exp(scaled - scaled.amax())  # (M, K)
    for _ in range(_ITERATIONS):
        q = q / q.sum(0, keepdim=True).clamp(min=_EPS) / q.shape[1]
        q = q / q.sum(1, keepdim=True).clamp(min=_EPS)
    return q


def cross_entropy(targets: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """Mean over M of -sum_k targets log softmax(logits / temperature); both (M, K)."""
    return -(targets * F.log_softmax(logits / temperature, dim=-1)).sum(-1).mean()


def dino(targets: Tensor, student: Tensor, temperature: float) -> Tensor:
    """Each crop of the student against the teacher's other crop of the same bird.

    Args:
        targets: (2, B, K) probabilities from the teacher's two crops.
        student: (2, B, K) similarities from the student's.
        temperature: of the student.
    """
    terms = [cross_entropy(targets[g], student[1 - g], temperature) for g in range(2)]
    return torch.stack(terms).mean()


def contrast(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """InfoNCE: each crop of the student finds its bird among the teacher's other crops of the batch.

    Chen, Xie and He, 2021, https://arxiv.org/abs/2104.02057, equation 1.

    Args:
        teacher: (2, B, D) embeddings on the unit sphere, from the teacher's two crops.
        student: (2, B, D), from the student's.
        temperature: of the similarities.
    """
    own = torch.arange(student.shape[1], device=student.device)
    terms = [F.cross_entropy(student[1 - g] @ teacher[g].T / temperature, own) for g in range(2)]
    return torch.stack(terms).mean()


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy in nats of (M, K) probabilities."""
    return -(probabilities * probabilities.clamp(min=_EPS).log()).sum(-1).mean()
