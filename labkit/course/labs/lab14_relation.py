"""Check of lab 14 on the neighbourhood loss: relations to the teacher's neighbours, compared."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property
from .lab14_js import js_divergence

_K = 3


def _draw_relation(seed: int) -> tuple[Tensor, Tensor, int]:
    return 1.5 * torch.randn(8, 5), 1.5 * torch.randn(8, 5) + 0.7, _K


def nearest(logits: Tensor, k: int) -> Tensor:
    """As `neighbours` of the exercise before."""
    unit = F.normalize(logits.detach(), dim=1)
    return (unit @ unit.T).fill_diagonal_(-torch.inf).topk(k, dim=1).indices


def neighbourhood_loss(student_logits: Tensor, teacher_logits: Tensor, k: int = 3) -> Tensor:
    """Differences to the teacher's k neighbours, compared by their divergence, a scalar.

    Args:
        student_logits: (B, C).
        teacher_logits: (B, C); receives no gradient.
        k: neighbours in the batch.
    """
    teacher_logits = teacher_logits.detach()
    near = nearest(teacher_logits, k)
    ours = student_logits[:, None] - student_logits[near]
    theirs = teacher_logits[:, None] - teacher_logits[near]
    return js_divergence(ours, theirs).mean()


def _relation(
    s: Tensor, t: Tensor, k: int, *, by: str = "teacher", detach: bool = True, sign: int = 1,
    divide: float = 1.0, own: bool = False,
) -> Tensor:  # fmt: skip
    """The loss with other neighbours, another direction or temperature, and a teacher that learns."""
    t = t.detach() if detach else t
    near = {"teacher": nearest(t, k), "student": nearest(s, k)}.get(by)
    if by == "self":
        unit = F.normalize(t.detach(), dim=1)
        near = (unit @ unit.T).topk(k, dim=1).indices
    ours = near if not own else nearest(s, k)
    a, b = sign * (s[:, None] - s[ours]) / divide, sign * (t[:, None] - t[near]) / divide
    return js_divergence(a, b).mean()


def _of_probabilities(s: Tensor, t: Tensor, k: int) -> Tensor:
    p, q, near = s.softmax(1), t.detach().softmax(1), nearest(t, k)
    return js_divergence(p[:, None] - p[near], q[:, None] - q[near]).mean()


def _squares(s: Tensor, t: Tensor, k: int) -> Tensor:
    t, near = t.detach(), nearest(t, k)
    return F.mse_loss(s[:, None] - s[near], t[:, None] - t[near])


def _to_their_mean(s: Tensor, t: Tensor, k: int) -> Tensor:
    t, near = t.detach(), nearest(t, k)
    return js_divergence(s - s[near].mean(1), t - t[near].mean(1)).mean()


def _zero_for_itself(answer: Any, seed: int) -> bool:
    _, t, k = _draw_relation(seed)
    shift = torch.randn(5)  # the same for every image: differences don't see it
    return bool(answer(t + shift, t, k).abs() < 1e-5)


RELATION = Check(
    id="14-neighbourhood-loss",
    title="the neighbourhood loss",
    points=3,
    minutes=10,
    difficulty=3,
    draw=_draw_relation,
    reference=neighbourhood_loss,
    differentiable=(0, 1),
    misconceptions=(
        Misconception(
            "the student's own neighbours",
            lambda s, t, k: _relation(s, t, k, by="student"),
            "The student chooses who is near, and early in training that is chance. The neighbours are the"
            " teacher's.",
        ),
        Misconception(
            "each network with its own neighbours",
            lambda s, t, k: _relation(s, t, k, own=True),
            "Difference j of the student must belong to the same pair of images as the teacher's: one set of"
            " neighbours for both, the teacher's.",
        ),
        Misconception(
            "oneself among the neighbours",
            lambda s, t, k: _relation(s, t, k, by="self"),
            "One of the k differences is always zero in both networks: the image itself is among its"
            " neighbours. Mask it.",
        ),
        Misconception(
            "the teacher learns, too",
            lambda s, t, k: _relation(s, t, k, detach=False),
            "The value is right, but a gradient reaches the teacher's logits. Detach them.",
        ),
        Misconception(
            "the difference turned round",
            lambda s, t, k: _relation(s, t, k, sign=-1),
            "You have z_j - z_i. After a softmax that is another distribution: formula (5) has z_i - z_j.",
        ),
        Misconception(
            "no difference at all",
            lambda s, t, k: js_divergence(s[nearest(t, k)], t.detach()[nearest(t, k)]).mean(),
            "You compare the neighbours' logits, which is what plain distillation does. A relation is the"
            " difference z_i - z_j.",
        ),
        Misconception(
            "the images' own logits",
            lambda s, t, k: js_divergence(s, t.detach()).mean(),
            "No neighbour takes part: these are responses, image by image.",
        ),
        Misconception(
            "differences of probabilities",
            _of_probabilities,
            "First the difference of *logits*, then one softmax, which js_divergence applies itself.",
        ),
        Misconception(
            "compared by squares",
            _squares,
            "Squared differences ask for the teacher's scale, too. Formula (5) compares distributions.",
        ),
        Misconception(
            "the difference to the neighbours' mean",
            _to_their_mean,
            "You averaged the neighbours first. Every neighbour has a difference of its own: (B, k, C).",
        ),
        Misconception(
            "a temperature of 2",
            lambda s, t, k: _relation(s, t, k, divide=2.0),
            "Formula (5) has no temperature.",
        ),
        Misconception(
            "summed over neighbours and images",
            lambda s, t, k: neighbourhood_loss(s, t, k) * len(s) * k,
            "The sum grows with k and with the batch, and so would the weight that you need. Take the mean.",
        ),
        Misconception(
            "summed over the neighbours",
            lambda s, t, k: neighbourhood_loss(s, t, k) * k,
            "The mean runs over the neighbours, too: 1 / (B k).",
        ),
    ),
    properties=(
        Property(
            "it is zero for the teacher's logits plus one constant row",
            _zero_for_itself,
            "What all images have in common cancels in every difference.",
        ),
    ),
    hints=(
        "Find the teacher's neighbours once; then the same differences for both networks.",
        "`z[near]` with near (B, k) has shape (B, k, C), and `z[:, None]` has (B, 1, C). js_divergence gives"
        " (B, k); take its mean.",
        "With B = 3, k = 1 and near = (1, 0, 1): the differences are z_0 - z_1, z_1 - z_0, z_2 - z_1.",
    ),
)
