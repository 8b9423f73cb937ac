"""Checks of lab 00: the class decided on, softmax, accuracy, and a teacher left in training mode."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..checks import Check, Misconception, Property

# --- the class a network decides on -------------------------------------------------------------------------


def _draw_logits(seed: int) -> tuple[Tensor]:
    return (2 * torch.randn(5, 7),)


def top_class(logits: Tensor) -> Tensor:
    """The class with the largest logit for every image."""
    return logits.argmax(dim=1)


TOP_CLASS = Check(
    id="00-top-class",
    title="the class a network decides on",
    points=1,
    minutes=2,
    difficulty=1,
    draw=_draw_logits,
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

# --- softmax ------------------------------------------------------------------------------------------------


def softmax(logits: Tensor) -> Tensor:
    """Probabilities of every image; the row's largest logit is subtracted so that exp can't overflow."""
    exp = (logits - logits.max(dim=1, keepdim=True).values).exp()
    return exp / exp.sum(dim=1, keepdim=True)


def _shift(fn, seed: int) -> bool:
    """The same number added to all logits of an image changes nothing."""
    (logits,) = _draw_logits(seed)
    return torch.allclose(fn(logits + 3.0), fn(logits), rtol=1e-4, atol=1e-6)


def _large(fn, seed: int) -> bool:
    """Large logits give finite, right probabilities."""
    (logits,) = _draw_logits(seed)
    return torch.allclose(fn(logits + 1000.0), softmax(logits + 1000.0), rtol=1e-3, atol=1e-5)


def _rows(fn, seed: int) -> bool:
    """Images whose logits lie far apart don't disturb each other."""
    (logits,) = _draw_logits(seed)
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
    draw=_draw_logits,
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

# --- accuracy -----------------------------------------------------------------------------------------------


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
            "whole-number division",
            lambda z, y: int(_hits(z, y).sum()) // len(y),
            "`//` cuts off all that follows the point, and any score below perfect becomes 0: use `/`.",
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

# --- find the bug: a teacher left in training mode ----------------------------------------------------------


def _draw_teacher(seed: int) -> tuple[nn.Module, Tensor]:
    """A small network with BatchNorm and Dropout, in training mode as training leaves it, and images."""
    from ...models import build

    teacher = build("digit_cnn", num_classes=4, widths=(3, 5), hidden=6, dropout=0.5).train()
    teacher(torch.rand(16, 1, 8, 8))  # statistics that no later batch has
    return teacher, torch.rand(6, 1, 8, 8) ** 2


def ask_teacher(teacher: nn.Module, images: Tensor) -> Tensor:
    """The logits of a frozen teacher: no gradient, and layers that behave as in use, not as in training."""
    teacher.requires_grad_(False)
    teacher.eval()
    return teacher(images).logits


def _ask_twice(answer, teacher: nn.Module, images: Tensor) -> dict:
    """Ask about all images, then about the first alone; what was learnt from the questions?"""
    together = answer(teacher, images)
    alone = answer(teacher, images[:1])
    moved = [b.float() for name, b in teacher.named_buffers() if "running" in name]
    return {"batch": together, "first image alone": alone, "BatchNorm statistics afterwards": moved}


def _as_given(teacher: nn.Module, images: Tensor) -> Tensor:
    teacher.requires_grad_(False)
    return teacher(images).logits


def _too_late(teacher: nn.Module, images: Tensor) -> Tensor:
    logits = _as_given(teacher, images)
    teacher.eval()
    return logits


def _only(kind: type[nn.Module]):
    def answer(teacher: nn.Module, images: Tensor) -> Tensor:
        for module in teacher.modules():
            if isinstance(module, kind):
                module.eval()
        return _as_given(teacher, images)

    return answer


FROZEN_TEACHER = Check(
    id="00-frozen-teacher",
    title="a teacher whose answer doesn't depend on the company",
    points=2,
    minutes=4,
    difficulty=2,
    draw=_draw_teacher,
    reference=ask_teacher,
    observe=_ask_twice,
    misconceptions=(
        Misconception(
            "the defect is still there",
            _as_given,
            "`requires_grad_(False)` and `no_grad()` stop gradients, and nothing else: what in a network acts"
            " or changes in training even without them?",
        ),
        Misconception(
            "evaluation mode switched on too late",
            _too_late,
            "You found it, but the first question has been answered by then: switch before the forward pass.",
        ),
        Misconception(
            "all that the teacher returns, not only its logits",
            lambda teacher, images: teacher.eval()(images),
            "A network of this course returns its logits, its embedding and its feature maps together: the"
            " first of them is `.logits`.",
        ),
        Misconception(
            "a copy is asked",
            lambda teacher, images: _as_given(copy.deepcopy(teacher), images),
            "Now the original's statistics stay as they were, but the copy still answers as in training:"
            " change its mode, not its identity.",
        ),
        Misconception(
            "every image asked alone",
            lambda teacher, images: torch.cat([_as_given(teacher, image[None]) for image in images]),
            "Alone, an image is compared with its own statistics instead of those of the training set: the"
            " answers agree with each other and are still wrong.",
        ),
        Misconception(
            "only BatchNorm put in evaluation mode",
            _only(nn.BatchNorm2d),
            "BatchNorm now keeps to its stored statistics, but Dropout still switches half of the hidden"
            " units off at random: switch the whole network.",
        ),
        Misconception(
            "only Dropout put in evaluation mode",
            _only(nn.Dropout),
            "Dropout is quiet now, but BatchNorm still uses the statistics of the batch: switch the whole"
            " network.",
        ),
    ),
    hints=(
        "Go through the kinds of layers you know, and ask of each whether it does the same in training as in"
        " use.",
        "BatchNorm uses the batch's own mean and variance while training, and Dropout draws at random;"
        " every `nn.Module` has one method that switches both.",
        "Before `model` is used on new data one writes `model.eval()`, and `model.train()` before"
        " training goes on. Where does such a line belong here?",
    ),
)

CHECKS = [TOP_CLASS, SOFTMAX, ACCURACY, FROZEN_TEACHER]
