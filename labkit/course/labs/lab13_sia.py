"""Check of lab 13 on semantic-image alignment, the first loss of stage 1."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import Check, Misconception, Property

SCALE, TEMPERATURE = 1 / 0.07, 2.0


def _draw_sia(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, float, float]:
    """5 images, 7 classes, both spaces 6 wide so that every mix-up of them runs; no row has length 1."""
    u, v = 2 * torch.randn(5, 6), 3 * torch.randn(5, 6)
    return u, 2 * torch.randn(7, 6), v, 1.5 * torch.randn(7, 6), 4.0 + float(torch.rand(())), 1.7


def sia(
    u: Tensor, texts: Tensor, v: Tensor, vlm_texts: Tensor, scale: float = SCALE,
    temperature: float = TEMPERATURE,
) -> Tensor:  # fmt: skip
    """T^2 KL of the distributions over classes that both spaces give each image; a scalar.

    Args:
        u, texts: (B, D) images and (C, D) classes in the trained space.
        v, vlm_texts: (B, E) and (C, E) in the vision-language model's own; the target, a constant.
        scale, temperature: s and T.
    """
    logits = scale * F.normalize(u, dim=1) @ F.normalize(texts, dim=1).T
    target = scale * F.normalize(v, dim=1) @ F.normalize(vlm_texts, dim=1).T
    p = F.softmax(target.detach() / temperature, dim=1)
    return temperature**2 * F.kl_div(F.log_softmax(logits / temperature, dim=1), p, reduction="batchmean")


def _sia(
    u: Tensor, texts: Tensor, v: Tensor, vlm_texts: Tensor, scale: float = SCALE,
    temperature: float = TEMPERATURE, *, squared: bool = True, scales: tuple[int, int] = (1, 1),
    unit: bool = True, cold: bool = False, swap: bool = False, axis: int = 1, reduction: str = "batchmean",
    detach: bool = True, target_texts: str = "raw", own_texts: str = "condensed", still: bool = False,
    entropy: bool = False, plain: bool = False,
) -> Tensor:  # fmt: skip
    """SIA with each of its parts switchable, for the wrong answers."""
    norm = (lambda x: F.normalize(x, dim=1)) if unit else (lambda x: x)
    asked = {"raw": vlm_texts, "condensed": texts}
    mine = asked[own_texts].detach() if still else asked[own_texts]
    logits = scale ** scales[0] * norm(u) @ norm(mine).T
    target = scale ** scales[1] * norm(v) @ norm(asked[target_texts]).T
    if detach:
        target = target.detach()
    t = 1.0 if cold else temperature
    log_q = F.log_softmax(logits / temperature, dim=axis)
    log_p = F.log_softmax(target / t, dim=axis)
    if entropy:
        loss = -(log_p.exp() * log_q).sum(1).mean()
    else:
        first, second = (log_p, log_q) if swap else (log_q.exp() if plain else log_q, log_p)
        loss = F.kl_div(first, second, reduction=reduction, log_target=True)
    return temperature**2 * loss if squared else loss


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _sia(*inputs, **switches)


def _zero_for_one_geometry(answer: Any, seed: int) -> bool:
    """Turned and stretched, the same directions give the same distributions, also in another width."""
    v, t = torch.randn(4, 5), torch.randn(3, 5)
    turn = torch.linalg.qr(torch.randn(8, 8)).Q[:, :5].T  # (5, 8) with orthogonal rows
    return abs(float(answer(3 * v @ turn, 0.2 * t @ turn, v, t, 5.0, 2.0))) < 1e-5


SIA = Check(
    id="13-sia",
    title="semantic-image alignment",
    points=3,
    minutes=12,
    difficulty=3,
    draw=_draw_sia,
    reference=sia,
    differentiable=(0, 1, 2, 3),
    misconceptions=(
        Misconception(
            "T² forgotten",
            _variant(squared=False),
            "The gradient of the softened KL shrinks like 1 / T²: formula (2) multiplies it back.",
        ),
        Misconception(
            "no logit scale",
            _variant(scales=(0, 0)),
            "Cosines lie in a narrow band, so that the softmax over them is nearly uniform and there is"
            " nothing to learn from. Multiply both sides by `scale` before the softmax.",
        ),
        Misconception(
            "the scale on the target alone",
            _variant(scales=(0, 1)),
            "The target is sharp now, but the prediction never can be: both sides need the scale.",
        ),
        Misconception(
            "the scale on the prediction alone",
            _variant(scales=(1, 0)),
            "Without the scale the target is nearly uniform, and that is what your intermediate learns: both"
            " sides need the scale.",
        ),
        Misconception(
            "divided by the scale",
            _variant(scales=(-1, -1)),
            "The scale multiplies the cosines; dividing flattens them further.",
        ),
        Misconception(
            "products instead of cosines",
            _variant(unit=False),
            "Long rows shout louder than short ones: divide each by its length first, on both sides.",
        ),
        Misconception(
            "the temperature on the prediction alone",
            _variant(cold=True),
            "Divide both logits by T, the target's too.",
        ),
        Misconception(
            "the KL's arguments exchanged",
            _variant(swap=True),
            "The target stands first in formula (2), and it is F.kl_div's *second* argument: F.kl_div(log of"
            " the prediction, target).",
        ),
        Misconception(
            "no logarithm of the prediction",
            _variant(plain=True),
            "F.kl_div takes the *logarithm* of the prediction first: F.log_softmax, not F.softmax.",
        ),
        Misconception(
            "softmax over the images",
            _variant(axis=0),
            "Each image has a distribution over classes: the softmax runs along the classes, dim=1.",
        ),
        Misconception(
            "the mean over classes as well",
            _variant(reduction="mean"),
            "reduction='mean' also divides by the number of classes; formula (2) sums over them:"
            " reduction='batchmean'.",
        ),
        Misconception(
            "the sum over the images",
            _variant(reduction="sum"),
            "Then the loss grows with the batch: formula (2) takes the mean over images.",
        ),
        Misconception(
            "cross-entropy instead of KL",
            _variant(entropy=True),
            "The gradient is the same, but the value never reaches 0, so that nobody sees whether the"
            " spaces agree. Subtract the target's entropy, or use F.kl_div.",
        ),
        Misconception(
            "the target from the condensed texts",
            _variant(target_texts="condensed"),
            "The target now depends on a layer that is being trained: it can move towards the intermediate"
            " instead of leading it. Compare v with `vlm_texts`, the model's own.",
        ),
        Misconception(
            "the prediction from the raw texts",
            _variant(own_texts="raw"),
            "u lives in the D-wide space: compare it with `texts`, the classes in that space.",
        ),
        Misconception(
            "the two kinds of texts exchanged",
            _variant(own_texts="raw", target_texts="condensed"),
            "u goes with `texts`, v with `vlm_texts`: each image with the classes of its own space.",
        ),
        Misconception(
            "a gradient into the target",
            _variant(detach=False),
            "The value is right, but the model's embeddings receive a gradient. The target is a constant:"
            " detach it.",
        ),
        Misconception(
            "the condensed texts detached",
            _variant(still=True),
            "The value is right, but the layer behind `texts` learns nothing. Only the target is a constant.",
        ),
    ),
    properties=(
        Property(
            "zero where both spaces have the same geometry",
            _zero_for_one_geometry,
            "Only angles count: turning a space, stretching it or widening it with zeros changes nothing.",
        ),
    ),
    hints=(
        "Twice the same question, to two spaces: how near is each image to each class? Then a KL.",
        "Cosines with F.normalize(x, dim=1); times scale, over temperature; F.softmax for the target (detach"
        " it), F.log_softmax for the prediction; F.kl_div(..., reduction='batchmean') times T².",
        "One image, two classes, s / T = 5: cosines 0.4 and 0.2 of the target are 2 and 1, p = (0.73, 0.27);"
        " cosines 0.1 and 0.1 of the prediction are q = (0.5, 0.5); KL = 0.11.",
    ),
)
