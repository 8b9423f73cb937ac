"""Check of lab 03 on the score of smarter mistakes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..checks import Check, Misconception, Property

_FAMILIES = torch.tensor([0, 0, 0, 1, 1, 2, 2])


def _draw(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """23 images of 7 classes in 3 families; about half are right, and the errors lean to the family."""
    labels = torch.randint(7, (23,))
    alike = (_FAMILIES[labels][:, None] == _FAMILIES).float()
    logits = torch.randn(23, 7) + 0.7 * alike
    logits[torch.arange(23), labels] += 0.8
    return logits, labels, _FAMILIES


def family_mistakes(logits: Tensor, labels: Tensor, families: Tensor) -> tuple[float, float]:
    """Share of errors among look-alikes, and look-alikes' share of the probability on wrong classes."""
    rows = torch.arange(len(labels))
    alike = families[labels][:, None] == families
    alike[rows, labels] = False
    predictions = logits.argmax(1)
    wrong = predictions != labels
    share = alike[rows, predictions][wrong].float().mean().item()
    p = logits.softmax(1)
    mass = (p * alike).sum() / (1 - p[rows, labels]).sum()
    return share, mass.item()


def _scores(
    logits: Tensor, labels: Tensor, families: Tensor, *, of: str = "errors", own: bool = False,
    soft: bool = True, off: str = "wrong", per_image: bool = False, swap: bool = False,
    only_wrong: bool = False, dim: int = 1, around: str = "label",
) -> tuple[float, float]:  # fmt: skip
    """Both scores with each of their parts switchable."""
    rows = torch.arange(len(labels))
    alike = families[labels][:, None] == families
    if not own:
        alike[rows, labels] = False
    predictions = logits.argmax(1)
    wrong = predictions != labels
    hits = alike[rows, predictions].float()
    right = (~wrong).float()
    share = {
        "errors": hits[wrong].mean(), "images": hits.mean(), "count": hits.sum(),
        "hits too": (hits + right * (hits == 0)).mean(), "outside": 1 - hits[wrong].mean(),
    }[of]  # fmt: skip
    p = logits.softmax(dim) if soft else logits
    if around == "prediction":
        alike = families[predictions][:, None] == families
        alike[rows, labels] = False
    inside = (p * alike).sum(1)
    outside = {
        "wrong": 1 - p[rows, labels], "images": torch.ones(len(labels)), "label": p[rows, labels],
        "prediction": 1 - p[rows, predictions], "nothing": torch.full((len(labels),), 1 / len(labels)),
    }[off]  # fmt: skip
    if only_wrong:
        inside, outside = inside[wrong], outside[wrong]
    mass = (inside / outside).mean() if per_image else inside.sum() / outside.sum()
    found = share.item(), mass.item()
    return found[::-1] if swap else found


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _scores(*inputs, **switches)


def _shift_invariant(answer: Any, seed: int) -> bool:
    logits, labels, families = _draw(seed)
    shifted = answer(logits + torch.randn(len(logits), 1), labels, families)
    return torch.allclose(torch.tensor(shifted), torch.tensor(answer(logits, labels, families)), atol=1e-4)


def _even(answer: Any, seed: int) -> bool:
    families = torch.tensor([0, 0, 0, 1, 1, 1])
    labels = torch.arange(6).repeat(2)
    logits = torch.zeros(12, 6)
    logits[torch.arange(12), (labels + 1) % 6] = 1e-6
    return abs(answer(logits, labels, families)[1] - 2 / 5) < 1e-3


MISTAKES = Check(
    id="03-smarter-mistakes",
    title="two scores for smarter mistakes",
    points=3,
    minutes=12,
    difficulty=3,
    draw=_draw,
    reference=family_mistakes,
    misconceptions=(
        Misconception(
            "the share of all images",
            _variant(of="images"),
            "You divide by all images, so a better model gets a smaller share just because it errs less."
            " The share is one of the *errors*.",
        ),
        Misconception(
            "the number, not the share",
            _variant(of="count"),
            "Divide the errors inside the family by the number of errors.",
        ),
        Misconception(
            "right answers counted as inside the family",
            _variant(of="hits too"),
            "You count the right answers, too: their class is of the family, but they are no errors. Keep"
            " the images with predictions != labels, above and below.",
        ),
        Misconception(
            "the errors outside the family",
            _variant(of="outside"),
            "Your share is that of the errors that leave the family; the smarter mistakes are the others.",
        ),
        Misconception(
            "the true class counted as its own look-alike",
            _variant(own=True),
            "A class is of its own family, so your mass contains the probability of the *right* answer."
            " Take the true class out: alike[rows, labels] = False.",
        ),
        Misconception(
            "logits in place of probabilities",
            _variant(soft=False),
            "The mass is made of probabilities: softmax over the classes first.",
        ),
        Misconception(
            "softmax over the batch",
            _variant(dim=0),
            "Your columns sum to one. Each image has its own distribution over classes: dim=1.",
        ),
        Misconception(
            "divided by the number of images",
            _variant(off="images"),
            "That is the mean probability of look-alikes, which falls as the model gets surer of the right"
            " class. Divide by the probability on *all wrong* classes, the sum of 1 - p(y).",
        ),
        Misconception(
            "divided by the probability of the right class",
            _variant(off="label"),
            "You divide by the probability of the right classes. Below stands what lies on the wrong ones,"
            " the sum of 1 - p(y).",
        ),
        Misconception(
            "the doubt about the prediction",
            _variant(off="prediction"),
            "You divide by what the model leaves beside its own prediction; formula (2) has 1 - p(y), with"
            " the true class y.",
        ),
        Misconception(
            "not divided at all",
            _variant(off="nothing"),
            "That is the sum of the look-alikes' probabilities: divide by the sum of 1 - p(y).",
        ),
        Misconception(
            "look-alikes of the prediction",
            _variant(around="prediction"),
            "You take the look-alikes of the predicted class. Who is a look-alike is decided by the true"
            " class, families[labels].",
        ),
        Misconception(
            "the mean of the ratios",
            _variant(per_image=True),
            "You take a ratio per image and average: an image with a millionth of doubt then counts as much"
            " as one that is all doubt. Sum above, sum below, divide once.",
        ),
        Misconception(
            "the mass of the errors alone",
            _variant(only_wrong=True),
            "The first score looks at the errors alone, the second at all images: a right answer has doubts"
            " too.",
        ),
        Misconception(
            "the two scores swapped",
            _variant(swap=True),
            "Both values are right, in the other order: first the share of errors, then the mass.",
        ),
    ),
    properties=(
        Property(
            "the same for shifted logits", _shift_invariant,
            "Adding a constant to all logits of an image changes no probability, and so neither score.",
        ),
        Property(
            "chance for even probabilities", _even,
            "If all classes are equally probable, two of five wrong classes hold 2/5 of the mass.",
        ),
    ),
    hints=(
        "First a table of booleans (n, N): is class c a look-alike of image i's true class?",
        "Compare families[labels], as a column, with families, and take the true class out. The share reads"
        " that table at the predictions of the wrong images, the mass multiplies it with the probabilities.",
        "families [0, 0, 1], label 1: families[1] == families gives [True, True, False], and without the"
        " label itself [True, False, False].",
    ),
)  # fmt: skip
