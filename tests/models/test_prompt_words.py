"""Learned vectors and their nearest words; prompts spelled out."""

from __future__ import annotations

import pytest
from test_prompts import NAMES, make

from labkit.errors import LabkitError
from labkit.models.prompt_words import layout, nearest_words
from labkit.models.prompts import PromptLearner, embedding_of


@pytest.fixture(scope="module")
def vlm():
    return make()


@pytest.mark.parametrize(
    ("position", "wanted"),
    [
        ("end", "[start] V1 V2 V3 wren . [end]"),
        ("middle", "[start] V1 wren V2 V3 . [end]"),
        ("front", "[start] wren V1 V2 V3 . [end]"),
    ],
)
def test_layout_spells_the_prompt(vlm, position, wanted):
    assert layout(PromptLearner(vlm, NAMES, n_ctx=3, position=position), 1) == wanted


def test_nearest_words_are_found(vlm):
    table = embedding_of(vlm).weight
    (first,) = vlm.tokenizer.encode("photo")
    found = nearest_words(vlm, table[[first]] + 1e-4, k=2)
    assert found[0][0][0] == "photo"
    assert 0 < found[0][0][1] < 0.01 < found[0][1][1]
    among = nearest_words(vlm, table[[first]], k=3, words=["a", "bird", "reedfinch", "red"])
    assert {word for word, _ in among[0]} <= {"a", "bird", "red"}  # reedfinch is two tokens
    distances = [d for _, d in among[0]]
    assert distances == sorted(distances)
    with pytest.raises(LabkitError, match="single token"):
        nearest_words(vlm, table[:1], words=["reedfinch"])
