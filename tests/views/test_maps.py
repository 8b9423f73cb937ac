"""Maps lie over the square of their image, matrices show their numbers, the diagram names every step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.views import maps
from labkit.views.figures import png


def extents(axis) -> set[tuple]:
    return {tuple(image.get_extent()) for image in axis.images}


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_attention_has_the_crop_and_scale_of_its_image(channels: int, kind: torch.dtype):
    images = torch.randint(0, 255, (3, channels, 64, 64)).to(kind) / (1 if kind == torch.uint8 else 255)
    images = images.to(kind)
    attention = {"teacher": torch.rand(3, 8, 8), "student": torch.rand(3, 4, 4)}
    fig = maps.plot_attention(images, ["a", "b", "c"], attention, {"student": ["x", "y", "z"]})
    assert len(fig.axes) == 9
    assert {e for axis in fig.axes for e in extents(axis)} == {(0, 64, 64, 0)}
    assert [axis.get_title() for axis in fig.axes[:3]] == ["a", "b", "c"]
    assert [axis.get_xlabel() for axis in fig.axes[6:]] == ["x", "y", "z"]
    assert [fig.axes[i].get_ylabel() for i in (0, 3, 6)] == ["image", "teacher", "student"]
    shown = fig.axes[4].images[-1].get_array()
    np.testing.assert_allclose(shown, attention["teacher"][1])  # neither smoothed nor enlarged
    assert png(fig)[:4] == b"\x89PNG"


def test_layers_keep_their_own_resolution():
    rows = {"teacher": [torch.rand(n, n) for n in (8, 4, 2)], "student": [torch.zeros(2, 2)] * 3}
    fig = maps.plot_layers(torch.rand(3, 16, 16), rows, ["0", "1", "2"], "the message")
    shapes = [axis.images[-1].get_array().shape[:2] for axis in fig.axes]
    assert shapes == [(16, 16), (8, 8), (4, 4), (2, 2), (16, 16), (2, 2), (2, 2), (2, 2)]
    assert {e for axis in fig.axes for e in extents(axis)} == {(0, 16, 16, 0)}
    assert fig.get_suptitle() == "the message"


def test_negative_values_of_a_map_are_shown():
    fig = maps.plot_layers(torch.rand(3, 8, 8), {"a": [torch.tensor([[-2.0, 1.0]])]}, ["0"])
    drawn = fig.axes[1].images[0]
    assert drawn.get_clim() == (-2.0, 1.0)


def test_maps_may_share_a_scale():
    fig = maps.plot_layers(torch.rand(3, 8, 8), {"a": [torch.tensor([[0.1, 0.2]])]}, ["0"], top=1)
    assert fig.axes[1].images[0].get_clim() == (0, 1)


def test_cka_prints_every_number_on_one_scale():
    matrices = {"before": np.arange(16).reshape(4, 4) / 16, "after": np.full((4, 4), 0.5)}
    fig = maps.plot_cka(matrices, list("0123"), "alike?")
    first, second = fig.axes[:2]
    assert [text.get_text() for text in first.texts] == [f"{v / 16:.2f}" for v in range(16)]
    assert first.images[0].get_clim() == second.images[0].get_clim() == (0, 1)
    assert (first.get_xlabel(), first.get_ylabel()) == ("teacher's layer", "student's layer")
    # row = student's layer, column = teacher's
    assert first.texts[1].get_position() == (1, 0)


def test_the_fusion_names_its_parts():
    fig = maps.plot_fusion()
    text = " ".join(t.get_text() for t in fig.axes[0].texts)
    for part in ("1x1 conv, BN", "sigmoid", "z_0 x + z_1 y", "3x3 conv, BN", "HCL", "(B, 2, h, w)"):
        assert part in text


def test_depths_have_a_point_and_a_bar_for_every_layer():
    curves = {"hint": [(0.1 * i, 0.01) for i in range(4)], "attention": [(0.2, float("nan"))] * 4}
    fig = maps.plot_depths(curves, "which layer?")
    axis = fig.axes[0]
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [0, 0.1, 0.2, 0.3])
    assert {text.get_text() for text in axis.texts} == {"hint", "attention"}
    assert axis.get_title() == "which layer?"


def test_levels_stand_beside_the_depths_with_their_interval():
    curves = {"hint": [(0.5, 0.01)] * 4}
    axis = maps.plot_depths(curves, bands={"alone": (0.4, 0.1)}).axes[0]
    assert {text.get_text() for text in axis.texts} == {"hint", "alone"}
    assert list(axis.lines[0].get_ydata()) == [0.4, 0.4]
    corners = axis.patches[0].get_extents().transformed(axis.transData.inverted())
    np.testing.assert_allclose((corners.y0, corners.y1), (0.3, 0.5))
