"""The contract between a method and the training loop: a list of stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ..data import Batch
from ..errors import LabkitError

Losses = Callable[[Batch, float], dict[str, Tensor]]


@dataclass(frozen=True)
class Stage:
    """One stretch of training.

    Args:
        name: short, for the history and the progress bar.
        module: what is trained; every other parameter of the method is frozen during the stage.
        epochs: length; None takes what `fit` was asked for.
        views: 'augment' for augmented images, 'original' for the images as they are; a number V for V fixed
            augmented views, of which epoch e shows e % V. With a bank, 'augment' is the bank's V.
        losses: `(batch, progress) -> {"total": scalar, ...}`; None takes the method's own `losses`.
        model: the classifier that validation measures; None takes `method.deployed()`.
        length: the share of what `fit` was asked for that this stage takes, > 0, where `epochs` is None.
        keep: 'best' puts back the weights of `model` that were best on validation; 'last' measures nothing
            and goes on with the last, for a stage after which `model` can't classify yet.
    """

    name: str
    module: nn.Module
    epochs: int | None = None
    views: Literal["augment", "original"] | int = "augment"
    losses: Losses | None = None
    model: nn.Module | None = None
    length: float = 1.0
    keep: Literal["best", "last"] = "best"


class Step(nn.Module):
    """One batch's losses as a forward pass, so that DistributedDataParallel sees it."""

    def __init__(self, method: nn.Module, losses: Losses) -> None:
        super().__init__()
        self.method, self.losses = method, losses

    def forward(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        try:
            terms = self.losses(batch, progress)
        except LabkitError:
            raise
        except ValueError as error:  # the losses' word for sizes that don't fit
            name, n = getattr(self.method, "name", type(self.method).__name__), len(batch.label)
            raise LabkitError(f"The method '{name}' can't train on batches of {n}: {error}") from error
        check_terms(terms)
        return {name: value if name == "total" else value.detach() for name, value in terms.items()}


def check_terms(terms: object) -> None:
    """Raise LabkitError unless `terms` holds scalar tensors with a `"total"` that can be minimised."""
    if not isinstance(terms, dict) or "total" not in terms:
        found = f"a dict with {sorted(terms)}" if isinstance(terms, dict) else type(terms).__name__
        raise LabkitError(f"A method's losses must return a dict with a 'total', but returned {found}.")
    for name, value in terms.items():
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise LabkitError(f"Every loss must be a scalar tensor, but '{name}' is {found}: take its mean.")
    if not terms["total"].requires_grad:
        raise LabkitError(
            "The total loss depends on nothing that is trained: compute the student's output outside"
            " no_grad, and don't detach it."
        )
