"""torchvision's CNNs: the logits are the library's own, and training and evaluation differ as they should."""

import pytest
import torch
import torchvision

from labkit.errors import LabkitError
from labkit.models import available, build

CASES = {  # settings; channels of the maps; channels of the final map
    "resnet18": ({}, (64, 128, 256, 512), 512),
    "resnext50_32x4d": ({}, (256, 512, 1024, 2048), 2048),
    "shufflenet_v2_x0_5": ({}, (24, 48, 96, 192), 1024),
    "mobilenet_v2": ({"width_mult": 0.25}, (8, 8, 24, 80), 1280),
    "mobilenet_v3_small": ({}, (16, 24, 48, 96), 576),
    "efficientnet_b0": ({}, (24, 40, 112, 320), 1280),
    "regnet_y_400mf": ({}, (48, 104, 208, 440), 440),
    "convnext_tiny": ({}, (96, 192, 384, 768), 768),
}


@pytest.mark.slow
@pytest.mark.parametrize("short", CASES)
def test_taps(short):
    settings, channels, final = CASES[short]
    torch.manual_seed(0)
    model = build(f"torchvision/{short}", 7, **settings).eval()
    images = torch.rand(2, 3, 64, 64)
    out = model(images)

    bare = torchvision.models.get_model(short, num_classes=7, **settings).eval()
    bare.load_state_dict(model.net.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(out.logits, bare((images - model.mean) / model.std))
    torch.testing.assert_close(model.head(out.embedding), out.logits)
    assert [tuple(m.shape) for m in out.maps] == [
        (2, c, 64 // s, 64 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)
    ]
    assert (model.map_channels, out.final_map.shape) == (channels, (2, final, 2, 2))
    gradients = torch.autograd.grad(out.logits.square().sum(), out.maps)
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)


def test_shufflenet_nodes():
    tap = build("torchvision/shufflenet_v2_x0_5", 3).tap
    assert tap.maps == ("maxpool", "stage2", "stage3", "stage4")
    assert (tap.final_map, tap.embedding) == ("conv5", "mean")


def test_train_and_eval_switch():
    model = build("torchvision/efficientnet_b0", 3, dropout=0.9, stochastic_depth_prob=0.5)
    images = torch.rand(4, 3, 64, 64)
    assert model.training
    assert (model(images).embedding == 0).float().mean() > 0.8  # dropout
    assert not torch.equal(model(images).maps[3], model(images).maps[3])  # stochastic depth
    model.eval()
    torch.testing.assert_close(model(images), model(images), rtol=0, atol=0)
    running = model.net.state_dict()["features.0.1.running_mean"].clone()
    model(images)
    assert torch.equal(running, model.net.state_dict()["features.0.1.running_mean"])
    model.train()(images)
    assert not torch.equal(running, model.net.state_dict()["features.0.1.running_mean"])


def test_building_leaves_batch_norm_alone():
    state = build("torchvision/resnet18", 3).state_dict()
    assert state["net.bn1.running_mean"].abs().sum() == 0
    assert state["net.bn1.num_batches_tracked"] == 0


def test_one_channel():
    model = build("torchvision/resnet18", 3, in_chans=1).eval()
    assert model(torch.rand(2, 1, 32, 32)).logits.shape == (2, 3)
    assert model.mean.shape == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("name", "instead"), [("vit_b_16", "vit_base_patch16_224"), ("googlenet", "inception_v3")]
)
def test_other_families_name_the_timm_network(name, instead):
    with pytest.raises(LabkitError, match=f"use timm's '{instead}'"):
        build(f"torchvision/{name}", 3)
    assert f"torchvision/{name}" not in available("torchvision/*")


def test_every_substitute_exists():
    import timm

    from labkit.models.torchvision_taps import _TIMM_NAMES

    assert all(map(timm.is_model, _TIMM_NAMES.values()))
