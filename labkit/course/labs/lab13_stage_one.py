"""Check of lab 13 on the loss of stage 1: who is trained by which term."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models import Output
from ..checks import Check, Misconception
from .lab13_ira import ira
from .lab13_sia import sia

SHARE = 0.3  # of the labels; such that no two weights of the formula agree


def _draw_stage_one(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Logits and embedding of an intermediate, embeddings of 5 images and 4 texts, labels."""
    logits, embedding = torch.randn(5, 4), torch.randn(5, 3)
    v, t = F.normalize(torch.randn(5, 6), dim=1), F.normalize(torch.randn(4, 6), dim=1)
    return logits, embedding, v, t, torch.randint(4, (5,))


def _observe_stage_one(
    answer: Any, logits: Tensor, embedding: Tensor, v: Tensor, t: Tensor, labels: Tensor
) -> dict[str, Any]:
    """The loss, and what it asks of the intermediate and of each of the three layers."""
    # as wide as the model's own space, so that the two can be mixed up and still run
    layers = [nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 6)]
    logits, embedding = (x.clone().requires_grad_() for x in (logits, embedding))
    out = Output(logits, embedding, (None,) * 4, None)
    loss = answer(out, v, t, labels, SHARE, *layers)
    learners = {"logits": logits, "embedding": embedding}
    learners |= {name: layer.weight for name, layer in zip(("project", "image", "text"), layers, strict=True)}
    found = torch.autograd.grad(loss, list(learners.values()), allow_unused=True)
    return {
        "the loss": loss.detach(),
        **{
            f"the gradient of {name}": torch.zeros_like(x) if g is None else g
            for (name, x), g in zip(learners.items(), found, strict=True)
        },
    }


def stage_one_loss(
    out: Output, v: Tensor, t: Tensor, labels: Tensor, share: float, project: nn.Module,
    condense_image: nn.Module, condense_text: nn.Module,
) -> Tensor:  # fmt: skip
    """The loss of DAIT's first stage, a scalar.

    Args:
        out: of the intermediate, with logits (B, C) and embedding (B, W).
        v, t: (B, E) and (C, E), the vision-language model's images and texts, constants.
        labels: (B,).
        share: lambda.
        project: from W to D.
        condense_image, condense_text: from E to D.
    """
    u, condensed, texts = project(out.embedding), condense_image(v), condense_text(t)
    aligned = sia(u, texts, v, t) + ira(u, condensed)
    anchor = sia(condensed, texts.detach(), v, t)
    return share * F.cross_entropy(out.logits, labels) + (1 - share) / 2 * aligned + anchor


def _stage(
    out: Output, v: Tensor, t: Tensor, labels: Tensor, share: float, project: Any, condense_image: Any,
    condense_text: Any, *, hard: Any = lambda s: s, soft: Any = lambda s: (1 - s) / 2,
    hold: Any = lambda s: 1.0, semantic: bool = True, visual: str = "condensed", own: str = "condensed",
    still: bool = True, pulled: bool = False, on_u: bool = False, target: str = "raw", swap: bool = False,
    bracket: bool = True,
) -> Tensor:  # fmt: skip
    """The loss with each of its parts switchable, for the wrong answers."""
    image, text = (condense_text, condense_image) if swap else (condense_image, condense_text)
    u, condensed, texts = project(out.embedding), image(v), text(t)
    asked = {"condensed": texts, "raw": t}
    goal = {"condensed": condensed, "raw": v}
    aligned = sia(u, asked[own], v if target == "raw" else condensed, t if target == "raw" else texts)
    aligned = aligned * semantic
    if visual != "none":
        against = goal[visual]
        difference = F.normalize(u, dim=1) - F.normalize(against if pulled else against.detach(), dim=1)
        aligned = aligned + difference.abs().mean() / (1.0 if bracket else soft(share))
    anchored = u if on_u else condensed
    anchor = sia(anchored, texts.detach() if still else texts, v, t)
    ce = F.cross_entropy(out.logits, labels)
    return hard(share) * ce + soft(share) * aligned + hold(share) * anchor


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _stage(*inputs, **switches)


STAGE_ONE = Check(
    id="13-stage-one",
    title="the loss of stage 1",
    points=3,
    minutes=12,
    difficulty=4,
    draw=_draw_stage_one,
    observe=_observe_stage_one,
    reference=stage_one_loss,
    misconceptions=(
        Misconception(
            "the labels' share on the alignment",
            _variant(hard=lambda s: 1 - s, soft=lambda s: s / 2),
            "lambda weighs the labels, 1 - lambda the alignment: yours are the other way round.",
        ),
        Misconception(
            "not halved",
            _variant(soft=lambda s: 1 - s),
            "SIA and IRA share the weight 1 - lambda: each has half of it.",
        ),
        Misconception(
            "the labels without their weight",
            _variant(hard=lambda s: 1.0),
            "`share` does not weigh the cross-entropy: early in the stage the labels should be silent.",
        ),
        Misconception(
            "the alignment without its weight",
            _variant(soft=lambda s: 0.5),
            "1 - share does not weigh the alignment: late in the stage the labels should lead.",
        ),
        Misconception(
            "SIA alone weighed",
            _variant(bracket=False),
            "The factor (1 - share) / 2 belongs to the sum of SIA and IRA: a bracket is missing.",
        ),
        Misconception(
            "the labels forgotten",
            _variant(hard=lambda s: 0.0),
            "The cross-entropy with the labels is missing: the intermediate would never learn the task.",
        ),
        Misconception(
            "SIA forgotten",
            _variant(semantic=False),
            "Nothing relates the intermediate to the texts: add sia(u, texts, v, t).",
        ),
        Misconception(
            "IRA forgotten",
            _variant(visual="none"),
            "Nothing relates the intermediate to the images' embeddings: add ira(u, condensed).",
        ),
        Misconception(
            "the anchor forgotten",
            _variant(hold=lambda s: 0.0),
            "The image layer is never trained: IRA stops its gradient there, and the term that should hold"
            " it, the last of formula (4), is missing.",
        ),
        Misconception(
            "the anchor weighed with the alignment",
            _variant(hold=lambda s: (1 - s) / 2),
            "The anchor stands outside the bracket. It trains nothing but the image layer, and that layer"
            " should be held as firmly at the end of the stage as at its start.",
        ),
        Misconception(
            "the anchor's texts not detached",
            _variant(still=False),
            "The value is right, but the text layer now learns from the anchor as well: detach the texts"
            " there, so that the anchor trains the image layer alone.",
        ),
        Misconception(
            "the anchor on the intermediate's embedding",
            _variant(on_u=True),
            "The anchor holds the *condensed images*: sia(condensed, ...), not sia(u, ...) a second time.",
        ),
        Misconception(
            "IRA's gradient into the image layer",
            _variant(pulled=True),
            "The value is right, but the image layer is pulled towards the intermediate, and both can"
            " shrink to one constant: call your ira, which detaches its second argument.",
        ),
        Misconception(
            "IRA against the model's own space",
            _variant(visual="raw"),
            "u is D wide and lives in the trained space: compare it with the *condensed* images. (Here both"
            " are equally wide, in general they are not.)",
        ),
        Misconception(
            "SIA against the model's own texts",
            _variant(own="raw"),
            "u lives in the trained space, and so must the texts that it is compared with: the condensed"
            " ones.",
        ),
        Misconception(
            "SIA's target from the condensed space",
            _variant(target="condensed"),
            "SIA's target is now built of layers that are being trained: hand it v and t as the model gives"
            " them.",
        ),
        Misconception(
            "the two condensation layers exchanged",
            _variant(swap=True),
            "condense_image is for v, condense_text for t.",
        ),
    ),
    hints=(
        "Three embeddings of one width first: u, the condensed images, the condensed texts. Then four terms.",
        "Formula (4): share * cross-entropy, plus (1 - share) / 2 times (sia + ira), plus sia(condensed,"
        " texts.detach(), v, t), all with your own functions.",
        "With lambda 0.2, cross-entropy 1.5, SIA 0.4, IRA 0.05 and an anchor of 0.3: 0.2 x 1.5 + 0.4 x 0.45"
        " + 0.3 = 0.78.",
    ),
)
