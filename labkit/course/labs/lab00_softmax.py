"""Lab 00: softmax written by hand, safe for large logits."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import Check, Misconception, Property


def draw_logits(seed: int) -> tuple[Tensor]:
    return (2 * torch.randn(5, 7),)


def softmax(logits: Tensor) -> Tensor:
    """Probabilities of every image; the row's largest logit is subtracted so that exp can't overflow."""
    exp = (logits - logits.max(dim=1, keepdim=True).values).exp()
    return exp / exp.sum(dim=1, keepdim=True)


def _shift(fn, seed: int) -> bool:
    """The same number added to all logits of an image changes nothing."""
    (logits,) = draw_logits(seed)
    return torch.allclose(fn(logits + 3.0), fn(logits), rtol=1e-4, atol=1e-6)


def _large(fn, seed: int) -> bool:
    """Large logits give finite, right probabilities."""
    (logits,) = draw_logits(seed)
    return torch.allclose(fn(logits + 1000.0), softmax(logits + 1000.0), rtol=1e-3, atol=1e-5)


def _rows(fn, seed: int) -> bool:
    """Images whose logits lie far apart don't disturb each other."""
    (logits,) = draw_logits(seed)
    far = logits + torch.tensor([0.0, 400.0, -400.0, 800.0, -800.0])[:, None]
    return torch.allclose(fn(far), softmax(far), rtol=1e-3, atol=1e-5)


def _spread(fn, seed: int) -> bool:
    """One class far ahead of the others of its image gets all the probability."""
    logits = torch.zeros(3, 4)
    logits[torch.arange(3), torch.tensor([1, 3, 0])] = 500.0
    return torch.allclose(fn(logits), (logits > 0).float(), atol=1e-6)


SOFTMAX = Check(
    id="00-softmax",
    title="softmax by hand",
    points=2,
    minutes=5,
    difficulty=2,
    draw=draw_logits,
    reference=softmax,
    misconceptions=(
        Misconception(
            "normalised over the batch",
            lambda z: z.softmax(dim=0),
            "Here every column sums to one: the images of the batch compete with each other. The classes of"
            " one image should: they are axis 1.",
        ),
        Misconception(
            "divided by the sum over everything",
            lambda z: z.exp() / z.exp().sum(),
            "Here the whole batch sums to one. Each image has its own sum: give `sum` a `dim`, and"
            " `keepdim=True` so that it can be divided by.",
        ),
        Misconception(
            "no exponential",
            lambda z: z / z.sum(dim=1, keepdim=True),
            "Formula (1) takes exp of the logits before it adds them up; without it, negative logits give"
            " negative probabilities.",
        ),
        Misconception(
            "never divided by the sum",
            lambda z: z.exp(),
            "These are the numerators of formula (1). A row of probabilities sums to one: what must each"
            " be divided by?",
        ),
        Misconception(
            "divided by the largest instead of the sum",
            lambda z: (z - z.amax(dim=1, keepdim=True)).exp(),
            "The largest entry of each row is 1, so the row sums to more than one. Subtracting the maximum is"
            " only for safety; the division by the row's sum is still to come.",
        ),
        Misconception(
            "the reduced axis dropped",
            lambda z: z.exp() / z.exp().sum(dim=1),
            "A maximum or sum over `dim=1` has shape (B,), which cannot be lined up with (B, N):"
            " `keepdim=True` leaves it as (B, 1).",
        ),
        Misconception(
            "values and positions subtracted together",
            lambda z: z - z.max(dim=1, keepdim=True),
            "`max` with a `dim` returns a pair, the largest numbers and where they stand: the numbers are its"
            " `.values`.",
        ),
        Misconception(
            "the maximum subtracted after the exponential",
            lambda z: (z.exp() - z.exp().amax(dim=1, keepdim=True)) / z.exp().sum(dim=1, keepdim=True),
            "Subtract it from the logits, inside exp: then numerator and denominator shrink by the same"
            " factor and the quotient stays.",
        ),
        Misconception(
            "the sign of the logits turned",
            lambda z: (-z).softmax(dim=1),
            "The largest logit must get the largest probability: look at the sign inside exp.",
        ),
        Misconception(
            "the logarithm of the probabilities",
            lambda z: z.log_softmax(dim=1),
            "That is log-softmax: right inside a loss, but probabilities lie between 0 and 1.",
        ),
        Misconception(
            "a sigmoid for every class",
            lambda z: z.sigmoid(),
            "A sigmoid judges every class on its own, and the row need not sum to one; in softmax the"
            " classes of an image share one sum.",
        ),
    ),
    properties=(
        Property(
            "adding the same number to all logits of an image changes nothing",
            _shift,
            "Only differences between logits count in formula (1): what else enters your result?",
        ),
        Property(
            "large logits give finite probabilities",
            _large,
            "exp overflows to infinity, and infinity over infinity is NaN. Adding a number to all logits of"
            " an image changes nothing, so choose one that makes the largest of them 0 before exp.",
        ),
        Property(
            "every image is treated on its own, however far its logits lie from the others'",
            _rows,
            "One maximum for the whole batch leaves a row with much smaller logits with nothing but zeros:"
            " subtract each row's own, with `dim=1` and `keepdim=True`.",
        ),
        Property(
            "a class far ahead of the others gets all the probability",
            _spread,
            "Subtract the largest logit of the row: with the mean, or the smallest, exp can still overflow.",
        ),
    ),
    differentiable=(0,),
    hints=(
        "Three steps: make the logits safe, take exp, divide. Each keeps the shape (B, N).",
        "Formula (2) in section 4, with `dim=1` for the classes; `keepdim=True` leaves (B, 1).",
        "Shares of a row of prices `p` of shape (B, N) would be `p / p.sum(dim=1, keepdim=True)`."
        " Softmax is the same with exp of the safe logits in the place of p.",
    ),
)
