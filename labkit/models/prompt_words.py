"""Prompts in words: what stands where, and which words a learned vector is nearest to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import LabkitError
from .prompts import PromptLearner, embedding_of, encode_words
from .vlm import VisionLanguage


def layout(learner: PromptLearner, number: int = 0) -> str:
    """The tokens of one class's prompt in order, as '[start] V1 V2 red - billed . [end]'."""
    tokenizer = learner.vlm.tokenizer
    ids, order = (x[number].tolist() for x in (learner.tokens, learner.order))
    last = max(range(len(ids)), key=ids.__getitem__)
    inside = [
        f"V{place}" if 1 <= place <= learner.n_ctx else tokenizer.decode([token]).strip()
        for token, place in list(zip(ids, order, strict=True))[1:last]
    ]
    return " ".join(["[start]", *inside, "[end]"])


def nearest_words(
    vlm: VisionLanguage, vectors: Tensor, k: int = 3, *, words: Sequence[str] | None = None
) -> list[list[tuple[str, float]]]:
    """The k tokens nearest to each vector (M, W), with their Euclidean distances, as the paper's table 4.

    Args:
        words: candidates, each one token long (others are left out); None takes the whole vocabulary.

    Raises:
        LabkitError: the tokeniser can't say its words, or none of `words` is one token.
    """
    table = embedding_of(vlm).weight.detach()
    ids = _candidates(vlm, words)
    k = min(k, len(ids))
    distances = torch.cdist(vectors.detach().float(), table[ids].float())
    near, at = distances.topk(k, largest=False)
    return [
        [(vlm.tokenizer.decode([ids[j]]).strip(), d) for j, d in zip(row, values, strict=True)]
        for row, values in zip(at.tolist(), near.tolist(), strict=True)
    ]


def _candidates(vlm: VisionLanguage, words: Sequence[str] | None) -> list[int]:
    if not hasattr(vlm.tokenizer, "decode"):
        raise LabkitError(f"The tokeniser of '{vlm.name}' can't turn ids into words.")
    if words is None:
        return list(range(embedding_of(vlm).num_embeddings))
    found = {tuple(encode_words(vlm, word)) for word in words}
    ids = sorted(entry[0] for entry in found if len(entry) == 1)
    if not ids:
        raise LabkitError(f"None of the {len(words)} words is a single token of '{vlm.name}'.")
    return ids
