"""The network that lab 01's checks watch while a student's code trains or evaluates it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...models import Output


class Toy(nn.Module):
    """A classifier small enough to follow: one linear layer behind BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm1d(12), nn.Dropout(0.2), nn.Linear(12, 4)
        self.modes: list[bool] = []
        self.grads: list[bool] = []
        self.graphs: list[bool] = []

    def forward(self, x: Tensor) -> Output:
        self.modes.append(self.training)
        self.grads.append(torch.is_grad_enabled())
        z = self.norm(x.flatten(1))
        logits = self.head(self.drop(z))
        self.graphs.append(logits.requires_grad)
        return Output(logits, z, (), z)


def state(model: nn.Module) -> Tensor:
    return torch.cat([t.detach().flatten().double() for t in model.state_dict().values()])
