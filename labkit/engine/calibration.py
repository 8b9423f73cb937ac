"""Do probabilities mean what they say? Reliability in bins, and the one temperature that mends most of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import LabkitError
from .evaluate import ECE_BINS, Evaluation


class Reliability(NamedTuple):
    """Predictions sorted into equal bins of confidence; empty bins are left out.

    `confidence` and `accuracy` are means over the bin, `share` the bin's part of all images, all (b,)
    float64; `ece` is the expected calibration error, that of `Evaluation`.
    """

    confidence: Tensor
    accuracy: Tensor
    share: Tensor
    ece: float


def reliability(logits: Tensor, labels: Tensor) -> Reliability:
    """How often predictions of a given confidence are right (Guo et al. 2017, arXiv 1706.04599).

    Args:
        logits: (n, N).
        labels: (n,).

    Raises:
        LabkitError: no images, or logits and labels of different lengths.
    """
    _check(logits, labels)
    confidence, predicted = logits.double().softmax(1).max(1)
    hit = (predicted == labels).double()
    at = (confidence * ECE_BINS).ceil().long().clamp(1, ECE_BINS) - 1  # (0, 1/15], (1/15, 2/15], ...
    counts = torch.bincount(at, minlength=ECE_BINS).double()
    full = counts > 0
    means = [torch.bincount(at, x, minlength=ECE_BINS)[full] / counts[full] for x in (confidence, hit)]
    return Reliability(*means, counts[full] / len(labels), Evaluation(logits, labels, ()).ece)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T > 0 that minimises the cross-entropy of `logits / T`: temperature scaling (arXiv 1706.04599).

    Fit it on validation images. The predicted classes stay what they are.

    Args:
        logits: (n, N).
        labels: (n,).

    Raises:
        LabkitError: no images, or logits and labels of different lengths.
    """
    from scipy.optimize import minimize_scalar

    _check(logits, labels)
    z = logits.double()

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(z / math.exp(log_temperature), labels).item()

    # convex in 1/T, so with a single minimum in log T as well
    return math.exp(minimize_scalar(loss, bounds=(-7.0, 7.0), method="bounded").x)


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or len(logits) != len(labels) or len(labels) == 0:
        raise LabkitError(
            f"Logits (n, N) and labels (n,) must belong together, but they are {tuple(logits.shape)} and"
            f" {tuple(labels.shape)}."
        )
