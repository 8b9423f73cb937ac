"""How alike two networks see the same images: linear centred kernel alignment.

`CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))` with `K = X X^T`, `L = Y Y^T` (Kornblith et al. 2019, arXiv
1905.00414). The biased form is `||Y^T X||^2 / (||X^T X|| ||Y^T Y||)` of centred columns; it tends to 1 where
there are more features than samples, whatever they are. The unbiased form takes HSIC_1 of Song et al. 2012
(Nguyen, Raghu and Kornblith 2020, arXiv 2010.15327), stays near 0 there, and can be averaged over batches.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..errors import LabkitError

_TINY = 1e-30  # of a variance; below it the features are the same for every sample
_SMALLEST = {False: 2, True: 4}  # samples that each estimate needs


def cka(x: Tensor, y: Tensor, unbiased: bool = False) -> float:
    """Linear CKA of two sets of features; 1 for features that differ by a rotation and a scale.

    Computed in float64, without (n, n) matrices where the features are fewer than the samples.

    Args:
        x: (n, p), row i belongs to sample i. Pool or flatten maps first: these are different questions.
        y: (n, q), of the same samples in the same order; both from networks in eval mode.
        unbiased: take HSIC_1, which needs n >= 4 and may give slightly negative values; else in [0, 1].

    Raises:
        LabkitError: the shapes don't fit, there are too few samples, or a value is not finite.

    Example:
        >>> x = torch.randn(100, 8)
        >>> round(cka(x, 3 * x.flip(1)), 6)
        1.0
    """
    x, y = _prepare(x, y, unbiased)
    return _ratio(*(_hsic(a, b, unbiased) for a, b in ((x, y), (x, x), (y, y))))


def minibatch_cka(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Unbiased CKA from batches: the mean over batches of each HSIC_1, then one ratio.

    Args:
        pairs: `(x, y)` of the same samples, (n, p) and (n, q) with n >= 4, as for `cka`.

    Raises:
        LabkitError: there is no batch, or one that `cka` refuses.
    """
    total = torch.zeros(3, dtype=torch.float64)
    count = 0
    for pair in pairs:
        x, y = _prepare(*pair, unbiased=True)
        total += torch.stack([_hsic(a, b, True).cpu() for a, b in ((x, y), (x, x), (y, y))])
        count += 1
    if not count:
        raise LabkitError("minibatch_cka needs at least one batch (x, y), but there is none.")
    return _ratio(*total / count)


def _prepare(x: Tensor, y: Tensor, unbiased: bool) -> tuple[Tensor, Tensor]:
    """Both in float64 with centred columns: neither estimate depends on the means, but rounding does."""
    x, y = (torch.as_tensor(values).detach().double() for values in (x, y))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise LabkitError(
            "CKA compares features (n, p) and (n, q) of the same n samples, but they are"
            f" {tuple(x.shape)} and {tuple(y.shape)}: pool or flatten maps first."
        )
    if len(x) < _SMALLEST[unbiased]:
        kind = "Unbiased CKA" if unbiased else "CKA"
        raise LabkitError(f"{kind} needs at least {_SMALLEST[unbiased]} samples, but there are {len(x)}.")
    if not (x.isfinite().all() and y.isfinite().all()):
        raise LabkitError("CKA can't compare features that hold NaN or infinity: look at the network.")
    return x - x.mean(0), y - y.mean(0)


def _hsic(x: Tensor, y: Tensor, unbiased: bool) -> Tensor:
    """Biased (times a constant that cancels in the ratio) or HSIC_1, of centred columns."""
    n = len(x)
    narrow = x.shape[1] * y.shape[1] <= n * n
    trace = (y.T @ x).square().sum() if narrow else ((x @ x.T) * (y @ y.T)).sum()  # tr(K L), either way
    if not unbiased:
        return trace
    diagonal_k, diagonal_l = x.square().sum(1), y.square().sum(1)  # (n,)
    # With centred columns the rows of K add up to 0, and those of K~, without its diagonal, to minus that.
    cross = diagonal_k @ diagonal_l
    return (
        trace - cross + diagonal_k.sum() * diagonal_l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * cross
    ) / (n * (n - 3))


def _ratio(xy: Tensor, xx: Tensor, yy: Tensor) -> float:
    """The unbiased denominators may be negative, the numerator keeps its sign."""
    return float(xy / (xx.clamp(min=_TINY) * yy.clamp(min=_TINY)).sqrt())
