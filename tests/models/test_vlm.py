"""One wrapper for the miniature and the real CLIP models: open_clip's own numbers, frozen, plain errors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip import transform
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from labkit.errors import LabkitError, MissingError
from labkit.models import VisionLanguage, load_vlm
from labkit.models.vlm import VLMS
from labkit.models.vlm_aviary import register_aviary_clip
from labkit.models.vlm_published import PUBLISHED_CLIPS

TEXTS = ["a photo of a red-billed reedfinch", "a bird", "mossthrush with black cap"]


def cut(name: str, layers: int = 1) -> dict:
    """open_clip's configuration of `name` with fewer transformer layers."""
    config = open_clip.get_model_config(name)
    for tower in ("vision_cfg", "text_cfg"):
        if "layers" in config[tower]:
            config[tower]["layers"] = layers
    return config


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of aviary-clip, in half precision as they ship, moved off their initial values."""
    register_aviary_clip()
    torch.manual_seed(0)
    state = open_clip.create_model("aviary-clip").state_dict()
    state = {key: (value + 0.02 * torch.randn_like(value)).half() for key, value in state.items()}
    state["logit_scale"] = torch.tensor(3.0).half()
    path = tmp_path_factory.mktemp("clip") / "model.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def vlm(weights):
    return load_vlm("aviary-clip", weights=weights)


def test_the_miniature_is_open_clips_own_and_small(vlm, weights):
    assert type(vlm.clip) is open_clip.model.CLIP
    assert vlm.clip.visual.trunk.__class__.__name__ == "ConvNeXt"
    assert weights.stat().st_size <= 14e6
    assert (vlm.embed_dim, vlm.image_size, vlm.context_length) == (128, 64, 32)
    assert vlm.logit_scale == pytest.approx(np.exp(3.0), rel=1e-6)
    assert {p.dtype for p in vlm.parameters()} == {torch.float32}


def test_the_towers_maps_suit_64_pixels(vlm):
    maps = vlm.clip.visual.trunk.forward_intermediates(torch.rand(1, 3, 64, 64), intermediates_only=True)
    assert [m.shape[-1] for m in maps] == [16, 8, 4, 2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["aviary-clip", "ViT-B-32", "ViT-B-16"])
def test_features_are_open_clips(name):
    register_aviary_clip()
    torch.manual_seed(1)
    clip = open_clip.create_model(name, **cut(name)).eval()
    tokenizer = open_clip.get_tokenizer(name)
    size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
    images = torch.rand(3, 3, size, size)
    # torchvision's own Normalize with open_clip's published constants, not the wrapper's buffers
    from torchvision.transforms import Normalize

    standard = Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)(images)
    with torch.no_grad():
        seen = clip.encode_image(standard, normalize=True)
        read = clip.encode_text(tokenizer(TEXTS), normalize=True)
    wrapped = VisionLanguage(clip, tokenizer, name)
    torch.testing.assert_close(wrapped(images), seen, atol=1e-6, rtol=0)
    torch.testing.assert_close(wrapped.encode_text(TEXTS), read, atol=1e-6, rtol=0)
    assert wrapped.embed_dim == seen.shape[1]
    assert wrapped.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)


@pytest.mark.slow
def test_convnext_xxlarge_runs_through_the_wrapper():
    with torch.device("meta"):  # 1.2 billion parameters
        clip = open_clip.create_model("convnext_xxlarge", device="meta")
    vlm = VisionLanguage(clip, open_clip.get_tokenizer("convnext_xxlarge"), "convnext_xxlarge").to("meta")
    assert sum(p.numel() for p in vlm.parameters()) > 1.1e9
    assert (vlm.embed_dim, vlm.image_size, vlm.context_length) == (1024, 256, 77)
    assert vlm(torch.rand(2, 3, 64, 80, device="meta")).shape == (2, 1024)
    assert vlm.zero_shot([TEXTS, TEXTS]).shape == (3, 1024)


@pytest.mark.slow
def test_published_weights_come_from_the_cache_with_their_own_statistics(tmp_path, monkeypatch):
    from huggingface_hub import constants
    from open_clip import factory

    name, config = "ViT-B-32", cut("ViT-B-32")
    config["text_cfg"]["vocab_size"] = 49408
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setitem(factory._MODEL_CONFIGS, name, config)
    folder = tmp_path / f"models--{PUBLISHED_CLIPS[name].repo.replace('/', '--')}"
    (folder / "snapshots" / "0").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0")
    published = open_clip.create_model(name)
    save_file(published.state_dict(), folder / "snapshots" / "0" / "open_clip_model.safetensors")

    other = {
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.2, 0.1),
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: other)
    vlm = load_vlm(name)
    assert torch.equal(vlm.clip.token_embedding.weight, published.token_embedding.weight)
    assert vlm.mean.flatten().tolist() == pytest.approx(other["mean"])
    assert vlm.std.flatten().tolist() == pytest.approx(other["std"])
    assert vlm.squash
    assert vlm.interpolation == "bilinear"


def test_every_published_entry_is_one_of_open_clips():
    for name, published in PUBLISHED_CLIPS.items():
        assert open_clip.get_pretrained_cfg(name, published.tag)["hf_hub"] == f"{published.repo}/"


@pytest.mark.parametrize("shape", [(50, 80), (120, 90), (64, 64)])
def test_images_of_other_sizes_are_prepared_as_open_clip_does(vlm, shape):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    picture = coarse.resize(shape[::-1], Image.Resampling.BICUBIC)
    as_published = transform.image_transform_v2(
        transform.PreprocessCfg(**vlm.clip.visual.preprocess_cfg), False
    )
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    ours = (vlm.resize(image) - vlm.mean) / vlm.std
    difference = (ours - as_published(picture)[None]).abs() * vlm.std * 255
    assert difference.max() < 1.5  # Pillow rounds to bytes after each of its two passes


def test_it_stays_frozen_and_in_eval_mode(vlm):
    parent = nn.ModuleDict({"teacher": vlm, "student": nn.Linear(2, 2)}).train()
    assert parent["student"].training
    assert not any(module.training for module in vlm.modules())
    assert not any(p.requires_grad for p in vlm.parameters())
    assert not vlm.encode_text(TEXTS).requires_grad


def test_gradients_reach_images_and_nothing_else(vlm):
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    vlm(image)[0, 0].backward()
    assert image.grad.abs().sum() > 0
    assert all(p.grad is None for p in vlm.parameters())


def test_texts_in_pieces_are_the_texts_at_once(vlm):
    many = [f"{text} number {i}" for i in range(100) for text in TEXTS]
    alone = torch.cat([vlm.encode_text([text]) for text in many[250:260]])
    torch.testing.assert_close(vlm.encode_text(many)[250:260], alone, atol=1e-6, rtol=0)


def test_zero_shot_averages_normalised_embeddings(vlm):
    templates = [
        [pattern.format(text) for text in TEXTS] for pattern in ("{}", "a bad photo of {}", "art: {}")
    ]
    wanted = torch.zeros(3, vlm.embed_dim)
    for c in range(3):
        for texts in templates:
            ids = vlm.tokenizer([texts[c]])
            wanted[c] += F.normalize(vlm.clip.encode_text(ids)[0], dim=0) / 3
        wanted[c] /= wanted[c].norm()
    head = vlm.zero_shot(templates)
    torch.testing.assert_close(head, wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(vlm.zero_shot(templates[::-1]), head, atol=1e-6, rtol=0)
    assert (head @ vlm.encode_text(TEXTS).T).argmax(0).tolist() == [0, 1, 2]


def test_one_template_is_the_texts_themselves(vlm):
    single = vlm.encode_text(TEXTS)
    torch.testing.assert_close(vlm.zero_shot(TEXTS), single, atol=1e-6, rtol=0)
    torch.testing.assert_close(vlm.zero_shot([TEXTS]), single, atol=1e-6, rtol=0)
    torch.testing.assert_close(vlm.zero_shot([TEXTS, TEXTS]), single, atol=1e-6, rtol=0)


@pytest.mark.parametrize("prompts", [[], [[]], [TEXTS, TEXTS[:2]], [TEXTS, "a bird"]])
def test_zero_shot_refuses_uneven_templates(vlm, prompts):
    with pytest.raises(LabkitError, match="one list per template"):
        vlm.zero_shot(prompts)


@pytest.mark.parametrize("texts", ["a bird", []])
def test_encode_text_takes_a_list(vlm, texts):
    with pytest.raises(LabkitError, match="takes a list of texts"):
        vlm.encode_text(texts)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(1, 1, 64, 64), torch.zeros(3, 64, 64), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)],
)
def test_images_of_the_wrong_kind_are_refused(vlm, images):
    with pytest.raises(LabkitError, match=r"takes float images \(B, 3, H, W\)"):
        vlm.encode_image(images)


def test_unknown_names_are_answered_with_the_known():
    with pytest.raises(LabkitError, match="Did you mean 'ViT-B-16'"):
        load_vlm("ViT-B-17")
    assert VLMS == ("aviary-clip", "ViT-B-32", "ViT-B-16", "convnext_xxlarge")


def test_damaged_and_foreign_weights_are_refused(weights, tmp_path):
    cut_short = tmp_path / "short.safetensors"
    cut_short.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(LabkitError, match=r"short.safetensors can't be read as weights of 'aviary-clip'"):
        load_vlm("aviary-clip", weights=cut_short)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, foreign)
    with pytest.raises(LabkitError, match=r"foreign.safetensors can't be read"):
        load_vlm("aviary-clip", weights=foreign)
    with pytest.raises(MissingError, match=r"nowhere\.safetensors"):
        load_vlm("aviary-clip", weights=tmp_path / "nowhere.safetensors")


def test_without_cache_and_offline_one_sentence_names_what_is_missing(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "is_offline_mode", lambda: True)
    with pytest.raises(MissingError, match=r"4.8 GB, licence MIT.*hf download laion/CLIP-convnext_xxlarge"):
        load_vlm("convnext_xxlarge")


@pytest.mark.slow
def test_without_cache_and_with_a_silent_host_it_says_so_soon(tmp_path):
    """The host takes the connection and never answers: the worst kind of network for a classroom."""
    code = """
import time
from labkit.models import load_vlm
start = time.monotonic()
try:
    load_vlm("ViT-B-16")
except FileNotFoundError as error:
    print(error)
assert time.monotonic() - start < 60  # imports included; the host itself is given 6
"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here = {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_HOME": str(tmp_path)}
        environment = {**os.environ, **here, "no_proxy": "127.0.0.1", "HF_HUB_OFFLINE": ""}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=True, timeout=120
        )
    message = done.stdout.strip()
    assert "hf download laion/CLIP-ViT-B-16-laion2B-s34B-b88K open_clip_model.safetensors" in message
    assert message.endswith("LABKIT_PROFILE=cpu.")
