"""Checks of lab 08: CLS features in batches, and what to keep of a backbone's tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import Check, Misconception
from .lab08_toys import SIDE, Backbone, processor

# --- CLS features, batch by batch -----------------------------------------------------------------------


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

# --- what to keep of the tokens -------------------------------------------------------------------------


def _draw_tokens(seed: int) -> tuple[Tensor, int]:
    registers = 2 + seed % 2
    return torch.randn(3, 1 + registers + 5, 4), registers


def _observe_pool(pool: Any, tokens: Tensor, registers: int) -> dict[str, Any]:
    found = {kind: pool(tokens, kind, registers) for kind in ("cls", "patches", "both")}
    found["patches, no registers"] = pool(tokens, "patches", 0)
    return found


def pool(tokens: Tensor, kind: str, registers: int = 0) -> Tensor:
    """One vector per image from tokens (B, 1 + R + P, D): 'cls' (B, D), 'patches' (B, D), 'both' (B, 2D)."""
    cls = tokens[:, 0]
    patches = tokens[:, 1 + registers :].mean(dim=1)
    return {"cls": cls, "patches": patches, "both": torch.cat([cls, patches], dim=1)}[kind]


def _pool(
    mean: Callable[[Tensor, int], Tensor] = lambda tokens, r: tokens[:, 1 + r :].mean(1),
    both: Callable[[Tensor, Tensor], Tensor] = lambda cls, patches: torch.cat([cls, patches], 1),
) -> Any:
    def answer(tokens: Tensor, kind: str, registers: int = 0) -> Tensor:
        cls, patches = tokens[:, 0], mean(tokens, registers)
        return both(cls, patches) if kind == "both" else cls if kind == "cls" else patches

    return answer


POOL = Check(
    id="08-pool",
    title="CLS, mean patch, or both",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_tokens,
    observe=_observe_pool,
    reference=pool,
    misconceptions=(
        Misconception(
            "the mean over all tokens",
            _pool(lambda tokens, r: tokens.mean(1)),
            "Your mean includes the CLS token (and the registers). Average the patches alone.",
        ),
        Misconception(
            "registers averaged as well",
            _pool(lambda tokens, r: tokens[:, 1:].mean(1)),
            "The registers stand between CLS and the patches and belong to no place: start after them.",
        ),
        Misconception(
            "registers cut off at the end",
            _pool(lambda tokens, r: tokens[:, 1 : tokens.shape[1] - r].mean(1)),
            "You dropped the last patches. The registers come right after CLS: the patches start at 1 + R.",
        ),
        Misconception(
            "CLS forgotten when skipping",
            _pool(lambda tokens, r: tokens[:, r:].mean(1)),
            "Skip the registers *and* the CLS token: the patches start at 1 + R.",
        ),
        Misconception(
            "the sum of the patches",
            _pool(lambda tokens, r: tokens[:, 1 + r :].sum(1)),
            "Divide by the number of patches, or the features grow with the image.",
        ),
        Misconception(
            "the maximum over the patches",
            _pool(lambda tokens, r: tokens[:, 1 + r :].amax(1)),
            "That is max pooling. Formula (1) is a mean.",
        ),
        Misconception(
            "the mean over the features",
            _pool(
                lambda tokens, r: tokens[:, 1 + r :].mean(2),
                lambda cls, patches: torch.cat([cls, patches], 1),
            ),
            "You averaged the D numbers of each patch. The patches are axis 1: .mean(dim=1).",
        ),
        Misconception(
            "one patch instead of their mean",
            _pool(lambda tokens, r: tokens[:, 1 + r]),
            "That is the first patch, the upper left corner. Slice with a colon, then average.",
        ),
        Misconception(
            "both added",
            _pool(both=lambda cls, patches: cls + patches),
            "A sum can't be taken apart again. Put the two vectors side by side: (B, 2D).",
        ),
        Misconception(
            "both averaged",
            _pool(both=lambda cls, patches: (cls + patches) / 2),
            "A mean can't be taken apart again. Put the two vectors side by side: (B, 2D).",
        ),
        Misconception(
            "the patches first",
            _pool(both=lambda cls, patches: torch.cat([patches, cls], 1)),
            "A probe would not mind, but say where things are and keep to it: CLS first.",
        ),
        Misconception(
            "joined along the batch",
            _pool(both=lambda cls, patches: torch.cat([cls, patches], 0)),
            "You have twice as many images now. Join along the features: dim=1.",
        ),
        Misconception(
            "stacked on a new axis",
            _pool(both=lambda cls, patches: torch.stack([cls, patches], 1)),
            "One vector per image, (B, 2D): torch.cat along dim=1, not torch.stack.",
        ),
    ),
    hints=(
        "Write down the axes of tokens, (B, 1 + R + P, D), and where the patches begin.",
        "tokens[:, 0] is CLS, tokens[:, 1 + registers:] the patches; .mean(dim=1) averages over them;"
        " torch.cat(..., dim=1) sets vectors side by side.",
        "With R = 1 and tokens a, r, p, q of one image: CLS is a, the patches' mean (p + q) / 2, and both"
        " together a followed by (p + q) / 2.",
    ),
)
