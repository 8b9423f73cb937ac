"""t-SNE maps, components of patches as colours, curves: right on cases one can see through, and drawn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from labkit.errors import LabkitError
from labkit.views import embedding
from labkit.views.curves import plot_curves
from labkit.views.figures import png


def clouds(n: int = 20) -> torch.Tensor:
    """Two clouds of n points, far apart in 5 dimensions."""
    points = torch.randn(2 * n, 5, generator=torch.Generator().manual_seed(0))
    points[n:, 2] += 30
    return points


def test_tsne_keeps_two_clouds_apart_and_repeats_itself():
    first = embedding.tsne(clouds(), perplexity=5, seed=1)
    assert first.shape == (40, 2)
    centres = first[:20].mean(0), first[20:].mean(0)
    near = np.linalg.norm(first[:20] - centres[0], axis=1) < np.linalg.norm(first[:20] - centres[1], axis=1)
    assert near.all()
    assert np.array_equal(first, embedding.tsne(clouds(), perplexity=5, seed=1))


def test_tsne_refuses_what_cannot_be_read():
    with pytest.raises(LabkitError, match="perplexity=30 needs more than 90 images, but there are 40"):
        embedding.tsne(clouds())
    with pytest.raises(LabkitError, match="at most 2000"):
        embedding.tsne(torch.zeros(2001, 3), perplexity=5)


def test_some_groups_are_a_seeded_draw_of_the_first():
    groups = ["b", "a", "c", "b", "a", "b"] * 4
    rows = embedding.some_groups(groups, 2, 7, seed=3)
    assert len(set(rows)) == len(rows) == 7
    assert {groups[i] for i in rows} == {"a", "b"}
    assert rows == embedding.some_groups(groups, 2, 7, seed=3) != embedding.some_groups(groups, 2, 7, seed=4)
    assert sorted(embedding.some_groups(groups, 1, 100)) == [i for i, g in enumerate(groups) if g == "b"]


def test_patch_colours_tell_two_kinds_of_patches_apart():
    tokens = 0.01 * torch.randn(3, 16, 6, generator=torch.Generator().manual_seed(0))
    bird = torch.arange(16) % 3 == 0
    tokens[:, bird, 4] += 5.0
    red = embedding.patch_colours(tokens)[..., 0].reshape(3, 16)
    assert abs(red[:, bird].mean() - red[:, ~bird].mean()) > 0.9
    assert red[:, bird].std() < 0.1


def test_patch_colours_take_their_components_from_elsewhere():
    generator = torch.Generator().manual_seed(0)
    tokens, other = torch.randn(2, 4, 5, generator=generator), torch.randn(9, 4, 5, generator=generator)
    alone = embedding.patch_colours(tokens[:1], other)
    assert np.allclose(alone, embedding.patch_colours(tokens, other)[:1])
    assert alone.shape == (1, 2, 2, 3)
    assert 0 <= alone.min() <= alone.max() <= 1
    with pytest.raises(LabkitError, match="5 patches fill no square"):
        embedding.patch_colours(torch.zeros(2, 5, 3))


def test_a_map_tells_groups_by_colour_and_by_marker(tmp_path):
    groups = [f"family {i % 7}" for i in range(21)]
    fig = embedding.plot_map(np.random.default_rng(0).normal(size=(21, 2)), groups, "a map")
    dots = fig.axes[0].collections
    assert len({tuple(d.get_facecolor()[0]) for d in dots}) == 7
    assert len({d.get_paths()[0].vertices.tobytes() for d in dots}) == 7
    assert embedding.save(fig, tmp_path / "maps" / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(LabkitError, match="8 groups can't be told apart"):
        embedding.plot_map(np.zeros((8, 2)), [str(i) for i in range(8)])


def test_figures_draw_without_warnings_and_alike_each_time():
    images = torch.arange(2 * 3 * 64).view(2, 3, 8, 8).byte()
    rows = {"trained": np.zeros((2, 2, 2, 3)), "random": np.ones((2, 2, 2, 3))}
    curves = {"a": [(0.1, 0.02), (0.4, float("nan"))], "b": [(0.3, 0.0), (0.41, 0.01)]}
    makers = (
        lambda: embedding.plot_patches(images, rows, ["finch", "tern"]),
        lambda: embedding.plot_map(np.eye(4)[:, :2], ["a", "b", "a", "b"]),
        lambda: plot_curves([1, 20], curves, xlabel="labels", title="t", ticks=["1", "20 = all"]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in makers:
            assert png(make()) == png(make())
