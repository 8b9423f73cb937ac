"""Lab 03's two small worlds: the error of a risk estimate with hard or soft targets, and a PAC-Bayes bound.

Both are exact enough to check by hand: the first samples labels from probabilities it knows, the second
bounds the error of a linear classifier with Gaussian weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import LabkitError

_CLASSES, _INPUTS = 5, 4


class RiskErrors(NamedTuple):
    """Mean squared errors of a risk estimate from N examples, by the kind of target; see `risk_errors`."""

    sizes: list[int]
    hard: list[float]
    bayes: list[float]
    teacher: list[float]
    bias: float  # squared, what the teacher's error never loses


def risk_errors(
    sizes: Sequence[int], teacher_noise: float = 0.7, draws: int = 4000, seed: int = 0
) -> RiskErrors:
    """How far estimates of one predictor's risk are off, in a world whose class probabilities are known.

    An estimate is the mean over N inputs of sum_c t_c loss_c, with targets t that are sampled labels, the
    true probabilities p*, or a teacher's, wrong by `teacher_noise` (Menon et al. 2021, arXiv 2005.10419).
    Each mean squared error is variance / N + squared bias, of a large sample.

    Args:
        sizes: numbers of labelled examples N.
        teacher_noise: standard deviation of what is added to the true logits.
        draws: inputs per unit of the sample from which variances and the bias are computed, times 50.
        seed: of the world.
    """
    random = torch.Generator().manual_seed(seed)
    weights, predictor, wrong = (
        torch.randn(_INPUTS, _CLASSES, generator=random, dtype=torch.float64) for _ in range(3)
    )
    x = torch.randn(50 * draws, _INPUTS, generator=random, dtype=torch.float64)
    losses = -F.log_softmax(x @ predictor, 1)  # (n, C)
    truth = (x @ weights).softmax(1)
    given = (x @ (weights + teacher_noise * wrong)).softmax(1)
    labels = torch.multinomial(truth, 1, generator=random)
    terms = {
        "hard": losses.gather(1, labels)[:, 0],
        "bayes": (truth * losses).sum(1),
        "teacher": (given * losses).sum(1),
    }
    bias = float((terms["teacher"] - terms["bayes"]).mean() ** 2)
    spread = {name: float(term.var()) for name, term in terms.items()}
    curves = {name: [variance / n for n in sizes] for name, variance in spread.items()}
    curves["teacher"] = [value + bias for value in curves["teacher"]]
    return RiskErrors(list(sizes), **curves, bias=bias)


# PAC-Bayes --------------------------------------------------------------------------------------------------


class Bound(NamedTuple):
    """A PAC-Bayes bound: KL(posterior, prior), the empirical Gibbs error, what bounds the true one, that on
    held-out images, and the number of images that the bound is computed on."""

    divergence: float
    empirical: float
    bound: float
    test: float
    images: int


def kl_inverse(q: float, c: float) -> float:
    """The largest p in [q, 1] with kl(q, p) <= c, kl being that of two coins.

    Raises:
        LabkitError: q is outside [0, 1], or c negative.
    """
    if not 0 <= q <= 1 or not c >= 0:
        raise LabkitError(f"kl_inverse needs q in [0, 1] and c of at least 0, but they are {q} and {c}.")

    def kl(p: float) -> float:
        terms = [(q, p), (1 - q, 1 - p)]
        return sum(a * math.log(a / b) if b > 0 else math.inf for a, b in terms if a > 0)

    low, high = q, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if kl(middle) <= c else (low, middle)
    return low


def bounded(
    prior: Tensor,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    sigma: float = 0.1,
    delta: float = 0.05,
    draws: int = 300,
    seed: int = 0,
) -> Bound:
    """Fit a linear classifier with Gaussian weights around a prior mean, and bound its error.

    Prior N(prior, sigma^2), posterior N(w, sigma^2) with w minimising cross-entropy + KL / n. The bound holds
    with probability 1 - delta over the training images (Maurer 2004, cs/0411099; the Gibbs error itself is
    estimated by `draws` classifiers, Langford and Caruana 2002), if neither prior nor sigma have seen them.

    Args:
        prior: (D, C), the mean weights of the prior.
        train: inputs (n, D) and labels (n,) that the bound is computed on.
        test: likewise, to compare with.
        sigma: standard deviation of both Gaussians.
        delta: probability with which the bound may fail; half is for the estimate by draws.
        draws: classifiers drawn from the posterior.
        seed: of the draws.
    """
    x, y = train
    w = prior.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        divergence = (w - prior).square().sum() / (2 * sigma**2)
        loss = F.cross_entropy(x @ w, y) + divergence / len(y)
        loss.backward()
        return loss

    optimizer.step(objective)
    w = w.detach()
    random = torch.Generator().manual_seed(seed)
    drawn = w + sigma * torch.randn(draws, *w.shape, generator=random)  # (draws, D, C)

    def gibbs(inputs: Tensor, labels: Tensor) -> float:
        wrong = [(inputs @ v).argmax(1) != labels for v in drawn]
        return torch.stack(wrong).double().mean().item()

    divergence = ((w - prior).square().sum() / (2 * sigma**2)).item()
    empirical = gibbs(x, y)
    upper = kl_inverse(empirical, math.log(4 / delta) / draws)
    n = len(y)
    bound = kl_inverse(upper, (divergence + math.log(4 * math.sqrt(n) / delta)) / n)
    return Bound(divergence, empirical, bound, gibbs(*test), n)


def linear_fit(x: Tensor, targets: Tensor, penalty: float = 1e-3) -> Tensor:
    """Weights (D, C) of a linear classifier fitted to targets: labels (n,), or probabilities (n, C)."""
    classes = int(targets.max()) + 1 if targets.ndim == 1 else targets.shape[1]
    w = torch.zeros(x.shape[1], classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ w, targets) + penalty * w.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return w.detach()
