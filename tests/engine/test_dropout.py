"""Dropout keyed by (seed, epoch, sample, layer): the batch doesn't matter, the rate is right."""

from __future__ import annotations

import pytest
import torch
from engine_toys import net
from timm.layers import DropPath
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from labkit.engine.dropout import Clock, keyed_dropout

SHAPES = {
    "Dropout": (nn.Dropout(0.3), (40,)),
    "Dropout of tokens": (nn.Dropout(0.3), (5, 6)),
    "Dropout2d": (nn.Dropout2d(0.3), (8, 3, 3)),
    "DropPath": (DropPath(0.3), (4, 5)),
    "StochasticDepth": (StochasticDepth(0.3, "row"), (4, 5)),
}
every_layer = pytest.mark.parametrize("name", SHAPES)


def masks(layer: nn.Module, shape: tuple[int, ...], ids: Tensor, *, seed=0, epoch=0, calls=1) -> list[Tensor]:
    """What the layer makes of ones for these samples, call after call."""
    clock = Clock(seed)
    with keyed_dropout(layer, clock):
        clock.tick(epoch, ids)
        return [layer(torch.ones(len(ids), *shape)) for _ in range(calls)]


@every_layer
def test_a_samples_mask_does_not_depend_on_its_batch(name: str):
    layer, shape = SHAPES[name]
    ids = torch.tensor([5, 17, 2, 900, 33, 4])
    (together,) = masks(layer.train(), shape, ids)
    torch.manual_seed(1)
    parts = [masks(layer, shape, part)[0] for part in (ids[3:], ids[:1], ids[1:3])]
    assert torch.equal(torch.cat([parts[1], parts[2], parts[0]]), together)


@every_layer
def test_rate_and_scale(name: str):
    layer, shape = SHAPES[name]
    (out,) = masks(layer.train(), shape, torch.arange(4000))
    assert torch.allclose(out.unique(), torch.tensor([0.0, 1 / 0.7]))
    assert (out == 0).float().mean() == pytest.approx(0.3, abs=0.03)
    assert out.mean() == pytest.approx(1, abs=0.05)


def test_what_is_dropped_together():
    ids = torch.arange(500)
    channels = masks(nn.Dropout2d(0.5), (8, 3, 3), ids)[0].flatten(2)
    assert (channels == channels[..., :1]).all()
    assert 0.4 < (channels[..., 0] == 0).float().mean() < 0.6
    paths = masks(DropPath(0.5).train(), (4, 5), ids)[0].flatten(1)
    assert (paths == paths[:, :1]).all()


@every_layer
def test_new_mask_for_each_epoch_seed_call_and_layer(name: str):
    layer, shape = SHAPES[name]
    layer.train()
    ids = torch.arange(64)
    a, b = masks(layer, shape, ids, calls=2)
    c, d = masks(layer, shape, ids, epoch=1)[0], masks(layer, shape, ids, seed=1)[0]
    pair = nn.ModuleList([type(layer)(0.3, "row") if "Depth" in name else type(layer)(0.3) for _ in range(2)])
    clock = Clock(0)
    with keyed_dropout(pair.train(), clock):
        clock.tick(0, ids)
        e, f = (one(torch.ones(64, *shape)) for one in pair)
    found = [a, b, c, d, e, f]
    for i, one in enumerate(found):
        for other in found[i + 1 :]:
            differs = (one != other).float().mean()
            assert 0.2 < differs < 0.65, "independent masks of rate 0.3 differ in 42 % of the places"
    assert torch.equal(a, masks(layer, shape, ids)[0])


def test_windows_of_a_sample_belong_to_it():
    """Swin's blocks see (B * windows, ...): a sample's windows are consecutive rows."""
    layer = nn.Dropout(0.5)
    clock, ids = Clock(0), torch.tensor([8, 3, 5])
    with keyed_dropout(layer, clock):
        clock.tick(0, ids)
        whole = layer(torch.ones(12, 6))
        clock.tick(0, ids[1:])
        part = layer(torch.ones(8, 6))
    assert torch.equal(whole[4:], part)


def test_drop_path_without_scaling_and_full_rate():
    (out,) = masks(DropPath(0.5, scale_by_keep=False).train(), (3,), torch.arange(50))
    assert set(out.unique().tolist()) == {0.0, 1.0}
    (out,) = masks(nn.Dropout(1.0), (3,), torch.arange(50))
    assert not out.any()


def test_eval_mode_and_rate_zero_pass_everything():
    for layer in (nn.Dropout(0.5).eval(), nn.Dropout(0.0).train(), DropPath(0.5).eval()):
        assert masks(layer, (3,), torch.arange(9))[0].min() == 1


def test_rows_that_are_no_samples_fall_back_to_torchs_dropout():
    clock, layer = Clock(0), nn.Dropout(0.5)
    with keyed_dropout(layer, clock):
        assert layer(torch.ones(1000)).eq(0).float().mean() == pytest.approx(0.5, abs=0.1), "before any step"
        clock.tick(0, torch.arange(3))
        assert layer(torch.ones(1000, 1)).eq(0).float().mean() == pytest.approx(0.5, abs=0.1)


def test_gradient_passes_where_the_mask_does():
    layer, clock = nn.Dropout(0.5), Clock(0)
    x = torch.ones(4, 10, requires_grad=True)
    with keyed_dropout(layer, clock):
        clock.tick(0, torch.arange(4))
        out = layer(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_half_precision_stays_half():
    clock, layer = Clock(0), nn.Dropout(0.5)
    with keyed_dropout(layer, clock):
        clock.tick(0, torch.arange(4))
        assert layer(torch.ones(4, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_layers_are_themselves_again_afterwards_and_after_an_error():
    model = net()
    before = [type(m).forward for m in model.modules()]
    with keyed_dropout(model, Clock(0)):
        assert sum("forward" in vars(m) for m in model.modules()) == 2
    with pytest.raises(RuntimeError), keyed_dropout(model, Clock(0)):
        raise RuntimeError
    assert not any("forward" in vars(m) for m in model.modules())
    assert [type(m).forward for m in model.modules()] == before
