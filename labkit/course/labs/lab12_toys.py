"""What lab 12's checks watch: a student, a CLIP that a mode changes, and layers between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...models import Output


class Student(nn.Module):
    """A classifier of two linear layers: an embedding of 4 numbers and a head of 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Output:
        z = torch.tanh(self.body(x.flatten(1)))
        return Output(self.head(z), z, (), z)


class Distiller(nn.Module):
    """What a public framework trains as one module: `student`, `clip` and the condensation `layer`.

    The student ends with BatchNorm, and `clip` has BatchNorm and dropout: each is another network in train
    mode. `clip` notes the graphs that start in it, the student the modes in which it was asked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.student = _Noting(nn.Linear(6, 4), nn.BatchNorm1d(4))
        self.clip = _Noting(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.3))
        self.layer = nn.Linear(5, 4)


class _Noting(nn.Sequential):
    """Layers that note how they were asked."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.modes: list[bool] = []
        self.graphs: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        self.modes.append(self.training)
        self.graphs.append(torch.is_grad_enabled())
        return out


def state(module: nn.Module) -> Tensor:
    """All parameters and buffers in a row."""
    return torch.cat([t.detach().flatten().double() for t in module.state_dict().values()])
