"""Lab 03's tampered teachers: what is left of soft targets without the similarities of the wrong classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..rng import keyed_uniform

if TYPE_CHECKING:
    from ..models import Classifier

_SHUFFLE = 0xDC  # purpose of the random numbers, apart from those of batches and views

Targets = Callable[[Tensor], Tensor]


@cache
def altered(teacher: Classifier, method: str, temperature: float) -> nn.Module:
    """The teacher itself for 'hinton'; for 'permuted' and 'even' one that keeps its opinion to itself."""
    changes: dict[str, Targets] = {"permuted": permuted, "even": lambda z: even(z, temperature)}
    return Altered(teacher, changes[method]).eval() if method in changes else teacher


class Altered(nn.Module):
    """A teacher whose logits (B, N) pass through a function that tampers with them."""

    def __init__(self, teacher: Classifier, change: Targets) -> None:
        super().__init__()
        self.teacher, self.change = teacher, change
        self.num_classes = teacher.num_classes

    def forward(self, x: Tensor) -> Any:
        """Images (B, C, H, W) in [0, 1] -> the teacher's `Output` with other logits."""
        found = self.teacher(x)
        return found._replace(logits=self.change(found.logits.cpu()).to(found.logits.device))


def permuted(logits: Tensor) -> Tensor:
    """Each row with its largest logit in place and all others in a random order (DKPP, arXiv 1805.04770).

    The order is drawn from a key made of the row itself: the same image always gets the same.
    """
    rows = (logits.double() * 2**20).long().sum(1)
    keys = keyed_uniform((_SHUFFLE,), rows, logits.shape[1])
    top = logits.argmax(1, keepdim=True)
    last = keys.scatter(1, top, 2.0).argsort(1)[:, :-1]  # the places of the others, in random order
    free = keys.new_zeros(keys.shape).scatter(1, top, 1.0).argsort(dim=1, stable=True)[:, :-1]
    return logits.scatter(1, free, logits.gather(1, last))


def even(logits: Tensor, temperature: float) -> Tensor:
    """Each row with the largest probability at `temperature` as it is and the rest spread evenly."""
    count = logits.shape[1]
    log_p = F.log_softmax(logits.double() / temperature, 1)
    top, place = log_p.max(1, keepdim=True)
    rest = torch.log1p(-top.exp().clamp(max=1 - 1e-12)) - torch.log(torch.tensor(count - 1.0))
    return (temperature * rest.expand_as(log_p).scatter(1, place, top)).to(logits.dtype)
