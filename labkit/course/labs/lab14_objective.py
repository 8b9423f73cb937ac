"""The whole objective of PAND's second stage: labels, alignment with images and texts, neighbourhoods."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...losses import semantic_image_alignment, vl2lite_visual
from ...losses.language import CLIP_SCALE as S
from ...models import Output
from ..checks import Check, Misconception
from .lab14_relation import neighbourhood_loss

_K, _WEIGHT, _T = 2, 0.6, 1.5


def _draw_objective(seed: int) -> tuple[Tensor, ...]:
    """Student logits and embedding, labels, the model's images and anchors, both condensed, w."""
    v, anchors = F.normalize(torch.randn(6, 7), dim=1), F.normalize(torch.randn(4, 7), dim=1)
    student = torch.randn(6, 4), 2 * torch.randn(6, 5)
    condensed = 3 * torch.randn(6, 5), 3 * torch.randn(4, 5)
    return *student, torch.randint(4, (6,)), v, anchors, *condensed, 0.1 + 0.3 * torch.rand(())


def _observe_objective(
    answer: Any, logits: Tensor, embedding: Tensor, labels: Tensor, v: Tensor, anchors: Tensor, image: Tensor,
    text: Tensor, w: Tensor,
) -> Any:  # fmt: skip
    student = Output(logits, embedding, (None,) * 4, None)
    return answer(student, labels, v, anchors, image, text, w.item(), _K, _WEIGHT, _T)


def pand_loss(
    student: Output, labels: Tensor, v: Tensor, anchors: Tensor, image: Tensor, text: Tensor, w: float,
    k: int = 3, weight: float = 1.0, temperature: float = 2.0,
) -> Tensor:  # fmt: skip
    """The loss of one batch in PAND's second stage, a scalar.

    Args:
        student: with `logits` (B, C) and `embedding` (B, D).
        labels: (B,).
        v: (B, E) unit vectors, the model's embeddings of the images.
        anchors: (C, E) unit vectors, the calibrated class texts.
        image: (B, D), condensed v.
        text: (C, D), condensed anchors.
        w: the labels' share, in [0, 1].
        k: neighbours.
        weight: of the neighbourhood term.
        temperature: T of the text term.
    """
    h = F.normalize(student.embedding, dim=1)
    visual = vl2lite_visual(h, F.normalize(image, dim=1))
    linguistic = semantic_image_alignment(h, v, text, temperature, S, vlm_text_emb=anchors)
    relation = neighbourhood_loss(student.logits, S * v @ anchors.T, k)
    labels_term = F.cross_entropy(student.logits, labels)
    return w * labels_term + (1 - w) * (visual + linguistic) / 2 + weight * relation


def _loss(
    student: Output, labels: Tensor, v: Tensor, anchors: Tensor, image: Tensor, text: Tensor, w: float,
    k: int, weight: float, temperature: float, *, half: float = 2.0, halved: str = "both",
    raw_h: bool = False, raw_image: bool = False, still: bool = False, divide: float = 1.0,
    inside: bool = False, by_text: bool = False, heat: float = 1.0, image_too: float = 1.0,
    text_too: float = 1.0,
) -> Tensor:  # fmt: skip
    """The loss with each of its parts switchable."""
    h = F.normalize(student.embedding, dim=1)
    condensed = image if raw_image else F.normalize(image, dim=1)
    condensed = condensed.detach() if still else condensed
    visual = image_too * vl2lite_visual(student.embedding if raw_h else h, condensed)
    linguistic = text_too * semantic_image_alignment(h, v, text, heat * temperature, S, vlm_text_emb=anchors)
    logits = S * h @ F.normalize(text, dim=1).T if by_text else student.logits
    relation = weight * neighbourhood_loss(logits, S * v @ anchors.T / divide, k)
    both = (visual + linguistic) / half if halved == "both" else visual / 2 + linguistic
    both = both + relation if inside else both
    return w * F.cross_entropy(student.logits, labels) + (1 - w) * both + (0 if inside else relation)


def _wrong(**switches: Any) -> Any:
    return lambda *inputs: _loss(*inputs, **switches)


OBJECTIVE = Check(
    id="14-pand-loss",
    title="the objective of the second stage",
    points=4,
    minutes=15,
    difficulty=3,
    draw=_draw_objective,
    observe=_observe_objective,
    reference=pand_loss,
    differentiable=(0, 1, 5, 6),
    misconceptions=(
        Misconception(
            "the shares swapped",
            lambda student, *rest: _loss(student, *rest[:5], 1 - rest[5], *rest[6:]),
            "w is the labels' share: it goes with the cross-entropy, and 1 - w with the alignment.",
        ),
        Misconception(
            "the alignment not halved",
            _wrong(half=1.0),
            "Formula (7) takes the mean of the two alignment terms: divide their sum by 2.",
        ),
        Misconception(
            "only one of the two halved",
            _wrong(halved="visual"),
            "The half belongs to the sum of both terms: mind the brackets.",
        ),
        Misconception(
            "VL2Lite's text term",
            _wrong(text_too=0.5),
            "VL2Lite halves its text term once more. PAND doesn't: semantic_image_alignment is the whole of"
            " formula (6).",
        ),
        Misconception(
            "the embedding not normalised",
            _wrong(raw_h=True),
            "vl2lite_visual normalises nothing: hand it the unit vector h, not the embedding.",
        ),
        Misconception(
            "the condensed image not normalised",
            _wrong(raw_image=True),
            "The condensed image is no unit vector yet, and vl2lite_visual normalises nothing.",
        ),
        Misconception(
            "nothing normalised in the image term",
            _wrong(raw_h=True, raw_image=True),
            "vl2lite_visual normalises nothing: both of its arguments must be made unit vectors first.",
        ),
        Misconception(
            "the condensation layer held still",
            _wrong(still=True),
            "The value is right, but no gradient reaches a_img through the image term. In VL2Lite and PAND"
            " both of its sides learn.",
        ),
        Misconception(
            "cosines as the teacher's logits",
            _wrong(divide=S),
            "Without the scale s all differences of the teacher are tiny, and its distributions uniform.",
        ),
        Misconception(
            "the teacher's logits through a temperature",
            _wrong(divide=_T),
            "The temperature belongs to the text term. The neighbourhood term takes s v t as it is.",
        ),
        Misconception(
            "neighbours in the text space",
            _wrong(by_text=True),
            "The neighbourhood term compares the *classifier's* logits, student.logits, not those of h with"
            " the condensed texts.",
        ),
        Misconception(
            "the neighbourhood term fades",
            _wrong(inside=True),
            "The neighbourhood term stands outside of the brackets: its weight is the same all along.",
        ),
        Misconception(
            "no neighbourhood term",
            lambda *inputs: _loss(*inputs[:-2], 0.0, inputs[-1]),
            "The last term of formula (7) is missing.",
        ),
        Misconception(
            "the neighbourhood term without its weight",
            lambda *inputs: _loss(*inputs[:-2], 1.0, inputs[-1]),
            "The neighbourhood term is not multiplied by `weight`.",
        ),
        Misconception(
            "always three neighbours",
            lambda *inputs: _loss(*inputs[:-3], 3, *inputs[-2:]),
            "Hand k on to neighbourhood_loss: it takes 3 if it is told nothing.",
        ),
        Misconception(
            "no image term",
            _wrong(image_too=0.0),
            "The image term is missing, vl2lite_visual.",
        ),
        Misconception(
            "no text term",
            _wrong(text_too=0.0),
            "The text term is missing, semantic_image_alignment.",
        ),
        Misconception(
            "always a temperature of 2",
            _wrong(heat=2 / _T),
            "Hand the temperature on to semantic_image_alignment: T need not be 2.",
        ),
    ),
    hints=(
        "Four terms: one on the embedding and the image, one on the embedding and the texts, one on the"
        " classifier's logits, and the labels.",
        "`h = F.normalize(student.embedding, dim=1)` goes into the first two; the teacher's logits for the"
        " third are `S * v @ anchors.T`; w belongs to the labels, 1 - w to half the sum of the first two.",
        "With w = 0.1, cross-entropy 2, image 0.1, text 0.7, neighbourhood 0.3 and weight 1 the loss is"
        " 0.1 * 2 + 0.9 * 0.4 + 0.3 = 0.86.",
    ),
)
