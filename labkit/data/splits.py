"""Seeded, stratified, nested draws: every image has a lot per purpose and seed that ranks it in its class."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import LabkitError
from ..rng import keyed_uniform

VALIDATION, BUDGET, TEST = 1, 2, 3  # purposes: draws of one seed for two purposes are independent


def class_rank(labels: Tensor, ids: Tensor, *keys: int) -> Tensor:
    """Rank of each image among those of its class by a lot that depends on `keys` and its id alone.

    Args:
        labels: (N,) class numbers.
        ids: (N,) stable ids.
        keys: integers such as (seed, purpose).

    Returns:
        (N,) int64 on the CPU; the first k of a class are the images with rank < k.
    """
    labels, ids = labels.cpu(), ids.cpu()
    lots = keyed_uniform(keys, ids, 1)[:, 0]
    order = torch.from_numpy(np.lexsort((ids, lots, labels)))  # by class, then lot, then id
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels)) - starts[labels[order]]
    return rank


def hold_out(
    labels: Tensor, ids: Tensor, classes: tuple[str, ...], size: float, *keys: int
) -> tuple[Tensor, Tensor]:
    """Positions (kept, held out), both ascending, with the same share of every class held out.

    Args:
        labels: (N,) class numbers.
        ids: (N,) stable ids.
        classes: class names, for messages.
        size: share in (0, 1), at least one image a class, or a whole number of images per class.
        keys: integers such as (seed, purpose).

    Raises:
        LabkitError: the size is out of range, or a class would be left without images.
    """
    whole = isinstance(size, int) and not isinstance(size, bool)
    if not (whole and size >= 1) and not (isinstance(size, float) and 0 < size < 1):
        raise LabkitError(
            f"The held-out part must be a share between 0 and 1 or a whole number of images per class,"
            f" not {size}."
        )
    counts = torch.bincount(labels.cpu(), minlength=len(classes))
    take = torch.full_like(counts, size) if whole else (counts * size).round().long().clamp(min=1)
    short = [classes[c] for c in (counts <= take).nonzero()[:, 0].tolist()]
    if short:
        have, need = int(counts[classes.index(short[0])]), int(take[classes.index(short[0])])
        raise LabkitError(
            f"Class '{short[0]}' has {have} image{'s' * (have != 1)} to draw from: holding out {need}"
            " leaves none to train on. Add images or hold out fewer."
        )
    held = class_rank(labels, ids, *keys) < take[labels.cpu()]
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def budget(
    labels: Tensor,
    ids: Tensor,
    classes: tuple[str, ...],
    per_class: int | None,
    fraction: float | None,
    seed: int,
) -> Tensor:
    """Positions, ascending, of a nested label budget; see `ImageSet.few`."""
    if (per_class is None) == (fraction is None):
        raise LabkitError("A label budget is either per_class (images of every class) or fraction (a share).")
    counts = torch.bincount(labels.cpu(), minlength=len(classes))
    if per_class is not None:
        if not isinstance(per_class, int) or not 1 <= per_class <= counts.min():
            scarce = int(counts.argmin())
            raise LabkitError(
                f"per_class={per_class} must be a whole number between 1 and {int(counts.min())},"
                f" the number of images of class '{classes[scarce]}'."
            )
        take = torch.full_like(counts, per_class)
    else:
        if not 0 < fraction <= 1:
            raise LabkitError(f"fraction is a share in (0, 1], but it is {fraction}.")
        take = (counts * fraction).round().long().clamp(min=1)
    return (class_rank(labels, ids, seed, BUDGET) < take[labels.cpu()]).nonzero()[:, 0]
