"""DINOv2 backbones: the tokens are transformers' own, images fit, what is wrong is said in one sentence."""

import time

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    BitImageProcessor,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    ViTConfig,
    ViTModel,
)

from labkit.errors import LabkitError, MissingError
from labkit.models import SelfSupervised, load_backbone
from labkit.models.dinov2 import MEAN, STD

# facebook/dinov2-base as its config.json has it; the rest are Dinov2Config's defaults
BASE = {"hidden_size": 768, "num_attention_heads": 12, "patch_size": 14, "image_size": 518}


def toy(**options):
    torch.manual_seed(0)
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}
    return Dinov2Model(Dinov2Config(**{**config, "patch_size": 8, **options})).eval()


@pytest.fixture
def folder(tmp_path):
    """A miniature as it ships: half precision on disk, config and processor beside it."""
    net = toy()
    net.config.dtype = torch.float32
    net.half().save_pretrained(tmp_path)
    net.config.dtype = torch.float32
    net.config.save_pretrained(tmp_path)
    BitImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=MEAN, image_std=STD
    ).save_pretrained(tmp_path)
    return tmp_path


def test_the_whole_dinov2_base_has_its_published_size():
    with torch.device("meta"):
        net = Dinov2Model(Dinov2Config(**BASE, num_hidden_layers=12))
    assert sum(p.numel() for p in net.parameters()) == 86_580_480


def test_dinov2_base_takes_a_batch_of_small_images():
    torch.manual_seed(0)
    backbone = SelfSupervised(Dinov2Model(Dinov2Config(**BASE, num_hidden_layers=2))).eval()
    with torch.inference_mode():
        out = backbone(torch.rand(2, 3, 64, 48))
    assert out["cls"].shape == (2, 768)
    assert out["patches"].shape == (2, 16 * 16, 768)
    assert (backbone.embed_dim, backbone.patch_size, backbone.image_size) == (768, 14, 224)


def test_register_tokens_are_left_out():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
    config = Dinov2WithRegistersConfig(**sizes, image_size=518, num_register_tokens=4)
    net = Dinov2WithRegistersModel(config).eval()
    x = torch.rand(2, 3, 224, 224)
    out = SelfSupervised(net, mean=(0, 0, 0), std=(1, 1, 1))(x)
    tokens = net(pixel_values=x).last_hidden_state
    assert tokens.shape[1] == 1 + 4 + 16 * 16
    assert torch.equal(out["cls"], tokens[:, 0])
    assert torch.equal(out["patches"], tokens[:, 5:])


def test_images_go_the_way_of_the_processor(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    backbone = load_backbone(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    inputs = processor([Image.fromarray(p) for p in pixels], return_tensors="pt")
    expected = backbone.net(**inputs).last_hidden_state
    out = backbone(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    torch.testing.assert_close(out["cls"], expected[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out["patches"], expected[:, 1:], rtol=1e-4, atol=1e-5)


def test_half_precision_on_disk_is_single_in_memory_frozen_and_in_eval_mode(folder):
    backbone = load_backbone(folder)
    assert {p.dtype for p in backbone.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not any(m.training for m in backbone.modules())
    assert (backbone.image_size, backbone.embed_dim) == (32, 16)
    torch.testing.assert_close(backbone.net.state_dict(), toy().state_dict(), rtol=1e-3, atol=1e-4)


def test_another_size_interpolates_the_positions(folder):
    backbone = load_backbone(folder, image_size=64)
    assert backbone(torch.rand(1, 3, 32, 32))["patches"].shape == (1, 64, 16)


def test_patches_are_in_rows_from_the_top_left():
    backbone = SelfSupervised(toy(num_hidden_layers=1), image_size=32)
    backbone.net.encoder.layer = torch.nn.ModuleList()  # embeddings alone: a patch sees itself only
    black = torch.zeros(1, 3, 32, 32)
    lit = black.clone()
    lit[..., 8:16, 24:32] = 1  # second row, last column
    changed = (backbone(lit)["patches"] - backbone(black)["patches"]).abs().sum(-1)[0] > 1e-6
    assert changed.nonzero().flatten().tolist() == [1 * 4 + 3]


@pytest.mark.parametrize("size", [30, 0, -8])
def test_a_size_that_no_patch_fits_is_said(size):
    with pytest.raises(LabkitError, match=rf"patches of 8 pixels, and image_size={size}"):
        SelfSupervised(toy(), image_size=size)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "divide by 255"),
        (torch.zeros(3, 32, 32), r"x\[None\]"),
        (torch.zeros(1, 1, 32, 32), "grey channel"),
        (torch.zeros(1, 4, 32, 32), r"got \(1, 4, 32, 32\)"),
    ],
)
def test_other_images_are_refused(x, said):
    with pytest.raises(LabkitError, match=said):
        SelfSupervised(toy(), image_size=32)(x)


def test_another_family_is_refused(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8)).save_pretrained(tmp_path)
    with pytest.raises(LabkitError, match="is a 'vit' and not of the DINOv2 family"):
        load_backbone(tmp_path)


def test_damaged_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(LabkitError, match="holds no model that transformers can load"):
        load_backbone(folder)


def test_an_unknown_name_is_refused():
    with pytest.raises(LabkitError, match="Did you mean 'aviary-dinov2'"):
        load_backbone("aviary-dino")


def test_published_weights_without_cache_and_connection_are_said_soon(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for key in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(key, "http://127.0.0.1:9")  # nobody listens there
    for key in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(key, "")
    start = time.monotonic()
    with pytest.raises(MissingError, match=r"facebook/dinov2-base.*346 MB.*apache-2.0.*LABKIT_PROFILE=cpu"):
        load_backbone("facebook/dinov2-base")
    assert time.monotonic() - start < 15
