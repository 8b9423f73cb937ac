"""The check of lab 08 on CLS features in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception
from .lab08_toys import SIDE, Backbone, processor


def _draw_images(seed: int) -> tuple[Tensor, int]:
    return torch.randint(256, (11, 3, SIDE, SIDE)).byte(), 4


def _observe_extract(extract_cls: Any, images: Tensor, batch_size: int) -> dict[str, Any]:
    backbone = Backbone()  # in train mode, as a network is built
    features = extract_cls(backbone, processor, images, batch_size)
    return {
        "the mode at each batch (True: train)": sorted(set(backbone.modes)),
        "gradients are recorded": any(backbone.grads),
        "the images in each batch": backbone.sizes,
        "the features": features,
    }


def extract_cls(backbone: nn.Module, processor: Any, images: Tensor, batch_size: int) -> Tensor:
    """CLS tokens (N, D), on the CPU, of uint8 images (N, 3, H, W)."""
    backbone.eval()
    features = []
    with torch.inference_mode():
        for batch in images.split(batch_size):
            pixels = processor(images=list(batch), return_tensors="pt")["pixel_values"]
            tokens = backbone(pixel_values=pixels.to(backbone.device)).last_hidden_state  # (B, 1 + P, D)
            features.append(tokens[:, 0].cpu())
    return torch.cat(features)


def _cls(out: Any) -> Tensor:
    return out.last_hidden_state[:, 0]


def _extract(
    backbone: Any, processor: Any, images: Tensor, batch_size: int, *, take: Callable[[Any], Tensor] = _cls,
    evaluate: bool = True, grad: bool = False, join: Callable[[list], Tensor] = torch.cat,
    pixels: Callable[[Tensor], Tensor] | None = None, keep: Callable[[list], list] = list,
) -> Tensor:  # fmt: skip
    if evaluate:
        backbone.eval()
    parts = []
    with torch.set_grad_enabled(grad):
        for batch in keep(images.split(batch_size)):
            values = pixels(batch) if pixels else processor(list(batch), return_tensors="pt").pixel_values
            parts.append(take(backbone(pixel_values=values, output_hidden_states=True)))
    return join(parts)


def _variant(batch: Callable[[int], int] = int, **switches: Any) -> Any:
    return lambda net, proc, images, size: _extract(net, proc, images, batch(size), **switches)


EXTRACT = Check(
    id="08-extract-cls",
    title="CLS features in batches",
    points=3,
    minutes=12,
    difficulty=3,
    draw=_draw_images,
    observe=_observe_extract,
    reference=extract_cls,
    atol=1e-5,
    misconceptions=(
        Misconception(
            "backbone left in train mode",
            _variant(evaluate=False),
            "Dropout (and stochastic depth) is on: the same image gets other features each time. Call"
            " backbone.eval().",
        ),
        Misconception(
            "gradients recorded",
            _variant(grad=True),
            "Nothing is trained here: under torch.inference_mode() no graph is kept, which saves most of the"
            " memory.",
        ),
        Misconception(
            "train mode and gradients",
            _variant(evaluate=False, grad=True),
            "Two lines are missing before the loop: backbone.eval(), and no gradients"
            " (with torch.inference_mode():).",
        ),
        Misconception(
            "the first patch instead of CLS",
            _variant(take=lambda out: out.last_hidden_state[:, 1]),
            "Token 1 is the patch in the upper left corner. CLS stands before the patches, at index 0.",
        ),
        Misconception(
            "the last token",
            _variant(take=lambda out: out.last_hidden_state[:, -1]),
            "The last token is the patch in the lower right corner. CLS stands at index 0.",
        ),
        Misconception(
            "the pooler's output",
            _variant(take=lambda out: out.pooler_output),
            "pooler_output means another thing in every family: for Dinov2Model it is the CLS token, for"
            " ViTModel a further layer, random where the checkpoint has none. Take last_hidden_state[:, 0].",
        ),
        Misconception(
            "the mean over all tokens",
            _variant(take=lambda out: out.last_hidden_state.mean(1)),
            "You average CLS and patches into one vector. This exercise takes the CLS token alone.",
        ),
        Misconception(
            "the mean over the patches",
            _variant(take=lambda out: out.last_hidden_state[:, 1:].mean(1)),
            "That is the next exercise. Here: the CLS token, index 0.",
        ),
        Misconception(
            "the token before the final norm",
            _variant(take=lambda out: out.hidden_states[-1][:, 0]),
            "hidden_states[-1] comes before the final LayerNorm; last_hidden_state comes after it.",
        ),
        Misconception(
            "the tokens of the first image",
            _variant(take=lambda out: out.last_hidden_state[0]),
            "[0] takes the first image with all its tokens. The tokens are the second axis: [:, 0].",
        ),
        Misconception(
            "one image at a time",
            _variant(batch=lambda size: 1),
            "Right features, far too slowly: give the backbone batch_size images at once.",
        ),
        Misconception(
            "all images at once",
            _variant(batch=lambda size: 10**6),
            "This works for eleven images and ends in an out-of-memory error for a hundred thousand. Use"
            " batch_size.",
        ),
        Misconception(
            "the incomplete last batch dropped",
            _variant(keep=lambda parts: parts[:-1]),
            "Eleven images in batches of four: the last batch has three, and its features are missing.",
        ),
        Misconception(
            "only the last batch returned",
            _variant(join=lambda parts: parts[-1]),
            "Collect the features of every batch in a list and join them with torch.cat at the end.",
        ),
        Misconception(
            "batches joined in reverse",
            _variant(join=lambda parts: torch.cat(parts[::-1])),
            "Feature i must belong to image i: the labels are in the order of the images. Append, don't"
            " insert at the front.",
        ),
        Misconception(
            "batches stacked on a new axis",
            _variant(join=torch.stack, keep=lambda parts: parts[:-1]),
            "torch.stack makes a new axis and needs batches of one size: join them with torch.cat.",
        ),
        Misconception(
            "the processor left out",
            _variant(pixels=lambda batch: batch.float() / 255),
            "The backbone was trained on pixels with a certain mean and spread. The processor knows them:"
            " give it the images.",
        ),
        Misconception(
            "images divided by 255 before the processor",
            _variant(pixels=lambda batch: processor(list(batch / 255), return_tensors="pt").pixel_values),
            "The processor divides by 255 itself: hand it the uint8 images as they are.",
        ),
        Misconception(
            "pixels from 0 to 255",
            _variant(pixels=lambda batch: batch.float()),
            "The backbone sees numbers up to 255 instead of numbers around zero. Use the processor.",
        ),
        Misconception(
            "features of unit length",
            _variant(take=lambda out: F.normalize(_cls(out), dim=1)),
            "Good for a nearest-neighbour search, but the exercise asks for the tokens as they are: the probe"
            " scales them.",
        ),
    ),
    hints=(
        "Before the loop: mode, and what about gradients? In the loop: processor, backbone, one token. After"
        " it: one tensor.",
        'for batch in images.split(batch_size): processor(images=list(batch), return_tensors="pt")'
        '["pixel_values"], then backbone(pixel_values=...).last_hidden_state[:, 0]; torch.cat at the end.',
        "Ten images in batches of four are batches of 4, 4 and 2. Tokens (4, 65, 128) give features (4, 128),"
        " and joined they are (10, 128).",
    ),
)
