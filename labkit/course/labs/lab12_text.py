"""Check of lab 12 on VL2Lite's linguistic loss: two spaces, one of which nobody may move."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...losses import hinton_kd
from ..checks import Check, Misconception, Property

# One width for both spaces, so that a wrong pair of spaces gives a number, not an error.
BATCH, CLASSES, WIDTH = 5, 4, 6
SCALE, TEMPERATURE = 6.0, 2.5


def _sized(*shape: int) -> Tensor:
    return torch.randn(*shape) * (0.5 + 2 * torch.rand(*shape[:-1], 1))


def _draw_linguistic(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, float, float]:
    student, condensed = _sized(BATCH, WIDTH), _sized(CLASSES, WIDTH)
    return student, condensed, _sized(BATCH, WIDTH), _sized(CLASSES, WIDTH), SCALE, TEMPERATURE


def linguistic_loss(
    student_emb: Tensor, condensed_text: Tensor, image_features: Tensor, text_features: Tensor,
    scale: float, temperature: float,
) -> Tensor:  # fmt: skip
    """T^2 / 2 times the batch mean of KL(CLIP over the texts || student over the condensed texts).

    Args:
        student_emb: (B, D).
        condensed_text: (C, D), receives gradient.
        image_features: (B, E).
        text_features: (C, E).
        scale: s > 0.
        temperature: T > 0.
    """
    ours = scale * F.normalize(student_emb, dim=-1) @ F.normalize(condensed_text, dim=-1).T
    theirs = scale * F.normalize(image_features, dim=-1) @ F.normalize(text_features, dim=-1).T
    return hinton_kd(ours, theirs, temperature) / 2


def _variant(
    h: Tensor, a: Tensor, v: Tensor, t: Tensor, scale: float, temperature: float, *,
    factor: float = 1.0, ours: float | None = None, theirs: float | None = None, power: int = 2,
    swap: bool = False, mean: bool = False, axis: int = 1, unit: bool = True, raw: bool = False,
    condensed: bool = False, detach: bool = True, soften_target: bool = True, frozen_text: bool = False,
    images: bool = False, but: str = "", soft: bool = False,
) -> Tensor:  # fmt: skip
    """The loss with each of its parts switchable, for the wrong answers."""
    inputs = zip("havt", (h, a, v, t), strict=True)
    h, a, v, t = (F.normalize(x, dim=-1) if unit and name not in but else x for name, x in inputs)
    a = a.detach() if frozen_text else a
    student = (scale if ours is None else ours) * (v if images else h) @ (t if raw else a).T
    target = (scale if theirs is None else theirs) * v @ (a if condensed else t).T
    target = target.detach() if detach else target
    p = (target / (temperature if soften_target else 1.0)).log_softmax(axis)
    q = (student / temperature).log_softmax(axis)
    p, q = (q, p) if swap else (p, q)
    total = (p.exp() * ((0 if soft else p) - q)).sum()
    return factor * temperature**power / 2 * total / (p.numel() if mean else len(h))


def _switched(**switches: Any) -> Any:
    return lambda *inputs: _variant(*inputs, **switches)


def _zero_if_the_spaces_agree(answer: Any, seed: int) -> bool:
    _, _, v, t, scale, temperature = _draw_linguistic(seed)
    return abs(float(answer(3 * v, 0.5 * t, v, t, scale, temperature))) < 1e-5


def _not_a_matter_of_batch_size(answer: Any, seed: int) -> bool:
    h, a, v, t, *rest = _draw_linguistic(seed)
    twice = answer(torch.cat([h, h]), a, torch.cat([v, v]), t, *rest)
    return torch.allclose(twice, answer(h, a, v, t, *rest), rtol=1e-4)


LINGUISTIC = Check(
    id="12-linguistic-loss",
    title="the linguistic loss",
    points=3,
    minutes=10,
    difficulty=3,
    draw=_draw_linguistic,
    reference=linguistic_loss,
    differentiable=(0, 1, 2, 3),
    misconceptions=(
        Misconception(
            "the half forgotten",
            _switched(factor=2.0),
            "Yours is twice as large: formula (5) has T² / 2.",
        ),
        Misconception(
            "no T²",
            _switched(power=0),
            "The factor T² is missing: without it the gradient shrinks as T grows.",
        ),
        Misconception(
            "T for T²",
            _switched(power=1),
            "The temperature enters squared.",
        ),
        Misconception(
            "a second T²",
            _switched(power=4),
            "hinton_kd already contains T².",
        ),
        Misconception(
            "no logit scale",
            _switched(ours=1.0, theirs=1.0),
            "Softened cosines are nearly the same for every class, on both sides, so that there is nothing"
            " to match. Multiply them by s.",
        ),
        Misconception(
            "the scale on CLIP's side alone",
            _switched(ours=1.0),
            "The student's cosines need the same scale: within [-1, 1] they can't reach CLIP's sharpness.",
        ),
        Misconception(
            "the scale on the student's side alone",
            _switched(theirs=1.0),
            "The target is nearly uniform without its scale: multiply both by s.",
        ),
        Misconception(
            "the arguments swapped",
            _switched(swap=True),
            "CLIP is the target: KL(CLIP || student). hinton_kd takes the student's logits first.",
        ),
        Misconception(
            "the mean over images and classes",
            _switched(mean=True),
            "Sum over the classes, mean over the batch. (The authors' code divides by C as well and then"
            " multiplies by C / 2: mend one without the other and you are off by a factor of C.)",
        ),
        Misconception(
            "C / 2 beside a batch mean",
            _switched(factor=float(CLASSES)),
            "The factor C / 2 in the authors' code undoes a division by C of their reduction='mean'. With"
            " 'batchmean' (and in hinton_kd) there is nothing to undo: T² / 2.",
        ),
        Misconception(
            "cross-entropy with the soft target",
            _switched(soft=True),
            "That trains the same, for it differs from KL by the target's entropy, a constant. Formula (5)"
            " has KL, which is zero where both agree.",
        ),
        Misconception(
            "the student not normalised",
            _switched(but="h"),
            "The student's embeddings have any length: its cosines need F.normalize(student_emb, dim=-1).",
        ),
        Misconception(
            "the condensed texts not normalised",
            _switched(but="a"),
            "A condensed text that is long would attract every image: normalise it.",
        ),
        Misconception(
            "CLIP's vectors not normalised",
            _switched(but="vt"),
            "The target is made of cosines, too: normalise CLIP's images and texts.",
        ),
        Misconception(
            "softmax over the batch",
            _switched(axis=0),
            "Each image has a distribution over the classes, the last axis.",
        ),
        Misconception(
            "nothing normalised",
            _switched(unit=False),
            "Formula (5) speaks of cosines: normalise all four inputs.",
        ),
        Misconception(
            "the student against the raw texts",
            _switched(raw=True),
            "The student's embedding lives in its own space, where texts only come through the condensation"
            " layer. (With D other than E this would not even run.)",
        ),
        Misconception(
            "the target from the condensed texts",
            _switched(condensed=True),
            "Your target passes through a trained layer, and so moves with it. CLIP's answer is"
            " cos(v, t), both raw: that is what keeps this loss honest.",
        ),
        Misconception(
            "CLIP's image in place of the student's",
            _switched(images=True),
            "Nothing depends on the student: the prediction compares h with the condensed texts.",
        ),
        Misconception(
            "only the prediction softened",
            _switched(soften_target=False),
            "T softens both distributions.",
        ),
        Misconception(
            "a gradient into the target",
            _switched(detach=False),
            "The value is right, but CLIP's features receive a gradient: the target is a constant. detach()"
            " it, or let hinton_kd do so.",
        ),
        Misconception(
            "the condensed texts detached",
            _switched(frozen_text=True),
            "The value is right, but the text layer can't learn: it has no other loss than this one.",
        ),
    ),
    properties=(
        Property(
            "zero where both spaces are the same",
            _zero_if_the_spaces_agree,
            "With h = v and condensed texts = t the two distributions are equal, whatever the lengths.",
        ),
        Property(
            "the same for a batch and the batch twice",
            _not_a_matter_of_batch_size,
            "A mean over the batch doesn't grow with it.",
        ),
    ),
    hints=(
        "Two tables of cosines, (B, C) each: one in the student's space, one in CLIP's. Which is the target?",
        "Formula (5): s times cosines of h with the condensed texts, s times cosines of v with t,"
        " hinton_kd(first, second, T) / 2.",
        "CLIP's cosines 0.8 and 0.6, the student's 0.6 and 0.6, s = 10, T = 2: (0.73, 0.27) against"
        " (0.5, 0.5), KL 0.111, times 4 / 2: 0.222.",
    ),
)
