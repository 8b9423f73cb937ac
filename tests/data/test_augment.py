"""Augmentation against slow or foreign versions of itself, and its keys."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import functional as tv

from labkit import LabkitError
from labkit.data import PRESETS, Augment, Params
from labkit.data.augment import as_float

INDEX = torch.arange(100, 164)


def pixels(b: int = 64, c: int = 3, h: int = 12, w: int = 12) -> torch.Tensor:
    return torch.randint(
        0, 256, (b, c, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(b + h)
    )


@pytest.mark.parametrize("fill", ["zero", "reflect"])
def test_a_shift_is_pad_crop_and_flip(fill: str) -> None:
    augment, images = Augment(pad=3, fill=fill, flip=True), pixels(h=12, w=10)
    params = augment.draw(0, 2, INDEX)
    out = augment.apply(images, params)
    padded = F.pad(images.float(), (3,) * 4, mode="reflect" if fill == "reflect" else "constant")
    for i in range(len(images)):  # the slow way, image by image
        top, left = (params.offset[i] * 7).int().tolist()
        crop = padded[i, :, top : top + 12, left : left + 10]
        crop = crop.flip(-1) if params.flip[i] else crop
        assert torch.equal(out[i], crop / 255)


def test_all_shifts_and_both_sides_occur() -> None:
    params = Augment(pad=2, flip=True).draw(0, 0, torch.arange(4000))
    counts = torch.bincount((params.offset * 5).long().flatten(), minlength=5)
    assert len(counts) == 5
    assert (counts / counts.sum() - 0.2).abs().max() < 0.02
    assert abs(params.flip.float().mean() - 0.5) < 0.03


def test_a_share_of_the_side_is_rounded_to_pixels() -> None:
    images = pixels(h=8, w=8)
    assert torch.equal(Augment(pad=1 / 8)(images, 0, 0, INDEX), Augment(pad=1)(images, 0, 0, INDEX))
    assert torch.equal(
        Augment(pad=1 / 8)(pixels(h=32, w=32), 0, 0, INDEX), Augment(pad=4)(pixels(h=32, w=32), 0, 0, INDEX)
    )


def test_a_crop_of_whole_pixels_is_torchvisions_inside() -> None:
    images = as_float(pixels(h=16, w=16))
    augment = Augment(scale=(0.25, 0.25), flip=True)
    size = torch.tensor([[8, 10]]).expand(64, 2) / 16
    free = 1 - size
    corner = torch.stack([torch.arange(64) % 9, torch.arange(64) % 7], 1)  # top, left in pixels
    params = Params(corner / 16 / free, size, torch.arange(64) % 2 == 0, torch.ones(64, 4))
    out = augment.apply(images, params)
    for i in range(64):
        top, left = corner[i].tolist()
        wanted = tv.resized_crop(images[i], top, left, 8, 10, [16, 16], antialias=False)
        wanted = wanted.flip(-1) if params.flip[i] else wanted
        # at the rim torchvision repeats the crop's own edge where we see the image beyond it
        torch.testing.assert_close(out[i, :, 1:-1, 1:-1], wanted[:, 1:-1, 1:-1], atol=1e-5, rtol=0)


def test_crops_keep_to_their_ranges_and_to_the_image() -> None:
    augment = Augment(scale=(0.2, 0.9), ratio=(0.5, 2.0))
    params = augment.draw(1, 1, torch.arange(5000))
    height, width = params.size.unbind(1)
    assert params.size.max() <= 1
    inner = params.size.max(1).values < 1  # not cut at the image's border
    area, ratio = (height * width)[inner], (width / height)[inner]
    assert 0.2 <= area.min() <= area.max() <= 0.9 + 1e-6
    assert 0.5 - 1e-6 <= ratio.min() <= ratio.max() <= 2.0 + 1e-6
    flat = augment(torch.full((64, 3, 9, 9), 128, dtype=torch.uint8), 0, 0, INDEX)
    torch.testing.assert_close(flat, torch.full_like(flat, 128 / 255))  # nothing comes from outside


@pytest.mark.parametrize(
    ("column", "adjust"),
    [(0, tv.adjust_brightness), (1, tv.adjust_contrast), (2, tv.adjust_saturation)],
)
def test_colour_is_torchvisions(column: int, adjust) -> None:
    jitter = [0.0] * 4
    jitter[column] = 0.4
    augment, images = Augment(jitter=tuple(jitter)), as_float(pixels())
    params = augment.draw(0, 0, INDEX)
    wanted = torch.stack(
        [adjust(x, f) for x, f in zip(images, params.colour[:, column].tolist(), strict=True)]
    )
    torch.testing.assert_close(augment.apply(images, params), wanted, atol=2e-3, rtol=0)  # luma's rounding


def test_a_turn_of_the_hue_keeps_luma_and_grey_and_returns_after_a_full_circle() -> None:
    augment = Augment(jitter=(0, 0, 0, 0.5))
    soft = 0.4 + 0.2 * as_float(pixels())  # far from the limits, where clamping would change luma
    params = augment.draw(0, 0, INDEX)
    out = augment.apply(soft, params)
    assert (out - soft).abs().max() > 0.05
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close((weights * out).sum(1), (weights * soft).sum(1), atol=1e-5, rtol=0)
    grey = soft[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(augment.apply(grey, params), grey, atol=1e-5, rtol=0)
    circle = params._replace(colour=torch.tensor([1.0, 1.0, 1.0, 1.0]).expand(64, 4))
    torch.testing.assert_close(augment.apply(soft, circle), soft, atol=1e-5, rtol=0)


def test_colour_suits_grey_images() -> None:
    out = PRESETS["rrc-jitter"](pixels(c=1), 0, 0, INDEX)
    assert out.shape == (64, 1, 12, 12)
    assert 0 <= out.min() <= out.max() <= 1


@pytest.mark.parametrize("name", PRESETS)
def test_a_view_depends_on_seed_epoch_and_sample_alone(name: str) -> None:
    augment, images = Augment.named(name), pixels(h=13, w=13)
    whole = augment(images, 3, 5, INDEX)
    assert whole.dtype == torch.float32
    assert 0 <= whole.min() <= whole.max() <= 1
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    for part in (order, order[:1], order[1:4], order[4:41]):
        assert torch.equal(augment(images[part], 3, 5, INDEX[part]), whole[part])
    assert torch.equal(augment(as_float(images), 3, 5, INDEX), whole)  # float or uint8
    if name != "none":
        for other in (augment(images, 4, 5, INDEX), augment(images, 3, 6, INDEX)):
            assert not torch.equal(other, whole)


def test_what_was_drawn_can_be_replayed_and_serves_every_size() -> None:
    augment, small = Augment(scale=(0.3, 0.6), flip=True), as_float(pixels(h=16, w=16))
    large = F.interpolate(small, scale_factor=4, mode="bilinear")
    params = augment.draw(0, 0, INDEX)
    assert torch.equal(augment.apply(small, params), augment(small, 0, 0, INDEX))
    assert torch.equal(
        augment.apply(small[:5], Params(*(p[:5] for p in params))), augment.apply(small, params)[:5]
    )
    shrunk = F.avg_pool2d(augment.apply(large, params), 4)
    assert (shrunk - augment.apply(small, params)).abs().mean() < 0.06  # the same crops


def test_no_augmentation_changes_nothing() -> None:
    assert torch.equal(Augment()(pixels(), 0, 0, INDEX), pixels() / 255)


def test_digits_are_never_mirrored() -> None:
    assert not Augment.named("shift").draw(0, 0, INDEX).flip.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pad": -1}, "pad is a share"),
        ({"fill": "edge"}, "Unknown fill 'edge'"),
        ({"scale": (0.0, 1.0)}, "scale is a range"),
        ({"scale": (0.9, 0.5)}, "scale is a range"),
        ({"scale": (0.5, 1.0), "pad": 2}, "not both"),
        ({"ratio": (2.0, 1.0)}, "ratio is a range"),
        ({"jitter": (0.1, 0.1, 0.1)}, "four strengths"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "hue"),
    ],
)
def test_an_option_out_of_range_is_refused(options: dict, message: str) -> None:
    with pytest.raises(LabkitError, match=message):
        Augment(**options)


def test_an_unknown_preset_and_an_oversized_pad_are_refused() -> None:
    with pytest.raises(LabkitError, match="Did you mean 'crop-flip'"):
        Augment.named("cropflip")
    with pytest.raises(LabkitError, match="too large for images of 12x12"):
        Augment(pad=12)(pixels(), 0, 0, INDEX)
