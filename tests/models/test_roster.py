"""The `cpu` roster: four maps that end at 8x8, sizes that suit the parts, an initialisation of the seed's."""

import pytest
import torch

from labkit.errors import LabkitError
from labkit.models import build, cost
from labkit.models.roster import VIT_SETTINGS
from labkit.models.shipped import CNNS
from labkit.rng import seed_everything

# sides of the 4 maps at 64 px, and the most parameters (in thousands) with a head of 200 classes
EXPECTED = {
    "tiny": ((32, 16, 8, 8), 80),
    "small": ((32, 16, 8, 8), 180),
    "mobilenetv2_narrow": ((16, 8, 8, 8), 150),
    "shufflenetv2_narrow": ((32, 16, 8, 8), 110),
    "mid": ((32, 16, 8, 8), 460),
    "resnet_narrow": ((16, 8, 8, 8), 510),
    "regnety_004_s8": ((16, 8, 8, 8), 4000),
    "aviary-vit": ((8, 8, 8, 8), 1250),
}


def test_every_network_that_ships_is_listed_here():
    assert set(EXPECTED) == {*CNNS, "aviary-vit"}


@pytest.mark.parametrize("name", EXPECTED)
def test_maps_sizes_and_gradients(name: str):
    sides, thousands = EXPECTED[name]
    model = build(name, 200)
    out = model(torch.rand(2, 3, 64, 64))
    assert tuple(m.shape[-1] for m in out.maps) == sides
    assert tuple(m.shape[1] for m in out.maps) == model.map_channels
    assert out.final_map.shape[-2:] == (8, 8)
    assert out.embedding.shape == (2, model.embedding_dim)
    assert out.logits.shape == (2, 200)
    count = sum(p.numel() for p in model.parameters())
    assert 0.85 * thousands < count / 1000 <= thousands
    out.logits.logsumexp(1).sum().backward()
    assert model.head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", EXPECTED)
def test_the_head_reads_the_embedding(name: str):
    model = build(name, 5).eval()
    with torch.no_grad():
        out = model(torch.rand(2, 3, 64, 64))
        torch.testing.assert_close(model.head(out.embedding), out.logits)
        if name != "aviary-vit":
            torch.testing.assert_close(out.final_map.mean((2, 3)), out.embedding)


@pytest.mark.parametrize("name", EXPECTED)
def test_initialisation_depends_on_the_seed_alone(name: str):
    states = []
    for seed in (3, 3, 4):
        seed_everything(seed)
        states.append(build(name, 5).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["net." + _head(name)], states[2]["net." + _head(name)])


def _head(name: str) -> str:
    model = build(name, 5)
    found = {id(p): key for key, p in model.net.named_parameters()}
    return found[id(model.head.weight)]


@pytest.mark.parametrize("name", CNNS)
def test_other_channels_sizes_and_classes(name: str):
    model = build(name, 3, in_chans=1).eval()
    with torch.no_grad():
        out = model(torch.rand(1, 1, 96, 96))
    assert out.final_map.shape[-1] == 12
    assert model.reset_head(7).head.out_features == 7


def test_students_cost_less_than_intermediates():
    macs = {name: cost(build(name, 60), (1, 3, 64, 64)).macs for name in CNNS}
    students = ("tiny", "small", "mobilenetv2_narrow", "shufflenetv2_narrow")
    assert max(macs[name] for name in students) < min(macs["mid"], macs["regnety_004_s8"])
    assert macs["tiny"] < macs["small"] < macs["mid"] < macs["regnety_004_s8"]


def test_blocks_begin_as_their_shortcuts():
    model = build("tiny", 3)
    block = model.net.stages[3][0]
    x = torch.rand(2, 32, 8, 8)
    torch.testing.assert_close(block(x), block.shortcut(x).relu())


def test_vit_takes_one_size_and_any_that_it_is_built_for():
    with pytest.raises(LabkitError, match="image_size=32"):
        build("aviary-vit", 3)(torch.rand(1, 3, 32, 32))
    model = build("aviary-vit", 3, image_size=32)
    assert model(torch.rand(1, 3, 32, 32)).final_map.shape[-1] == 32 // VIT_SETTINGS["patch_size"]


@pytest.mark.parametrize("settings", [{"widths": (8, 8, 8)}, {"depths": (1, 1, 0, 1)}])
def test_impossible_residual_networks_are_refused(settings: dict):
    with pytest.raises(LabkitError, match="four widths and four depths"):
        build("tiny", 3, **settings)


@pytest.mark.slow
def test_published_vit_of_lab_09_runs_through_both_paths_from_its_configuration():
    """`gpu`'s backbone at its real size with random weights: transformers' wrapper and our build agree."""
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    config = TimmWrapperConfig(architecture="vit_small_patch16_224", num_labels=10)
    wrapped = TimmWrapperForImageClassification(config).eval()
    ours = build("vit_small_patch16_224.augreg_in21k", 10).eval()
    ours.net.load_state_dict(wrapped.timm_model.state_dict())
    x = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        out = ours(x)
        theirs = wrapped((x - ours.mean) / ours.std).logits
    torch.testing.assert_close(out.logits, theirs)
    assert [tuple(m.shape[1:]) for m in out.maps] == [(384, 14, 14)] * 4
    assert out.embedding.shape == (2, 384)
