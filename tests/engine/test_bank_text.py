"""Text anchors: encoded once for a model, its tokenizer and its prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from engine_toys import sentence
from torch import Tensor, nn

from labkit.engine import banks, text_anchors

PROMPTS = ["a photo of a dog.", "a photo of a cat.", "a bird", "a bird with a very long description"]


class Toy(nn.Module):
    """A bag of characters through a linear layer; `_texts` notes what was encoded."""

    def __init__(self, seed: int = 0, shift: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table, self.dropout = nn.Embedding(200, 6), nn.Dropout(0.5)
        self.tokenizer = lambda texts: torch.tensor([[ord(t[0]) + shift] for t in texts])
        self._texts: list[str] = []

    def encode_text(self, texts: list[str]) -> Tensor:
        assert isinstance(texts, list)
        self._texts += texts
        return torch.stack([self.dropout(self.table(torch.tensor([*map(ord, t)]))).mean(0) for t in texts])


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))


def test_encoded_once_in_eval_mode():
    model = Toy().train()
    anchors = text_anchors(model, PROMPTS)
    assert model.training
    assert model.dropout.training
    assert anchors.shape == (4, 6)
    assert not anchors.requires_grad
    assert torch.equal(anchors, Toy().eval().encode_text(PROMPTS).detach())
    again = Toy()
    anchors.zero_()
    assert torch.equal(text_anchors(again, tuple(PROMPTS)), Toy().eval().encode_text(PROMPTS).detach())
    assert again._texts == []
    (kept,) = banks()
    assert (kept.kind, kept.n, kept.encoder) == ("texts", 4, "Toy")


def test_other_prompts_models_and_tokenizers_are_encoded_anew():
    text_anchors(Toy(), PROMPTS)
    for model, prompts in (
        (Toy(), PROMPTS[::-1]),
        (Toy(), PROMPTS[:3]),
        (Toy(1), PROMPTS),
        (Toy(0, 1), PROMPTS),
    ):
        anchors = text_anchors(model, prompts)
        assert model._texts == prompts
        model.eval()
        assert torch.equal(anchors, model.encode_text(prompts).detach())
    assert len(banks()) == 5


def test_many_prompts_in_batches_and_nothing_kept():
    prompts = [f"number {i}" for i in range(600)]
    model = Toy()
    anchors = text_anchors(model, prompts, keep=False)
    assert torch.equal(anchors, model.eval().encode_text(prompts).detach())
    assert banks() == []


class Broken(Toy):
    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.full((len(texts), 2), float("nan"))


class Flat(Toy):
    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.zeros(3)


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: text_anchors(Toy(), "a photo of a dog."), "list of texts"),
        (lambda: text_anchors(Toy(), [["a"], ["b"]]), "list of texts"),
        (lambda: text_anchors(Toy(), []), "at least one prompt"),
        (lambda: text_anchors(nn.Identity(), PROMPTS), "no encode_text"),
        (lambda: text_anchors(Broken(), PROMPTS), "'a photo of a dog.' is not finite"),
        (lambda: text_anchors(Flat(), PROMPTS), "one row per text"),
    ],
)
def test_bad_input_is_one_sentence(call, part: str):
    assert part in sentence(call)
