"""Texts encoded once by a frozen vision-language model, and kept like a bank of images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import LabkitError
from .bank_key import key_of, module_digest, value_digest
from .bank_store import Parts, Store

VERSION = 1
_BATCH = 256  # texts encoded at once


def text_anchors(vlm: nn.Module, prompts: Sequence[str], *, keep: bool = True) -> Tensor:
    """`vlm.encode_text(prompts)`, encoded once and kept in the cache beside the feature banks.

    Args:
        vlm: a module with `encode_text(list of str) -> (C, E)`; of its `tokenizer`, if it has one, the
            tokens count, so that another vocabulary gives other anchors.
        prompts: C texts.
        keep: False encodes without touching a file.

    Returns:
        (C, E) float32 in the order of `prompts`, on the model's device.

    Raises:
        LabkitError: no prompts, one string instead of a list, no `encode_text`, or an anchor is not finite.
    """
    encode = getattr(vlm, "encode_text", None)
    if not isinstance(vlm, nn.Module) or not callable(encode):
        raise LabkitError(f"{type(vlm).__name__} has no encode_text: give a vision-language model.")
    if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
        raise LabkitError("text_anchors takes a list of texts, one string each: put the prompts in a list.")
    prompts = list(prompts)
    if not prompts:
        raise LabkitError("text_anchors needs at least one prompt, but the list is empty.")
    facts = json.loads(json.dumps(_facts(vlm, prompts)))
    store = Store(key_of(facts), facts, 1, len(prompts), _BATCH, "float32", keep)
    modes = {module: module.training for module in vlm.modules()}
    vlm.eval()
    try:
        store.complete(lambda view, first, last: _encode(encode, prompts[first:last]))
    finally:
        for module, mode in modes.items():
            module.training = mode
    device = next((t.device for t in (*vlm.parameters(), *vlm.buffers())), torch.device("cpu"))
    return torch.from_numpy(np.array(store.open("features", 0))).to(device)


def _facts(vlm: nn.Module, prompts: list[str]) -> dict[str, Any]:
    tokenizer = getattr(vlm, "tokenizer", None)
    return {
        "version": VERSION,
        "kind": "texts",
        "encoder": type(vlm).__qualname__,
        "model": module_digest(vlm),
        "prompts": prompts,
        "tokens": value_digest(tokenizer(prompts)) if callable(tokenizer) else None,
    }


def _encode(encode: Callable[[list[str]], Tensor], prompts: list[str]) -> Iterator[Parts]:
    for start in range(0, len(prompts), _BATCH):
        part = prompts[start : start + _BATCH]
        with torch.inference_mode():
            anchors = encode(part).float().cpu().numpy()
        if anchors.ndim != 2 or len(anchors) != len(part):
            raise LabkitError(
                f"encode_text gave {anchors.shape} for {len(part)} texts: it must be one row per text."
            )
        bad = np.flatnonzero(~np.isfinite(anchors).all(1))
        if len(bad):
            raise LabkitError(f"The anchor of '{part[bad[0]]}' is not finite: look at the model's weights.")
        yield {"features": anchors}
