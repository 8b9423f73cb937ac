"""The losses of self-distillation without labels, and the head they act on.

DINO: the student's probabilities over prototypes, seen from one crop, follow the teacher's from another crop
of the same bird (Caron et al., 2021, https://arxiv.org/abs/2104.14294). iBOT: the same for patches that the
student saw masked (Zhou et al., 2021, https://arxiv.org/abs/2111.07832). KoLeo: features of a batch keep
apart (Sablayrolles et al., 2018, https://arxiv.org/abs/1806.03198). DINOv2 adds them up, and balances the
teacher's assignments by Sinkhorn and Knopp's iterations (https://arxiv.org/abs/2304.07193).
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

    def forward(self, tokens: Tensor) -> Tensor:
        """Cosine similarities (M, K) of tokens (M, D) to the prototypes."""
        return self.compare(self.embed(tokens))


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


def pairs(crops: int, bursts: bool) -> list[tuple[int, int]]:
    """Which crop of the student meets which of the two global crops of the teacher: (student, teacher).

    DINO leaves out a crop's meeting with itself. With bursts, where crop v shows photograph v % 2, it meets
    the other photograph only: what two crops of one photograph share is above all its scene.
    """
    own = (lambda v: v % 2) if bursts else (lambda v: v)
    return [(v, g) for g in range(2) for v in range(crops) if own(v) != g]


def dino(targets: Tensor, student: Tensor, temperature: float, bursts: bool = False) -> Tensor:
    """The crops of the student against the global crops of the teacher, as `pairs` has them.

    Args:
        targets: (2, B, K) probabilities from the teacher's two global crops.
        student: (V, B, K) similarities from its V crops, the first two of which are the global ones.
        temperature: of the student.
        bursts: see `pairs`.
    """
    met = pairs(len(student), bursts)
    return torch.stack([cross_entropy(targets[g], student[v], temperature) for v, g in met]).mean()


def contrast(teacher: Tensor, student: Tensor, temperature: float, bursts: bool = False) -> Tensor:
    """InfoNCE: each crop of the student finds its bird among the teacher's crops of the batch.

    Chen, Xie and He, 2021, https://arxiv.org/abs/2104.02057, equation 1.

    Args:
        teacher: (2, B, D) embeddings on the unit sphere, from the teacher's two global crops.
        student: (V, B, D), from the student's V crops, the first two of which are the global ones.
        temperature: of the similarities.
        bursts: see `pairs`.
    """
    own = torch.arange(student.shape[1], device=student.device)
    met = pairs(len(student), bursts)
    terms = [F.cross_entropy(student[v] @ teacher[g].T / temperature, own) for v, g in met]
    return torch.stack(terms).mean()


def koleo(features: Tensor) -> Tensor:
    """-mean log distance to the nearest neighbour in the batch, of features (B, D) on the unit sphere."""
    x = F.normalize(features.float(), dim=-1, eps=_EPS)
    with torch.no_grad():
        nearest = (x @ x.T).fill_diagonal_(-1).argmax(1)  # (B,)
    return -torch.log((x - x[nearest]).norm(dim=1) + _EPS).mean()


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy in nats of (M, K) probabilities."""
    return -(probabilities * probabilities.clamp(min=_EPS).log()).sum(-1).mean()
