"""Check of lab 12 on one step of VL2Lite."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...data import Batch
from ..checks import Check, Misconception
from .lab12_layer import Condensation
from .lab12_text import linguistic_loss
from .lab12_toys import Student, state
from .lab12_visual import visual_loss

SCALE, TEMPERATURE = 6.0, 2.5
# (progress, slope) of each step: the authors' reading twice, then the other one, where the weight is cut at 1
_MOMENTS = ((0.4, 1 / 8), (0.9, 1 / 8), (0.05, 8.0), (0.7, 8.0))


def _draw_step(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, labels and CLIP's vectors of four batches, and CLIP's vectors of the class texts."""
    n = len(_MOMENTS)
    images = torch.randn(n, 5, 1, 2, 3)
    v, t = F.normalize(torch.randn(n, 5, 7), dim=-1), F.normalize(torch.randn(3, 7), dim=-1)
    return images, torch.randint(3, (n, 5)), v, t


def _observe_step(step: Any, images: Tensor, labels: Tensor, v: Tensor, t: Tensor) -> dict[str, Any]:
    """Four steps of one student and its two layers, by plain gradient descent."""
    student, image_layer, text_layer = Student(), Condensation(7, 4), Condensation(7, 4)
    parts = {"the student": student, "the image layer": image_layer, "the text layer": text_layer}
    optimizer = torch.optim.SGD([w for part in parts.values() for w in part.parameters()], lr=0.3)
    losses = []
    for x, y, vectors, (progress, slope) in zip(images, labels, v, _MOMENTS, strict=True):
        rows = torch.arange(len(y))
        batch = Batch(x, y, rows, 0 * rows, {"features": vectors})
        losses.append(
            step(student, image_layer, text_layer, optimizer, batch, t, progress, slope, SCALE, TEMPERATURE)
        )
    return {
        "a graph behind the returned loss": any(isinstance(x, Tensor) and x.requires_grad for x in losses),
        "the losses": [x.item() if isinstance(x, Tensor) and x.numel() == 1 else x for x in losses],
        **{name: state(part) for name, part in parts.items()},
    }


def vl2lite_step(
    student: nn.Module, image_layer: nn.Module, text_layer: nn.Module, optimizer: torch.optim.Optimizer,
    batch: Batch, texts: Tensor, progress: float, slope: float, scale: float, temperature: float,
) -> float:  # fmt: skip
    """One step on a batch that stores CLIP's 'features' (B, E); `texts` (C, E). Returns the loss."""
    weight = min(1.0, slope * progress)
    out, v = student(batch.image), batch.stored["features"]
    visual = visual_loss(out.embedding, image_layer(v))
    linguistic = linguistic_loss(out.embedding, text_layer(texts), v, texts, scale, temperature)
    loss = weight * F.cross_entropy(out.logits, batch.label) + (1 - weight) * (visual + linguistic) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _step(
    student: Any, image_layer: Any, text_layer: Any, optimizer: Any, batch: Batch, t: Tensor,
    progress: float, slope: float, scale: float, temperature: float, *,
    zero: bool = True, update: bool = True, graph: bool = False, swap: bool = False, cut: bool = True,
    sloped: bool = True, half: bool = True, img: float = 1.0, txt: float = 1.0, hard: bool = True,
    stop: bool = False, one: bool = False, add: bool = False, after: bool = False, asked: bool = True,
    crossed: bool = False, turned: bool = False, mixed: bool = False, all_half: bool = False,
) -> Any:  # fmt: skip
    """The step with each of its parts switchable."""
    weight = (slope if sloped else 1.0) * progress
    weight = min(1.0, weight) if cut else weight
    weight = 1 - weight if swap else weight

    def losses() -> Tensor:
        with torch.set_grad_enabled(asked):
            out, v = student(batch.image), batch.stored["features"]
        first, second = (text_layer, image_layer) if crossed else (image_layer, text_layer)
        condensed = first(v).detach() if stop else first(v)
        visual = visual_loss(*(condensed, out.embedding) if turned else (out.embedding, condensed))
        texts = (first if one else second)(t)
        sharpness = (temperature, scale) if mixed else (scale, temperature)
        linguistic = linguistic_loss(out.embedding, texts, v, t, *sharpness)
        labels = F.cross_entropy(out.logits, batch.label) * (1.0 if hard else 0.0)
        both = (img * visual + txt * linguistic) / (2 if half else 1)
        total = (1.0 if add else weight) * labels + (1.0 if add else 1 - weight) * both
        return total / 2 if all_half else total

    loss = losses()
    if zero:
        optimizer.zero_grad()
    loss.backward()
    if update:
        optimizer.step()
    if after:
        with torch.no_grad():
            loss = losses()
    return loss if graph else loss.item()


def _variant(**switches: Any) -> Any:
    return lambda *inputs: _step(*inputs, **switches)


STEP = Check(
    id="12-step",
    title="one step of VL2Lite",
    points=3,
    minutes=10,
    difficulty=3,
    draw=_draw_step,
    observe=_observe_step,
    reference=vl2lite_step,
    misconceptions=(
        Misconception(
            "the weights swapped",
            _variant(swap=True),
            "Formula (6) gives the labels the weight lambda and CLIP the rest: at the start CLIP alone"
            " speaks.",
        ),
        Misconception(
            "the weight never cut at 1",
            _variant(cut=False),
            "With the other reading, slope 8, lambda would pass 1, and 1 - lambda turn negative: the student"
            " would be driven away from CLIP. Cut it at 1.",
        ),
        Misconception(
            "the progress as the weight",
            _variant(sloped=False),
            "The labels' weight is slope x progress: with the authors' 1/8 it ends at an eighth, not at 1.",
        ),
        Misconception(
            "no schedule",
            _variant(add=True),
            "Labels and CLIP share one unit of weight, lambda and 1 - lambda; yours have 1 each at all"
            " times.",
        ),
        Misconception(
            "the sum of both halves in place of their mean",
            _variant(half=False),
            "Formula (6) divides the two alignment losses by 2.",
        ),
        Misconception(
            "no visual loss",
            _variant(img=0.0),
            "The image layer never moves: the visual loss is missing.",
        ),
        Misconception(
            "no linguistic loss",
            _variant(txt=0.0),
            "The text layer never moves: the linguistic loss is missing.",
        ),
        Misconception(
            "no labels",
            _variant(hard=False),
            "The student's head never moves: the cross-entropy with the labels is missing.",
        ),
        Misconception(
            "the image layer stopped",
            _variant(stop=True),
            "The image layer got no gradient. As published both sides of the visual loss move; section 4"
            " measures what stopping it does.",
        ),
        Misconception(
            "one layer for images and texts",
            _variant(one=True),
            "VL2Lite has two condensation layers: image_layer for v, text_layer for the texts.",
        ),
        Misconception(
            "the two layers exchanged",
            _variant(crossed=True),
            "The image layer condenses CLIP's image vectors, the text layer the texts: yours are exchanged.",
        ),
        Misconception(
            "the visual loss the wrong way round",
            _variant(turned=True),
            "visual_loss(student_emb, condensed) normalises its first argument, the student's embedding. In"
            " your order the student stays as long as it is.",
        ),
        Misconception(
            "scale and temperature exchanged",
            _variant(mixed=True),
            "linguistic_loss takes the scale before the temperature.",
        ),
        Misconception(
            "half of the labels, too",
            _variant(half=False, all_half=True),
            "The 1/2 of formula (6) belongs to the two alignment losses, not to the labels.",
        ),
        Misconception(
            "gradients never set to zero",
            _variant(zero=False),
            "Gradients of earlier batches pile up: call optimizer.zero_grad() before loss.backward().",
        ),
        Misconception(
            "no optimizer step",
            _variant(update=False),
            "Nothing has changed after the step: optimizer.step() is missing, or the gradients are set to"
            " zero before it.",
        ),
        Misconception(
            "the student asked without gradients",
            _variant(asked=False),
            "Only CLIP is frozen, and its vectors are stored already: no torch.no_grad() around the student.",
        ),
        Misconception(
            "the loss returned with its graph",
            _variant(graph=True),
            "Return a number, loss.item(): a list of such tensors keeps the graph of every step alive.",
        ),
        Misconception(
            "the loss after the step",
            _variant(after=True),
            "Return the loss this step was taken on; computing it again costs a second pass.",
        ),
    ),
    hints=(
        "One weight, three losses, and the same three lines of every training step.",
        "weight = min(1, slope * progress); out = student(batch.image); your two losses from out.embedding"
        " and the layers' outputs; formula (6); zero_grad, backward, step.",
        "With lambda = 0.05, cross-entropy 2, visual loss 0.08 and linguistic loss 1.2:"
        " 0.05 x 2 + 0.95 x 1.28 / 2 = 0.708.",
    ),
)
