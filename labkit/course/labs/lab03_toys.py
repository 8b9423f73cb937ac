"""The network that lab 03's checks watch while a student's code freezes, trains or replaces it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...models import Output


class Toy(nn.Module):
    """A classifier small enough to follow: a linear body with BatchNorm and dropout, and a head."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.Dropout(0.2))
        self.head = nn.Linear(5, classes)
        self.modes: list[bool] = []
        self.graphs: list[bool] = []

    def forward(self, x: Tensor) -> Output:
        self.modes.append(self.training)
        z = self.body(x)
        logits = self.head(z)
        self.graphs.append(logits.requires_grad)
        return Output(logits, z, (), z)

    def reset_head(self, num_classes: int) -> Toy:
        """A new head for other classes, as a labkit Classifier makes it."""
        self.head = nn.Linear(5, num_classes)
        return self


def state(model: nn.Module) -> Tensor:
    """All parameters and buffers in a row."""
    return torch.cat([t.detach().flatten().double() for t in model.state_dict().values()])


def trainable(model: nn.Module) -> int:
    """How many of its parameter tensors would be trained."""
    return sum(p.requires_grad for p in model.parameters())
