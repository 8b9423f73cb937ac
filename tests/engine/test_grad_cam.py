"""Grad-CAM by hand on a tiny map and against its closed form on real nets; the shares and their controls."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import LabkitError, data
from labkit.data import DataModule
from labkit.data.aviary import annotate
from labkit.engine import attention_on_parts, grad_cam
from labkit.engine.grad_cam import cam, part_attention
from labkit.models import Classifier, Output, build
from labkit.models.classifier import DirectTap, Parts


class Still(nn.Module):
    """Its final map is the image itself, pooled into the head."""

    def __init__(self, weight: list[list[float]]) -> None:
        super().__init__()
        self.head = nn.Linear(2, len(weight), bias=False)
        self.head.weight.data = torch.tensor(weight)
        self.drop = nn.Dropout(0.5)  # silent in eval mode

    def forward(self, x: Tensor) -> Output:
        x = self.drop(x)
        pooled = x.mean((2, 3))
        return Output(self.head(pooled), pooled, (x,) * 4, x)


def still(weight: list[list[float]]) -> Classifier:
    net = Still(weight)
    return Classifier(
        Parts(net, DirectTap(), (0.0, 0.0), (1.0, 1.0), (2,) * 4),
        {"name": "still", "num_classes": len(weight)},
    )


IMAGE = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, 1.0]]]])


def test_by_hand():
    net = still([[1.0, -2.0], [-1.0, 0.0], [0.5, 1.0]])
    # the gradient of a mean over four places is a quarter of the weight
    expected = {
        0: [[0.25, 0.0], [0.75, 0.5]],
        1: [[0.0, 0.0], [0.0, 0.0]],
        2: [[0.125, 0.5], [0.375, 0.75]],
    }
    for target, values in expected.items():
        torch.testing.assert_close(grad_cam(net, IMAGE, target)[0], torch.tensor(values))
    torch.testing.assert_close(grad_cam(net, IMAGE), grad_cam(net, IMAGE, 2))  # logits 1.5, -2.5, 1.75
    mixed = grad_cam(net, IMAGE.repeat(3, 1, 1, 1), torch.tensor([2, 0, 1]))
    torch.testing.assert_close(mixed, torch.tensor([expected[2], expected[0], expected[1]]))


def test_stretched_by_hand():
    class Pooled(Still):
        def forward(self, x: Tensor) -> Output:
            return super().forward(F.avg_pool2d(x, 2))

    net = still([[4.0, 0.0]])
    net.net.__class__ = Pooled
    image = torch.zeros(1, 2, 4, 4)
    image[0, 0, :2, :2] = 1  # pooled: one cell in the corner
    profile = torch.tensor([1.0, 0.75, 0.25, 0.0])
    torch.testing.assert_close(grad_cam(net, image, 0)[0], torch.outer(profile, profile))


@pytest.mark.parametrize(
    "name", ["tiny", "mobilenetv2_narrow", "shufflenetv2_narrow", "mid", "regnety_004_s8", "resnet_narrow"]
)
def test_pooled_nets_have_a_closed_form(name: str):
    torch.manual_seed(1)
    net = build(name, 5).requires_grad_(False).eval()
    images, target = torch.rand(3, 3, 64, 64), torch.tensor([4, 0, 2])
    with torch.no_grad():
        maps = net(images).final_map
        weights = net.head.weight[target]
        found = cam(net, images, target)
    expected = torch.einsum("bc,bchw->bhw", weights, maps).relu() / maps[0, 0].numel()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert found.shape == (3, 8, 8)
    assert not found.requires_grad


def test_hidden_layers_after_the_map():
    class Hidden(Still):
        def forward(self, x: Tensor) -> Output:
            pooled = x.mean((2, 3))  # 2.5 and 0.5
            hidden = (pooled * torch.tensor([2.0, -1.0])).relu()  # the second is silent
            return Output(self.head(hidden), hidden, (x,) * 4, x)

    net = still([[1.0, -2.0]])
    net.net.__class__ = Hidden
    torch.testing.assert_close(grad_cam(net, IMAGE, 0), IMAGE[:, 0] * 2 / 4)


def test_the_model_is_left_as_it_was():
    net = still([[1.0, -2.0]]).train()
    net.net.drop.eval()
    before = {module: module.training for module in net.modules()}
    first = grad_cam(net, IMAGE, 0)
    assert torch.equal(first, grad_cam(net, IMAGE, 0))  # no dropout
    assert {module: module.training for module in net.modules()} == before
    assert net.head.weight.grad is None


def test_a_transformer_is_refused():
    with pytest.raises(LabkitError, match="not: take a convolutional network"):
        grad_cam(build("aviary-vit", 3), torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize("target", [2, -1, torch.tensor([0, 5])])
def test_a_target_that_is_no_class(target: int | Tensor):
    with pytest.raises(LabkitError, match="classes 0 to 1 of 'still'"):
        grad_cam(still([[1.0, 0.0], [0.0, 1.0]]), IMAGE.repeat(2, 1, 1, 1), target)


def corner(size: int) -> Tensor:
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, :size, :size] = True
    return mask


def test_shares_by_hand():
    maps = torch.zeros(1, 2, 2)
    maps[0, 0, 0] = 3.0  # stretched: outer product of (1, 3/4, 1/4, 0), which adds up to 4
    found = part_attention(maps, corner(1), corner(2))
    assert found.share.tolist() == pytest.approx([1 / 4])
    assert found.fixed.tolist() == pytest.approx([1 / 4])  # the mean map of one image
    assert found.best.tolist() == pytest.approx([1 / 4])
    assert found.chance.tolist() == [1 / 16]
    # the bird's 2x2 pixels lie to 7/8 and 1/8 in the cells along each axis
    assert found.bird.tolist() == pytest.approx([(7 / 8) ** 2 / 4])
    profile = [math.exp(-(((i + 0.5) / 4 - 0.5) ** 2) / (2 * 0.25**2)) for i in range(4)]
    assert found.centre.tolist() == pytest.approx([(profile[0] / sum(profile)) ** 2])
    assert (found.n, found.empty, found.hidden, found.positions.tolist()) == (1, 0, 0, [0])


@pytest.mark.parametrize("cells", [(8, 8), (7, 7), (3, 5)])
def test_shares_are_those_of_the_stretched_maps(cells: tuple[int, int]):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(5, *cells, generator=generator, dtype=torch.float64)
    parts = torch.rand(5, 32, 32, generator=generator) < 0.1
    birds = parts | (torch.rand(5, 32, 32, generator=generator) < 0.3)
    found = part_attention(maps, parts, birds)

    def slow(values: Tensor) -> list[float]:
        wide = F.interpolate(values[:, None], (32, 32), mode="bilinear", align_corners=False)[:, 0]
        return [(w[p].sum() / w.sum()).item() for w, p in zip(wide, parts, strict=True)]

    assert found.share.tolist() == pytest.approx(slow(maps))
    cell = torch.eye(cells[0] * cells[1], dtype=torch.float64).view(-1, *cells)
    each = [slow(one.expand(5, -1, -1)) for one in cell]
    assert found.best.tolist() == pytest.approx([max(column) for column in zip(*each, strict=True)])
    assert found.chance.tolist() == pytest.approx(parts.double().mean((1, 2)).tolist())


def test_empty_maps_and_hidden_parts_are_counted_apart():
    maps = torch.zeros(5, 2, 2)
    maps[[0, 2, 4], 0, 0] = torch.tensor([1.0, 5.0, 1.0])
    parts = corner(1).repeat(5, 1, 1)
    parts[2] = False  # hidden
    parts[3] = False  # empty and hidden
    parts[4] = parts[4].flip(0, 1)  # the far corner
    found = part_attention(maps, parts, corner(2).repeat(5, 1, 1))
    assert (found.n, found.empty, found.hidden) == (2, 2, 2)
    assert found.positions.tolist() == [0, 4]
    assert found.share.tolist() == pytest.approx([1 / 4, 0])
    assert found.mean == pytest.approx(1 / 8)
    half = 1.96 * math.sqrt(2 * (1 / 8) ** 2 / 1) / math.sqrt(2)
    assert found.interval == pytest.approx((1 / 8 - half, 1 / 8 + half))
    assert "n = 2; 2 empty, 2 hidden" in str(found)
    with pytest.raises(LabkitError, match="of 5, 5 have an empty"):
        part_attention(torch.zeros(5, 2, 2), parts, parts)


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataModule]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield data.load("aviary", size="mini")


def test_attention_that_knows_the_parts_beats_every_control(birds: DataModule):
    known = annotate(birds.test)
    ideal = F.avg_pool2d(known.discriminative().float()[:, None], 8)[:, 0]
    found = part_attention(ideal, known.discriminative(), known.parts > 0)
    others = found.controls
    assert found.mean > 1.5 * others["bird"] > 1.5 * others["centre"] > 1.5 * others["chance"]
    assert (found.share <= found.best + 1e-9).all()


def test_score_of_a_network(birds: DataModule):
    torch.manual_seed(0)
    net = build("tiny", 60)
    whole = attention_on_parts(net, birds.test)
    assert whole.n + whole.empty + whole.hidden >= len(birds.test)
    in_parts = attention_on_parts(net, birds.test, batch_size=64)
    torch.testing.assert_close(whole.share, in_parts.share, rtol=1e-3, atol=1e-6)
    one = birds.test.subset([int(whole.positions[3])])
    known = annotate(one)
    mask = known.discriminative()[0]
    map_ = grad_cam(net, birds.test.images[whole.positions[3]][None] / 255, one.labels)[0]
    assert whole.share[3].item() == pytest.approx((map_[mask].sum() / map_.sum()).item(), abs=1e-5)
    assert attention_on_parts(net, birds.test, target="prediction").empty < whole.empty


def test_bad_questions(birds: DataModule):
    net = build("digit_cnn", 10)
    with pytest.raises(LabkitError, match="'truth'"):
        attention_on_parts(net, birds.test, target="truth")
    with pytest.raises(LabkitError, match="other images carry no part maps"):
        attention_on_parts(net, data.load("digits").test)
