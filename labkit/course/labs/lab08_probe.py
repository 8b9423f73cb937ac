"""Check of lab 08: the linear probe, its scaler, and the choice of its strength on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from torch import Tensor

from ..checks import Check, Misconception

_STRENGTHS = (0.0005, 0.002, 0.05, 0.055, 20.0, 22.0)  # neighbours tie on validation
_SPREAD = torch.tensor([1.0, 40.0, 0.05, 3.0])  # of the four feature dimensions


def _draw_probe(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Training features and labels, the same for validation, and the features to be classified."""
    centres = torch.randn(3, 4)
    labels = torch.arange(48) % 3
    x = (1.1 * torch.randn(48, 4) + centres[labels]) * _SPREAD + 2 * _SPREAD
    x[15:] += 0.7 * _SPREAD * torch.randn(4)  # the other days' light: new images are never quite the old ones
    return x[:15], labels[:15], x[15:39], labels[15:39], x[39:]


def _observe_probe(fit_probe: Any, train_x, train_y, val_x, val_y, new_x) -> dict[str, Any]:
    strength, probe = fit_probe(train_x, train_y, val_x, val_y, _STRENGTHS)
    return {
        "the chosen C": strength,
        "the probe's probabilities of new images": torch.from_numpy(
            np.asarray(probe.predict_proba(np.asarray(new_x)))
        ),
    }


def fit_probe(
    train_x: Tensor, train_y: Tensor, val_x: Tensor, val_y: Tensor, strengths: Sequence[float]
) -> tuple[float, Pipeline]:
    """The C of `strengths` with the best validation accuracy (the smaller on a tie), and its fitted probe."""
    probes = {}
    for c in sorted(strengths):
        probes[c] = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))
        probes[c].fit(train_x, train_y)
    best = max(probes, key=lambda c: probes[c].score(val_x, val_y))
    return best, probes[best]


class _Scaled:
    """A scaler that is fitted already, before a classifier."""

    def __init__(self, scaler: Any, classifier: Any) -> None:
        self.scaler, self.classifier = scaler, classifier

    def predict_proba(self, x: Any) -> np.ndarray:
        return self.classifier.predict_proba(self.scaler.transform(x) if self.scaler else x)

    def score(self, x: Any, y: Any) -> float:
        return self.classifier.score(self.scaler.transform(x) if self.scaler else x, y)


@lru_cache(maxsize=1024)  # a verdict asks every wrong answer about the same few draws
def _line(features: bytes, labels: tuple[int, ...], c: float) -> LogisticRegression:
    x = np.frombuffer(features).reshape(len(labels), -1)
    return LogisticRegression(C=c, max_iter=2000).fit(x, labels)


def _fit(
    train_x, train_y, val_x, val_y, strengths, *, scale_on: str = "train", judge_on: str = "val",
    inverse: bool = False, scaler: Any = StandardScaler,
) -> tuple[float, dict[float, _Scaled]]:  # fmt: skip
    """A probe for every C with one thing done differently, and the C it chooses."""
    sets = {"train": train_x, "val": val_x, "all": torch.cat([train_x, val_x])}
    scale = scaler().fit(np.asarray(sets[scale_on])) if scale_on in sets else None
    x = scale.transform(np.asarray(train_x)) if scale else np.asarray(train_x)
    probes = {}
    for c in strengths:
        line = _line(x.astype(np.float64).tobytes(), tuple(train_y.tolist()), 1 / c if inverse else c)
        probes[c] = _Scaled(scale, line)
    judges = {"train": (train_x, train_y), "val": (val_x, val_y)}[judge_on]
    return max(probes, key=lambda c: probes[c].score(np.asarray(judges[0]), judges[1])), probes


def _variant(**switches: Any) -> Any:
    def answer(*inputs: Any) -> tuple[float, _Scaled]:
        best, probes = _fit(*inputs, **switches)
        return best, probes[best]

    return answer


def _last_fitted(*inputs: Any) -> tuple[float, _Scaled]:
    best, probes = _fit(*inputs)
    return best, probes[inputs[4][-1]]


def _without_its_scaler(*inputs: Any) -> tuple[float, Any]:
    best, probes = _fit(*inputs)
    return best, probes[best].classifier


def _refitted(train_x, train_y, val_x, val_y, strengths) -> tuple[float, Pipeline]:
    best, _ = fit_probe(train_x, train_y, val_x, val_y, strengths)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=best, max_iter=2000))
    return best, probe.fit(torch.cat([train_x, val_x]), torch.cat([train_y, val_y]))


def _default(train_x, train_y, val_x, val_y, strengths) -> tuple[float, Pipeline]:
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return 1.0, probe.fit(train_x, train_y)


def _without_c(train_x, train_y, val_x, val_y, strengths) -> tuple[float, Pipeline]:
    _, probe = _default(train_x, train_y, val_x, val_y, strengths)
    return min(strengths), probe  # all have the same accuracy: the first wins


def _larger_on_a_tie(train_x, train_y, val_x, val_y, strengths) -> tuple[float, _Scaled]:
    best, probes = _fit(train_x, train_y, val_x, val_y, sorted(strengths, reverse=True))
    return best, probes[best]


def _its_accuracy(*inputs: Any) -> tuple[float, Pipeline]:
    _, probe = fit_probe(*inputs)
    return probe.score(inputs[2], inputs[3]), probe


PROBE = Check(
    id="08-fit-probe",
    title="a linear probe",
    points=3,
    minutes=12,
    difficulty=3,
    draw=_draw_probe,
    observe=_observe_probe,
    reference=fit_probe,
    atol=2e-3,  # solvers stop at slightly different places
    misconceptions=(
        Misconception(
            "features not scaled",
            _variant(scale_on="nothing"),
            "One dimension is a thousand times as wide as another, and the penalty treats all weights alike."
            " Put a StandardScaler before the classifier.",
        ),
        Misconception(
            "the scaler fitted on training and validation images",
            _variant(scale_on="all"),
            "Mean and spread are learned too, so they are part of the probe: fit the scaler on the training"
            " features alone. A pipeline does it for you.",
        ),
        Misconception(
            "the scaler fitted on validation images",
            _variant(scale_on="val"),
            "The scaler must see the training features, and only those.",
        ),
        Misconception(
            "each image scaled instead of each dimension",
            _variant(scaler=Normalizer),
            "Normalizer gives every image unit length. StandardScaler gives every feature dimension mean 0"
            " and spread 1 over the training images.",
        ),
        Misconception(
            "C chosen by the training accuracy",
            _variant(judge_on="train"),
            "On its own training images the weakest penalty nearly always wins. Choose by the accuracy on the"
            " validation images.",
        ),
        Misconception(
            "C taken for the penalty",
            _variant(inverse=True),
            "In scikit-learn C is the *inverse* of the penalty: a small C holds the weights small. Pass it as"
            " it is.",
        ),
        Misconception(
            "strengths not used",
            _default,
            "C = 1 is scikit-learn's default, not a choice. Try every value of `strengths`.",
        ),
        Misconception(
            "every probe with the same C",
            _without_c,
            "You try every value of `strengths`, but all probes are the same: hand it on,"
            " LogisticRegression(C=c, max_iter=2000).",
        ),
        Misconception(
            "the larger C on a tie",
            _larger_on_a_tie,
            "On a tie the smaller C wins: go through sorted(strengths) and replace the best only by one that"
            " is strictly better.",
        ),
        Misconception(
            "the last probe returned",
            _last_fitted,
            "C is right, but the probe is the one fitted last. Keep them all, or keep the best so far.",
        ),
        Misconception(
            "the classifier returned without its scaler",
            _without_its_scaler,
            "Whoever uses your classifier would give it unscaled features. Return scaler and classifier as"
            " one pipeline.",
        ),
        Misconception(
            "refitted on training and validation images",
            _refitted,
            "With the validation labels the probe has more labels than its budget says, and curves over the"
            " budget lose their meaning. Return the probe fitted on the training images.",
        ),
        Misconception(
            "the best accuracy returned in place of C",
            _its_accuracy,
            "The first thing to return is the C itself, not the accuracy it reached.",
        ),
        Misconception(
            "probe and C swapped",
            lambda *inputs: fit_probe(*inputs)[::-1],
            "Return C first, then the probe.",
        ),
    ),
    hints=(
        "One pipeline per C, all fitted on the training images. Which images decide among them?",
        "make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)).fit(train_x, train_y), and"
        " .score(val_x, val_y) to choose. Return the C and its pipeline.",
        "Three values of C with validation accuracies 0.61, 0.66 and 0.64 (and training accuracies 0.7, 0.9"
        " and 1.0): take the second.",
    ),
)
