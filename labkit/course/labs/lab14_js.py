"""Check of lab 14 on the Jensen-Shannon divergence, in logarithms."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..checks import Check, Misconception, Property


def _draw_divergence(seed: int) -> tuple[Tensor, Tensor]:
    """Logits of two distributions; in one row both give no probability to some of the classes."""
    first, second = 2 * torch.randn(4, 3, 6), 2 * torch.randn(4, 3, 6)
    for x in (first, second):
        x[1, 2] = torch.tensor([300.0, 299.0, -300.0, -280.0, 0.0, 1.0]) + torch.randn(6)
    return first, second


def js_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence (...) of the softmaxes of logits (..., C), natural logarithm."""
    log_p, log_q = first.log_softmax(-1), second.log_softmax(-1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    terms = log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)
    return terms.sum(-1) / 2


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def _naive(first: Tensor, second: Tensor) -> Tensor:
    p, q = first.softmax(-1), second.softmax(-1)
    m = (p + q) / 2
    return ((p * (p / m).log()).sum(-1) + (q * (q / m).log()).sum(-1)) / 2


def _geometric(first: Tensor, second: Tensor) -> Tensor:
    log_p, log_q = first.log_softmax(-1), second.log_softmax(-1)
    log_m = (log_p + log_q) / 2
    return (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2


def _of_mixed_logits(first: Tensor, second: Tensor) -> Tensor:
    log_m = ((first + second) / 2).log_softmax(-1)
    return (_kl(first.log_softmax(-1), log_m) + _kl(second.log_softmax(-1), log_m)) / 2


def _to_mixture(first: Tensor, second: Tensor) -> Tensor:
    """KL of the mixture from each: the wrong way round, in log space."""
    log_p, log_q = first.log_softmax(-1), second.log_softmax(-1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (_kl(log_m, log_p) + _kl(log_m, log_q)) / 2


def _at_most_log_two(answer: Any, seed: int) -> bool:
    apart = 80 * torch.eye(2)
    value = answer(apart[:1], apart[1:])
    return bool((answer(*_draw_divergence(seed)) <= math.log(2) + 1e-5).all()) and math.isclose(
        value.item(), math.log(2), rel_tol=1e-4
    )


def _symmetric(answer: Any, seed: int) -> bool:
    first, second = _draw_divergence(seed)
    return torch.allclose(answer(first, second), answer(second, first), rtol=1e-4, atol=1e-6)


def _zero_for_shifted(answer: Any, seed: int) -> bool:
    first, _ = _draw_divergence(seed)
    return torch.allclose(answer(first, first + 3.0), torch.zeros(4, 3), atol=1e-4)


DIVERGENCE = Check(
    id="14-js",
    title="the Jensen-Shannon divergence of two rows of logits",
    points=2,
    minutes=10,
    difficulty=3,
    draw=_draw_divergence,
    reference=js_divergence,
    differentiable=(0, 1),
    atol=1e-5,
    misconceptions=(
        Misconception(
            "logarithms of zero",
            _naive,
            "A probability that underflows to 0 has the logarithm minus infinity, and 0 times that is NaN."
            " Stay in logarithms: log_softmax, and torch.logaddexp for the mean.",
        ),
        Misconception(
            "only the first half",
            lambda a, b: (
                _kl(a.log_softmax(-1), torch.logaddexp(a.log_softmax(-1), b.log_softmax(-1)) - math.log(2))
                / 2
            ),
            "The second distribution's divergence from the mean is missing.",
        ),
        Misconception(
            "not halved",
            lambda a, b: 2 * js_divergence(a, b),
            "Twice the value: formula (4) has one half before the sum of both divergences.",
        ),
        Misconception(
            "no mean in between",
            lambda a, b: (
                (_kl(a.log_softmax(-1), b.log_softmax(-1)) + _kl(b.log_softmax(-1), a.log_softmax(-1))) / 2
            ),
            "That is KL in both directions, which has no bound. Both are compared with their mean m.",
        ),
        Misconception(
            "the Kullback-Leibler divergence",
            lambda a, b: _kl(a.log_softmax(-1), b.log_softmax(-1)),
            "That is KL(p || q): not symmetric, and without a bound. Formula (4) compares both with m.",
        ),
        Misconception(
            "the mean forgotten as a half",
            lambda a, b: js_divergence(a, b) - math.log(2),
            "m is *half* of p + q: subtract log 2 from logaddexp.",
        ),
        Misconception(
            "a mean of logarithms",
            _geometric,
            "The mean of the logarithms is the logarithm of a geometric mean, and its sum over classes is not"
            " 1. m is the mean of the probabilities: torch.logaddexp(log_p, log_q) - log 2.",
        ),
        Misconception(
            "a mean of logits",
            _of_mixed_logits,
            "You mixed the logits; m is the mean of the two softmaxes.",
        ),
        Misconception(
            "the divergences turned round",
            _to_mixture,
            "KL(m || p) weighs by m. Formula (4) has m as second argument, so p and q are the weights.",
        ),
        Misconception(
            "in bits",
            lambda a, b: js_divergence(a, b) / math.log(2),
            "That is the divergence in bits, at most 1. Formula (4) takes the natural logarithm: at most"
            " log 2.",
        ),
        Misconception(
            "the square root",
            lambda a, b: js_divergence(a, b).clamp(min=1e-12).sqrt(),
            "That is the Jensen-Shannon *distance*, the root of the divergence.",
        ),
        Misconception(
            "averaged over the classes",
            lambda a, b: js_divergence(a, b) / a.shape[-1],
            "A divergence is a sum over the classes, not a mean: the average grows small with their number.",
        ),
        Misconception(
            "summed by kl_div's batchmean",
            lambda a, b: js_divergence(a, b).sum() / len(a),
            'One number for each row, please: F.kl_div(..., reduction="none") and a sum over the last axis.',
        ),
        Misconception(
            "the average of all rows",
            lambda a, b: js_divergence(a, b).mean(),
            "One number for each row, please; the mean over rows belongs to the loss, the next function.",
        ),
    ),
    properties=(
        Property(
            "it is at most log 2", _at_most_log_two, "Two distributions that share no class have log 2."
        ),
        Property("both are treated alike", _symmetric, "Swap the arguments: the value stays."),
        Property(
            "a constant added to all logits changes nothing", _zero_for_shifted, "A softmax doesn't see it."
        ),
    ),
    hints=(
        "Three logarithms, log p, log q and log m; then a sum over the classes, weighted by p and by q.",
        "`log_p = first.log_softmax(-1)`, likewise log_q; `log_m = torch.logaddexp(log_p, log_q) -"
        " math.log(2)`; weights are `log_p.exp()` and `log_q.exp()`.",
        "p = (1, 0), q = (0.5, 0.5): m = (0.75, 0.25). Half of 1 ln(1/0.75) is 0.144, half of"
        " 0.5 ln(0.5/0.75) + 0.5 ln(0.5/0.25) is 0.072: together 0.216.",
    ),
)
