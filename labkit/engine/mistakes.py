"""Are the mistakes of a classifier reasonable? The share of them that stays among look-alikes.

Accuracy counts all mistakes alike. Where classes come in families of look-alikes, taking one for its
neighbour is a smaller mistake than taking a wren for a jay: cf. Bertinetto et al. 2020, "Making better
mistakes", arXiv 1912.09393. Both scores come with the level that chance would reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import LabkitError
from .evaluate import wilson


class Mistakes(NamedTuple):
    """Where the errors of a classifier go.

    Attributes:
        errors: number of wrong predictions.
        inside: share of them that name a look-alike of the true class; nan without an error.
        interval: 95 % Wilson interval of `inside`.
        mass: of all the probability given to wrong classes, the share that look-alikes get.
        chance: what both shares are for a model that spreads its errors evenly over the wrong classes.
        chance_prior: `inside` for one whose wrong predictions ignore the image, and name classes as often as
            this model's predictions do.
    """

    errors: int
    inside: float
    interval: tuple[float, float]
    mass: float
    chance: float
    chance_prior: float

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.inside:.1%} of {self.errors} errors among look-alikes (95 % interval {low:.1%} to"
            f" {high:.1%}; chance {self.chance:.1%}), {self.mass:.1%} of the probability"
        )


def families(classes: Sequence[str], groups: Sequence[Sequence[str]] | None = None) -> Tensor:
    """The family of every class, (N,) int64, numbered in the order in which they come.

    Args:
        classes: class names.
        groups: names that belong together; None takes the last word of a name for its family, as in
            'red-billed white-capped reedfinch'.

    Raises:
        LabkitError: a class is in no group, or in several.
    """
    if groups is None:
        names = [name.split()[-1] for name in classes]
    else:
        places = [[i for i, group in enumerate(groups) if name in group] for name in classes]
        for name, found in zip(classes, places, strict=True):
            if len(found) != 1:
                raise LabkitError(f"The class '{name}' must be in one family, but it is in {len(found)}.")
        names = [str(found[0]) for found in places]
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names])


def mistakes(logits: Tensor, labels: Tensor, families: Tensor) -> Mistakes:
    """How much of what a classifier gets wrong stays within the family of the true class.

    With the look-alikes `F(y) = {c != y, families[c] = families[y]}` and p = softmax(logits):
    `inside` is the share of wrong predictions in F(y), `mass = sum_i p_i(F(y_i)) / sum_i (1 - p_i(y_i))`.

    Args:
        logits: (n, N).
        labels: (n,) int64.
        families: (N,) int64, see `families`.

    Raises:
        LabkitError: no images, sizes that don't fit together, or no class with a look-alike.
    """
    _check(logits, labels, families)
    rows, p = torch.arange(len(labels)), logits.double().softmax(1)
    alike = families[labels][:, None] == families  # (n, N)
    alike[rows, labels] = False
    predictions = logits.argmax(1)
    wrong = predictions != labels
    errors, hits = int(wrong.sum()), int(alike[rows, predictions].sum())
    off = p.sum(1) - p[rows, labels]  # (n,), 1 - p(y) without its rounding error
    named = torch.bincount(predictions, minlength=logits.shape[1]).double()  # (N,)
    drawn = (alike * named).sum(1) / (named.sum() - named[labels])  # nan where only y is ever named
    return Mistakes(
        errors=errors,
        inside=hits / errors if errors else float("nan"),
        interval=wilson(hits, errors),
        mass=((p * alike).sum() / off.sum()).item(),
        chance=(alike.sum(1).double() / (logits.shape[1] - 1)).mean().item(),
        chance_prior=drawn[wrong].nanmean().item(),
    )


def _check(logits: Tensor, labels: Tensor, families: Tensor) -> None:
    if logits.ndim != 2 or len(logits) == 0 or labels.shape != logits.shape[:1]:
        raise LabkitError(
            f"Logits (n, N) and labels (n,) must belong together, but they are {tuple(logits.shape)} and"
            f" {tuple(labels.shape)}."
        )
    if families.shape != logits.shape[1:]:
        raise LabkitError(
            f"{logits.shape[1]} classes need as many families, but there are {tuple(families.shape)}."
        )
    if len(families.unique()) == len(families):
        raise LabkitError(
            "Every class is a family of its own, so none has a look-alike: give families with several"
            " members, labkit.engine.families(classes, groups)."
        )
