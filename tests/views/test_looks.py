"""Rows of birds, columns of networks: one crop, one scale of colours, the parts outlined."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.views import looks
from labkit.views.figures import PALETTE, png


@pytest.fixture
def parts() -> torch.Tensor:
    mask = torch.zeros(2, 16, 16, dtype=torch.bool)
    mask[0, 4:6, 8] = True  # a leg: one pixel wide
    return mask


def drawn(parts: torch.Tensor, maps: dict[str, torch.Tensor], **kw):
    images = torch.randint(0, 255, (2, 3, 16, 16), dtype=torch.uint8)
    return looks.plot_looks(images, ["a wren", "a tit"], maps, parts, **kw)


def test_one_crop_and_one_scale(parts: torch.Tensor):
    first = torch.rand(2, 16, 16)
    fig = drawn(parts, {"student": first, "teacher": 100 * first}, notes={"student": ["x", "y"]})
    axes = np.array(fig.axes[:6]).reshape(2, 3)
    assert [axis.get_title() for axis in axes[0]] == ["image", "student", "teacher"]
    assert [line[0].get_ylabel() for line in axes] == ["a wren", "a tit"]
    assert [line[1].get_xlabel() for line in axes] == ["x", "y"]
    assert {(axis.get_xlim(), axis.get_ylim()) for axis in axes.flat} == {((0, 16), (16, 0))}
    heats = [axis.images[1] for axis in axes[:, 1:].flat]
    assert {heat.get_clim() for heat in heats} == {(0, looks.TOP)}
    # the size of the logits doesn't count: density over an even map
    np.testing.assert_allclose(heats[0].get_array(), first[0] / first[0].mean(), rtol=1e-5)
    np.testing.assert_allclose(heats[0].get_array(), heats[1].get_array(), rtol=1e-5)
    assert fig.axes[6].get_ylabel() == "times an even map"
    assert png(fig)[:4] == b"\x89PNG"


def test_the_outline_runs_along_the_pixels(parts: torch.Tensor):
    fig = drawn(parts, {"student": torch.ones(2, 16, 16)})
    outlined, plain = fig.axes[1], fig.axes[3]
    (line,) = outlined.collections
    corners = line.get_paths()[0].vertices
    np.testing.assert_allclose([corners.min(0), corners.max(0)], [(8, 4), (9, 6)], atol=0.13)
    assert not plain.collections  # no part shows


def test_an_empty_map_stays_dark(parts: torch.Tensor):
    fig = drawn(parts, {"student": torch.zeros(2, 16, 16)})
    assert fig.axes[1].images[1].get_array().max() == 0


def test_scores_beside_their_controls():
    fig = looks.plot_part_attention(
        {"alone": [0.1, 0.2], "distilled": [0.3]}, {"chance": 0.04, "bird": 0.13}, "The message"
    )
    (axis,) = fig.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["alone", "distilled"]
    assert [text.get_text() for text in axis.texts] == ["chance", "bird"]
    points, mean = axis.lines[:2]
    assert (points.get_xdata().tolist(), points.get_ydata().tolist()) == ([0.1, 0.2], [1, 1])
    np.testing.assert_allclose(mean.get_xdata(), 0.15)
    levels = [line.get_xdata()[0] for line in axis.lines if line.get_color() == PALETTE["grey"]]
    assert levels == [0.04, 0.13]
    assert axis.get_title() == "The message"
