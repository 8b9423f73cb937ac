"""The prompt learner against open_clip's own `encode_text`, in every layout, and what it refuses."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import open_clip
import pytest
import torch
import torch.nn.functional as F

from labkit.errors import LabkitError
from labkit.models.prompts import PromptLearner, embed, embedding_of, encode_embedded
from labkit.models.vlm import VisionLanguage

NAMES = ["red-billed reedfinch", "wren", "plain-winged long-billed sandlark", "glen_robin"]
VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}


def make(text: dict | None = None, *, custom: bool = False, batch_first: bool = True) -> VisionLanguage:
    """A small random CLIP: parts of the text tower on the model itself, or a tower of its own."""
    torch.manual_seed(0)
    text = TEXT | (text or {})
    kind = open_clip.model.CustomTextCLIP if custom else open_clip.model.CLIP
    clip = kind(16, VISION, text)
    for parameter in clip.parameters():  # initial LayerNorms and biases would hide mistakes
        parameter.data += 0.05 * torch.randn_like(parameter)
    tower = getattr(clip, "text", clip).transformer
    if not batch_first:
        tower.batch_first = False
        for block in tower.resblocks:
            block.attn.batch_first = False
    clip.visual.preprocess_cfg = {
        "size": 32, "resize_mode": "shortest", "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5),
    }  # fmt: skip
    return VisionLanguage(clip, open_clip.SimpleTokenizer(context_length=32), "toy")


LAYOUTS = {
    "built in": {},
    "built in, sequence first": {"batch_first": False},
    "own tower": {"custom": True},
    "own tower, sequence first": {"custom": True, "batch_first": False},
    "end token by id": {"text": {"pool_type": "eos", "eos_id": 49407}},
    "linear projection": {"text": {"proj_bias": True, "proj_type": "linear"}, "custom": True},
    "class token and pad mask": {"text": {"embed_cls": True, "pool_type": "last"}, "custom": True},
}


@pytest.fixture(scope="module")
def vlm():
    return make()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_hard_prompts_give_what_encode_text_gives(layout):
    vlm = make(**layout)
    tokens = vlm.tokenizer([f"a photo of a {name}." for name in NAMES])
    ours = encode_embedded(vlm, embed(vlm, tokens), tokens)
    torch.testing.assert_close(ours, vlm.clip.encode_text(tokens, normalize=True), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_context_of_a_hard_template_gives_its_zero_shot_logits(layout):
    vlm = make(**layout)
    learner = PromptLearner(vlm, NAMES, words="a photo of a")
    texts = [f"a photo of a {name.replace('_', ' ')}." for name in NAMES]
    images = F.normalize(torch.randn(5, 16), dim=-1)
    logits = vlm.logit_scale * images @ learner().T
    wanted = vlm.logit_scale * images @ vlm.zero_shot(texts).T
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("position", "template"),
    [
        ("end", "a photo of a {}."),
        ("middle", "a photo {} of a."),
        ("front", "{} a photo of a."),
    ],
)
@pytest.mark.parametrize("specific", [False, True])
def test_the_class_stands_where_it_should(vlm, position, template, specific):
    learner = PromptLearner(vlm, NAMES, words="a photo of a", position=position, class_specific=specific)
    texts = [template.format(name.replace("_", " ")) for name in NAMES]
    torch.testing.assert_close(learner(), vlm.encode_text(texts), rtol=1e-5, atol=1e-5)
    filled = learner.tokens.clone()
    filled[filled == vlm.tokenizer.encode("X")[0]] = 0
    wanted = vlm.tokenizer(texts)
    assert torch.equal(filled.argmax(1), wanted.argmax(1))


def test_odd_context_in_the_middle_floors(vlm):
    learner = PromptLearner(vlm, ["wren"], words="a photo of", position="middle")
    torch.testing.assert_close(learner(), vlm.encode_text(["a wren photo of."]), rtol=1e-5, atol=1e-5)


def test_gradient_reaches_the_context_alone(vlm):
    learner = PromptLearner(vlm, NAMES, n_ctx=4).train()
    assert [name for name, _ in learner.named_parameters()] == ["context"]
    before = copy.deepcopy(vlm.clip.state_dict())
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9)
    images = F.normalize(torch.randn(8, 16), dim=-1)
    labels = torch.arange(8) % len(NAMES)
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(10 * images @ learner().T, labels)
        optimizer.zero_grad()
        loss.backward()
        assert learner.context.grad.norm() > 0
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(before[k], v) for k, v in vlm.clip.state_dict().items())
    assert all(p.grad is None for p in vlm.clip.parameters())
    assert not vlm.clip.training


def test_the_gradient_is_the_finite_difference(vlm):
    learner = PromptLearner(vlm, NAMES, n_ctx=3, position="middle")
    target = torch.randn(len(NAMES), 16)
    (learner() * target).sum().backward()
    step = 2e-3 * learner.context.grad / learner.context.grad.norm()  # along it, far above rounding
    values = []
    with torch.no_grad():
        for sign in (1, -1):
            moved = copy.copy(learner)
            moved._parameters = {"context": torch.nn.Parameter(learner.context + sign * step)}
            values.append((moved() * target).sum())
    expected = (values[0] - values[1]) / 2
    assert torch.isclose((learner.context.grad * step).sum(), expected, rtol=0.01)


def test_chunks_change_neither_value_nor_gradient(vlm):
    whole, parts = (PromptLearner(vlm, NAMES, n_ctx=5, chunk=chunk) for chunk in (None, 3))
    for learner in (whole, parts):
        learner().square()[:, :3].sum().backward()
    torch.testing.assert_close(whole(), parts())
    torch.testing.assert_close(whole.context.grad, parts.context.grad)


def test_seeds_decide_the_start(vlm):
    first, same, other = (PromptLearner(vlm, NAMES, seed=seed).context for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert first.shape == (16, 32)
    assert 0.015 < first.std() < 0.025


def test_a_context_of_words_does_not_share_memory_with_the_table(vlm):
    before = embedding_of(vlm).weight.clone()
    learner = PromptLearner(vlm, NAMES, words="a photo of a")
    learner.context.data += 1
    assert torch.equal(embedding_of(vlm).weight, before)


def test_only_the_context_is_saved_and_it_fits_other_classes(vlm):
    learner = PromptLearner(vlm, NAMES, n_ctx=4)
    saved = learner.state_dict()
    assert list(saved) == ["context"]
    other = PromptLearner(vlm, ["owl", "heron"], n_ctx=4, seed=5)
    wanted = other.suffix.clone()
    # the authors' files hold the buffers of the class list that was trained on
    foreign = {"ctx": saved["context"], "token_prefix": learner.prefix, "token_suffix": learner.suffix}
    for state in (saved, foreign):
        other.context.data.zero_()
        other.load_state_dict(state)
        assert torch.equal(other.context, learner.context)
        assert torch.equal(other.suffix, wanted)
        assert other().shape == (2, 16)


def test_a_context_of_another_size_is_refused(vlm):
    learner = PromptLearner(vlm, NAMES, n_ctx=4)
    with pytest.raises(LabkitError, match=r"shape \(5, 32\).*\(4, 32\).*n_ctx"):
        learner.load_state_dict(PromptLearner(vlm, NAMES, n_ctx=5).state_dict())
    with pytest.raises(RuntimeError, match="context"):
        learner.load_state_dict({})


def test_a_name_that_is_too_long_is_one_error(vlm):
    long = "a " * 14 + "wren"
    PromptLearner(vlm, [long], n_ctx=14)  # exactly 32 tokens
    with pytest.raises(LabkitError, match=r"needs 33 tokens with 15 context vectors.*reads 32.*at most 14"):
        PromptLearner(vlm, ["owl", long], n_ctx=15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"position": "ned"}, "Did you mean 'end'"),
        ({"n_ctx": 0}, "at least 1"),
        ({"n_ctx": True}, "at least 1"),
        ({"n_ctx": 3, "words": "a photo of a"}, "are 4 tokens, not n_ctx=3"),
        ({"words": " "}, "0 tokens"),
        ({"classes": []}, "list of class names"),
        ({"classes": "owl"}, "list of class names"),
        ({"classes": ["owl", "_"]}, "no tokens"),
    ],
)
def test_bad_settings_are_one_sentence(vlm, options, words):
    with pytest.raises(LabkitError, match=words) as caught:
        PromptLearner(vlm, **{"classes": NAMES} | options)
    assert "\n" not in str(caught.value)


def test_a_tower_without_tokens_is_refused(vlm):
    bare = SimpleNamespace(clip=torch.nn.Linear(2, 2), name="bare")
    with pytest.raises(LabkitError, match="'bare' has no table"):
        embedding_of(bare)


def test_a_tokeniser_with_other_placeholders_is_refused(vlm):
    class Letters(open_clip.SimpleTokenizer):
        def encode(self, text):
            return [t for letter in text for t in super(Letters, self).encode(f"{letter} {letter}")]

    other = SimpleNamespace(
        clip=vlm.clip, tokenizer=Letters(context_length=32), name="letters", context_length=32
    )
    with pytest.raises(LabkitError, match="one token per X"):
        PromptLearner(other, ["owl"], n_ctx=3)
