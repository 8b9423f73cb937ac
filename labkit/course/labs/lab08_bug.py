"""The bug of lab 08: the best of many probes, chosen by the accuracy that is then reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..checks import Check, Misconception


class _Probe:
    """A linear classifier with given weights."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def score(self, x: Tensor, y: Tensor) -> float:
        return ((x @ self.weight).argmax(1) == y).double().mean().item()


def _draw_bug(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Weights of seven probes, and validation and test images of which each has another best probe."""
    while True:
        weights, truth = torch.randn(7, 3, 4), torch.randn(3, 4)
        sets = [(x, (x @ truth).argmax(1)) for x in (torch.randn(40, 3), torch.randn(17, 3))]
        val, test = (((x @ weights).argmax(2) == y).double().mean(1) for x, y in sets)  # (7,) each
        winners = {int(scores.argmax()) for scores in (val, test, val + test)}
        ties = any(scores.topk(2).values.diff() == 0 for scores in (val, test))
        if len(winners) == 3 and not ties:
            return weights, *sets[0], *sets[1]


def _observe_bug(best_probe: Any, weights: Tensor, *sets: Tensor) -> tuple[str, float]:
    probes = {f"probe {i}": _Probe(w) for i, w in enumerate(weights)}
    name, accuracy = best_probe(probes, sets[:2], sets[2:])
    return name, accuracy


Pair = tuple[Tensor, Tensor]


def best_probe(probes: Mapping[str, Any], val: Pair, test: Pair) -> tuple[str, float]:
    """The name of the probe with the best validation accuracy, and its test accuracy."""
    best_name, best_accuracy = "", -1.0
    for name, probe in probes.items():
        accuracy = probe.score(*val)
        if accuracy > best_accuracy:
            best_name, best_accuracy = name, accuracy
    return best_name, probes[best_name].score(*test)


def _chosen_by(judge: Callable[[Any, Pair, Pair], float], report: str = "test") -> Any:
    def answer(probes: Mapping[str, Any], val: Pair, test: Pair) -> tuple[str, float]:
        name = max(probes, key=lambda name: judge(probes[name], val, test))
        if report == "best test":
            return name, max(probe.score(*test) for probe in probes.values())
        if report == "last test":
            return name, [*probes.values()][-1].score(*test)
        if report == "mean test":
            return name, sum(probe.score(*test) for probe in probes.values()) / len(probes)
        return name, probes[name].score(*(val if report == "val" else test))

    return answer


def _by_val(probe: Any, val: Pair, test: Pair) -> float:
    return probe.score(*val)


BUG = Check(
    id="08-bug",
    title="the choice of the best probe, mended",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_bug,
    observe=_observe_bug,
    reference=best_probe,
    misconceptions=(
        Misconception(
            "the function as it was",
            _chosen_by(lambda probe, val, test: probe.score(*test)),
            "The accuracy that is reported is the one that chose. Of many probes the luckiest on these images"
            " wins. Which images have not been used yet?",
        ),
        Misconception(
            "the validation accuracy reported",
            _chosen_by(_by_val, "val"),
            "The right probe, but now the *validation* accuracy is the lucky one. Report the test accuracy of"
            " the chosen probe, once.",
        ),
        Misconception(
            "the best test accuracy reported",
            _chosen_by(_by_val, "best test"),
            "The name is that of one probe and the accuracy that of another: score the chosen probe.",
        ),
        Misconception(
            "the last probe's accuracy reported",
            _chosen_by(_by_val, "last test"),
            "After the loop `probe` is simply the last one. Score the chosen one, probes[best_name].",
        ),
        Misconception(
            "the mean test accuracy reported",
            _chosen_by(_by_val, "mean test"),
            "An honest number, but not that of the probe you hand over: score the chosen one.",
        ),
        Misconception(
            "validation and test together choose",
            _chosen_by(lambda probe, val, test: probe.score(*val) + probe.score(*test)),
            "The test images still have a say in the choice. Leave them out of it.",
        ),
        Misconception(
            "the worst on validation chosen",
            _chosen_by(lambda probe, val, test: -probe.score(*val)),
            "The comparison is the wrong way round: this probe has the lowest validation accuracy.",
        ),
    ),
    hints=(
        "How often does the loop look at the test images, and what depends on what it sees?",
        "Compare the probes on `val`. After the loop, score the chosen one on `test`, once.",
        "Ten people guess 20 coin flips; the best had 14 right. That is no gift for guessing: let them guess"
        " 20 new flips before you believe it.",
    ),
)
