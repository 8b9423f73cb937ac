"""Checks of lab 00: the class a network decides on, accuracy, and those of softmax and of the bug."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import Check, Misconception, Property
from .lab00_bug import FROZEN_TEACHER
from .lab00_softmax import SOFTMAX, draw_logits, softmax


def top_class(logits: Tensor) -> Tensor:
    """The class with the largest logit for every image."""
    return logits.argmax(dim=1)


TOP_CLASS = Check(
    id="00-top-class",
    title="the class a network decides on",
    points=1,
    minutes=2,
    difficulty=1,
    draw=draw_logits,
    reference=top_class,
    misconceptions=(
        Misconception(
            "argmax over the whole batch",
            lambda z: z.argmax(),
            "Without `dim`, argmax reads the batch as one long list and gives one position for all images"
            " together; say along which axis to look, and every image gets its own answer.",
        ),
        Misconception(
            "one image for every class instead of one class for every image",
            lambda z: z.argmax(dim=0),
            "`dim` names the axis that disappears. Here the images are axis 0 and the classes axis 1: which"
            " of the two should be gone?",
        ),
        Misconception(
            "the largest logit itself, not its position",
            lambda z: z.amax(dim=1),
            "The value says how strong the winner is, not who it is: argmax gives the position, and the"
            " position is the class.",
        ),
        Misconception(
            "both the values and the positions",
            lambda z: z.max(dim=1),
            "`max` with a `dim` returns a pair: the largest values and where they stand. Only the second is"
            " asked for.",
        ),
        Misconception(
            "the smallest logit",
            lambda z: z.argmin(dim=1),
            "A large logit speaks for its class, a small one against it.",
        ),
        Misconception(
            "classes counted from 1",
            lambda z: z.argmax(dim=1) + 1,
            "Classes are counted from 0, like positions: nothing needs to be added.",
        ),
        Misconception(
            "the winner marked in a row of zeros and ones",
            lambda z: torch.nn.functional.one_hot(z.argmax(dim=1), z.shape[1]),
            "That is the one-hot form; here a single whole number per image is enough.",
        ),
    ),
    hints=(
        "The result has shape (B,): one whole number for each image.",
        "Section 3 says which axis holds the classes; `argmax` takes it as `dim`.",
        "The tallest person of every row in a class photo: look along each row, never across rows."
        " For the largest of each column of a table t it would be `t.argmax(dim=0)`.",
    ),
)


def _draw_labelled(seed: int) -> tuple[Tensor, Tensor]:
    """13 images, 3 to 7 of them right: never half, so that hits and misses differ."""
    logits = 2 * torch.randn(13, 7)
    logits[12] = -torch.rand(7)
    logits[12, 1] = 3.0  # the largest value equals the label, its position doesn't
    best = logits.argmax(dim=1)
    labels = (best + torch.randint(1, 7, (13,))) % 7
    right = torch.randperm(12)[: 3 + seed % 5]
    labels[right] = best[right]
    labels[12] = 3
    return logits, labels


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the images whose largest logit belongs to their label."""
    return (logits.argmax(dim=1) == labels).float().mean().item()


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.argmax(dim=1) == labels


def _perfect(fn, seed: int) -> bool:
    """All right is 1, all wrong is 0."""
    logits, _ = _draw_labelled(seed)
    right = logits.argmax(dim=1)
    return abs(float(fn(logits, right)) - 1) < 1e-6 and abs(float(fn(logits, (right + 1) % 7))) < 1e-6


ACCURACY = Check(
    id="00-accuracy",
    title="accuracy from logits and labels",
    points=2,
    minutes=3,
    difficulty=1,
    draw=_draw_labelled,
    reference=accuracy,
    misconceptions=(
        Misconception(
            "the winner looked for along the wrong axis",
            lambda z, y: (z.argmax(dim=0) == y).float().mean().item(),
            "`argmax(dim=0)` gives one image for every class, so there are N numbers to compare with B"
            " labels: your `top_class` has the right axis.",
        ),
        Misconception(
            "largest logits compared with labels",
            lambda z, y: (z.amax(dim=1) == y).float().mean().item(),
            "A label is a class number; compare it with the position of the largest logit, not with its"
            " value.",
        ),
        Misconception(
            "always 0",
            lambda z, y: int(_hits(z, y).sum()) // len(y),
            "Two slips give this: `//` cuts off all that follows the point (use `/`), and `argmax()` without"
            " `dim` gives one position in the whole batch (use `dim=1`).",
        ),
        Misconception(
            "a percentage instead of a share",
            lambda z, y: 100 * accuracy(z, y),
            "A share lies between 0 and 1: no factor of 100; it is added when a number is printed.",
        ),
        Misconception(
            "the number of hits, not their share",
            lambda z, y: int(_hits(z, y).sum()),
            "Divide the number of hits by the number of images.",
        ),
        Misconception(
            "the share of mistakes",
            lambda z, y: 1 - accuracy(z, y),
            "That is the error rate, 1 minus accuracy: count where prediction and label agree.",
        ),
        Misconception(
            "divided by the number of classes",
            lambda z, y: int(_hits(z, y).sum()) / z.shape[1],
            "The mean goes over the B images, axis 0, not over the N classes.",
        ),
        Misconception(
            "hits left as True and False",
            lambda z, y: _hits(z, y).mean(),
            "torch takes no mean of True and False: turn the hits into numbers with `.float()` first.",
        ),
        Misconception(
            "a hit or a miss for every image, without their mean",
            _hits,
            "You have found the hits; one number is asked for, their mean.",
        ),
        Misconception(
            "the mean probability of the right class",
            lambda z, y: softmax(z)[torch.arange(len(y)), y].mean().item(),
            "That rewards confidence. Accuracy only asks whether the label's logit is the largest: hit or"
            " miss.",
        ),
    ),
    properties=(
        Property(
            "all right gives 1 and all wrong gives 0",
            _perfect,
            "Compute it from the logits and labels you are given, without fixed sizes.",
        ),
    ),
    hints=(
        "Predict, compare, average: three short steps.",
        "You wrote the first step in section 3; formula (3) in section 5 is the mean of the comparison.",
        "The share of rainy days in a list of True and False called rain is `rain.float().mean().item()`.",
    ),
)

CHECKS = [TOP_CLASS, SOFTMAX, ACCURACY, FROZEN_TEACHER]
