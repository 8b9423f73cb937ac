"""Pictures of features: t-SNE maps, and the principal components of patch tokens as colours.

t-SNE: van der Maaten and Hinton, 2008, https://jmlr.org/papers/v9/vandermaaten08a.html. Components as
colours: Oquab et al., 2023 (DINOv2), https://arxiv.org/abs/2304.07193, figure 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..errors import LabkitError
from ..paths import write_atomic
from .figures import MARKERS, figure, png
from .plots import COLOURS

LARGEST = 2000  # images of one map: beyond, it takes minutes and the points hide each other
_BEFORE = 50  # principal components that t-SNE starts from


def tsne(features, *, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Places (N, 2) of images on a map that tries to keep neighbours of features (N, D) neighbours.

    Each dimension is standardised, at most 50 principal components are kept, and the map starts from the
    first two of them, so that equal arguments give an equal map on the same machine.

    Args:
        features: (N, D) tensor or array.
        perplexity: about how many neighbours count for each image; below N / 3.
        seed: of what is left to chance.

    Raises:
        LabkitError: more than 2000 images, or too few for this perplexity.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    x = np.asarray(features, dtype=np.float64)
    if len(x) > LARGEST:
        raise LabkitError(f"A map of {len(x)} images can't be read: pick at most {LARGEST} (a seeded draw).")
    if not 0 < perplexity < len(x) / 3:
        raise LabkitError(
            f"perplexity={perplexity:g} needs more than {3 * perplexity:g} images, but there are {len(x)}."
        )
    x = StandardScaler().fit_transform(x)
    x = PCA(min(_BEFORE, *x.shape), svd_solver="full").fit_transform(x)
    made = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1)
    return made.fit_transform(x.astype(np.float32))


def some_groups(groups: Sequence[str], most: int, images: int, seed: int = 0) -> list[int]:
    """Positions of at most so many images of the first `most` groups, drawn by the seed.

    Args:
        groups: the group of each image, by name.
        most: how many groups, in the order in which they come.
        images: how many of their images.
        seed: of the draw.
    """
    kept = set(list(dict.fromkeys(groups))[:most])
    rows = np.array([i for i, name in enumerate(groups) if name in kept])
    return np.random.default_rng(seed).permutation(rows)[:images].tolist()


def plot_map(points, groups: Sequence[str], title: str = "", *, legend: bool = True) -> Figure:
    """Points (N, 2) with a colour *and* a marker for each group, at most seven groups.

    Args:
        points: (N, 2), as `tsne` gives them.
        groups: the group of each point, by name.
        title: what the map is of; its axes have no meaning, and no numbers.
        legend: names the groups at the right.

    Raises:
        LabkitError: more groups than can be told apart.
    """
    points, names = np.asarray(points), sorted(set(groups))  # the same colours in another map
    if len(names) > len(COLOURS):
        raise LabkitError(
            f"{len(names)} groups can't be told apart in one map: pick at most {len(COLOURS)}, or join some."
        )
    fig, axis = figure(width=6.4, height=4.2)
    for name, colour, marker in zip(names, COLOURS, MARKERS, strict=False):
        mine = points[[group == name for group in groups]]
        axis.scatter(*mine.T, s=16, c=colour, marker=marker, label=name, alpha=0.75, linewidths=0)
    axis.set(xticks=[], yticks=[], title=title)
    for side in axis.spines.values():
        side.set_visible(False)
    if legend:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.4, frameon=False)
    return fig


def save(fig: Figure, path: Path | str) -> Path:
    """Write a figure as a PNG file, completely or not at all, and say where it is.

    Raises:
        LabkitError: the file can't be written.
    """
    return write_atomic(Path(path), png(fig))


def patch_colours(patches, fit_on=None) -> np.ndarray:
    """The first three principal components of patch tokens as red, green and blue.

    Args:
        patches: (B, N, D) tokens in rows from the top left, N a square number.
        fit_on: (..., D) tokens that decide the components and their range; None takes `patches`.

    Returns:
        (B, sqrt(N), sqrt(N), 3) in [0, 1]; each channel runs from the 2nd to the 98th percentile.

    Raises:
        LabkitError: N is no square number.
    """
    from sklearn.decomposition import PCA

    tokens = np.asarray(patches, dtype=np.float64)
    side = round(tokens.shape[1] ** 0.5)
    if side * side != tokens.shape[1]:
        raise LabkitError(f"{tokens.shape[1]} patches fill no square: leave out CLS and register tokens.")
    basis = tokens if fit_on is None else np.asarray(fit_on, dtype=np.float64)
    basis = basis.reshape(-1, tokens.shape[-1])
    pca = PCA(3, svd_solver="full").fit(basis)
    low, high = np.percentile(pca.transform(basis), [2, 98], axis=0)
    colours = (pca.transform(tokens.reshape(-1, tokens.shape[-1])) - low) / np.maximum(high - low, 1e-12)
    return colours.clip(0, 1).reshape(len(tokens), side, side, 3)


def plot_patches(images, rows: dict[str, np.ndarray], titles: Sequence[str] = ()) -> Figure:
    """Images (B, 3, H, W) above rows of maps (B, h, w, 3) in [0, 1], all at one scale and crop."""
    shown = np.moveaxis(np.asarray(images), 1, -1)
    shown = shown / 255 if shown.dtype == np.uint8 else shown
    every = {"image": shown, **rows}
    columns = len(shown)
    fig, axes = figure(len(every), columns, width=8.0, height=1.05 * len(every) + 0.35, squeeze=False)
    for line, (name, pictures) in zip(axes, every.items(), strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            for side in axis.spines.values():
                side.set_visible(False)
        line[0].set_ylabel(name, fontsize=9)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=9)
    return fig
