"""The contract between a method and the training loop: a list of stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ..data import Batch

Losses = Callable[[Batch, float], dict[str, Tensor]]


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Args:
        name: short, for the history and the progress bar.
        module: what is trained; every other parameter of the method is frozen during the stage.
        epochs: length; None takes what `fit` was asked for.
        views: 'augment' for augmented images, 'original' for the images as they are.
        losses: `(batch, progress) -> {"total": scalar, ...}`; None takes the method's own `losses`.
        model: the classifier that validation measures; None takes `method.deployed()`.
    """

    name: str
    module: nn.Module
    epochs: int | None = None
    views: Literal["augment", "original"] = "augment"
    losses: Losses | None = None
    model: nn.Module | None = None
