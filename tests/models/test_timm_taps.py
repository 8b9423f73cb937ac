"""timm's networks: the logits are the library's own, and the taps are where the design says."""

import pytest
import torch
from torch import nn

from labkit.errors import LabkitError
from labkit.models import build

HIERARCHICAL = {  # settings that shrink it; channels of the maps; channels of the final map
    "resnet18": ({}, (64, 128, 256, 512), 512),
    "resnet50": ({}, (256, 512, 1024, 2048), 2048),
    "regnety_004": ({}, (48, 104, 208, 440), 440),
    "vgg13_bn": ({"mlp_ratio": 0.02}, (256, 512, 512, 512), 512),
    "mobilenetv2_100": ({}, (24, 32, 96, 320), 1280),
    "mobilenetv3_small_100": ({}, (16, 24, 48, 576), 576),
    "efficientnet_b0": ({}, (24, 40, 112, 320), 1280),
    "convnext_atto": ({}, (40, 80, 160, 320), 320),
    "swin_tiny_patch4_window7_224": (
        {"image_size": 64, "depths": (1, 1, 2, 1), "embed_dim": 48},
        (48, 96, 192, 384),
        384,
    ),
}
FLAT = {  # settings that shrink it; patch size
    "vit_tiny_patch16_224": ({"image_size": 64}, 16),
    "deit_tiny_distilled_patch16_224": ({"image_size": 64, "depth": 6}, 16),
    "vit_small_patch14_reg4_dinov2": ({"image_size": 56, "depth": 6, "embed_dim": 96, "num_heads": 2}, 14),
    "mixer_s32_224": ({"image_size": 64}, 32),
    "resmlp_12_224": ({"image_size": 64}, 16),
}
SETTINGS = {name: case[0] for name, case in {**HIERARCHICAL, **FLAT}.items()}


@pytest.fixture(scope="module", params=list(SETTINGS))
def case(request):
    """(name, model in evaluation mode, images, output with a graph)."""
    torch.manual_seed(0)
    model = build(request.param, 7, **SETTINGS[request.param]).eval()
    for parameter in model.head.parameters():
        nn.init.normal_(parameter)  # timm starts the head of a Mixer at zero, which would prove nothing
    images = torch.rand(2, 3, model.image_size or 64, model.image_size or 64)
    return request.param, model, images, model(images)


@pytest.mark.slow
def test_logits_are_the_librarys(case):
    _, model, images, out = case
    with torch.no_grad():
        expected = model.net((images - model.mean) / model.std)
    torch.testing.assert_close(out.logits, expected)
    torch.testing.assert_close(model.head(out.embedding), expected)
    assert out.embedding.shape == (2, model.embedding_dim)


@pytest.mark.slow
def test_maps_sit_at_their_strides(case):
    name, model, images, out = case
    assert len(out.maps) == 4
    assert tuple(m.shape[1] for m in out.maps) == model.map_channels
    if name in HIERARCHICAL:
        _, channels, final = HIERARCHICAL[name]
        assert model.map_channels == channels
        assert [images.shape[-1] // m.shape[-1] for m in out.maps] == [4, 8, 16, 32]
        assert out.final_map.shape == (2, final, 2, 2)
    else:
        patch = FLAT[name][1]
        assert {images.shape[-1] // m.shape[-1] for m in (*out.maps, out.final_map)} == {patch}
        assert out.final_map.shape[1] == model.map_channels[-1]


@pytest.mark.slow
def test_a_loss_on_any_feature_reaches_the_first_layer(case):
    _, model, _, out = case
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).weight
    for feature in (*out.maps, out.final_map, out.embedding, out.logits):
        loss = (feature * torch.randn_like(feature)).sum()  # a plain sum is constant behind a norm
        (gradient,) = torch.autograd.grad(loss, first, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize(("depth", "blocks"), [(12, (2, 4, 10, 12)), (6, (1, 2, 5, 6)), (4, (1, 2, 4, 4))])
def test_flat_networks_are_tapped_after_these_blocks(depth, blocks):
    model = build("vit_tiny_patch16_224", 3, image_size=32, depth=depth, embed_dim=24).eval()
    seen = []
    for block in model.net.blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(out))
    maps = model(torch.rand(2, 3, 32, 32)).maps
    for feature, number in zip(maps, blocks, strict=True):
        patches = seen[number - 1][:, 1:]  # without the class token
        torch.testing.assert_close(feature.flatten(2).transpose(1, 2), patches)


def test_final_map_of_a_vit_is_its_normed_patches():
    model = build("vit_small_patch14_reg4_dinov2", 3, **SETTINGS["vit_small_patch14_reg4_dinov2"]).eval()
    images = torch.rand(2, 3, 56, 56)
    tokens = model.net.forward_features((images - model.mean) / model.std)
    patches = tokens[:, model.net.num_prefix_tokens :]
    torch.testing.assert_close(model(images).final_map.flatten(2).transpose(1, 2), patches)


def test_final_map_of_a_swin_is_channels_first():
    model = build("swin_tiny_patch4_window7_224", 3, **SETTINGS["swin_tiny_patch4_window7_224"]).eval()
    out = model(torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(out.final_map.mean((2, 3)), out.embedding)


def test_distilled_deit_keeps_two_heads():
    model = build("deit_tiny_distilled_patch16_224", 5, image_size=32, depth=2).eval()
    out = model(torch.rand(2, 3, 32, 32))
    a, b = out.embedding.chunk(2, dim=-1)  # class token, distillation token
    torch.testing.assert_close(out.logits, (model.net.head(a) + model.net.head_dist(b)) / 2)
    assert model.embedding_dim == 2 * model.net.embed_dim
    model.reset_head(9)
    assert model(torch.rand(2, 3, 32, 32)).logits.shape == (2, 9)


def test_fewer_strides_means_the_last_four_stages():
    model = build("regnety_004", 3, output_stride=8).eval()
    out = model(torch.rand(1, 3, 64, 64))
    assert [64 // m.shape[-1] for m in out.maps] == [4, 8, 8, 8]
    assert model.map_channels == (48, 104, 208, 440)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_one_channel(name):
    model = build(name, 3, in_chans=1, image_size=32).eval()
    assert model(torch.rand(2, 1, 32, 32)).logits.shape == (2, 3)
    assert model.mean.shape == (1, 1, 1, 1)
    assert model.config["in_chans"] == 1


def test_statistics_are_the_published_ones():
    assert build("resnet18", 3).mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    vit = build("vit_tiny_patch16_224", 3, depth=1)
    assert vit.std.flatten().tolist() == [0.5, 0.5, 0.5]
    assert vit.image_size == 224


def test_a_vit_may_take_any_size():
    model = build("vit_tiny_patch16_224", 3, depth=2, image_size=32, dynamic_img_size=True).eval()
    assert model.image_size is None
    assert model(torch.rand(1, 3, 48, 48)).final_map.shape[-2:] == (3, 3)


@pytest.mark.parametrize("name", ["volo_d1_224", "efficientformer_l1", "visformer_tiny"])
def test_networks_that_cannot_be_tapped_say_so(name):
    with pytest.raises(LabkitError, match="choose another network"):
        build(name, 3)
