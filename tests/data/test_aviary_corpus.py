"""Pre-training birds: none of the benchmark's; prefixes, views, captions, and the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from labkit import LabkitError
from labkit.data import load
from labkit.data.aviary import BENCHMARK, GENERIC, SCENES, corpus, dataset, pretraining, render


@pytest.fixture(autouse=True)
def _here(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_QUIET", "1")


def test_wild_birds_come_with_captions_and_without_classes() -> None:
    birds = pretraining(300, image_size=16)
    assert birds.images.shape == (300, 1, 3, 16, 16)
    assert birds.images.dtype == torch.uint8
    assert len(birds) == len(birds.captions) == len(birds.species) == 300
    assert birds.labels.unique().tolist() == [-1]
    assert set(birds.scene.tolist()) == set(range(len(SCENES)))
    assert not set(birds.species) & set(BENCHMARK)


def test_generic_birds_have_200_classes_in_turn() -> None:
    birds = pretraining(450, kind="generic", image_size=16)
    assert torch.equal(birds.labels, torch.arange(450) % 200)
    assert birds.species == [GENERIC[i % 200] for i in range(450)]
    assert not (birds.images[0] == birds.images[200]).all()  # the same species, another photograph


def test_a_small_set_is_the_beginning_of_a_large_one_whatever_the_views() -> None:
    small, large = pretraining(40, seed=3, image_size=16), pretraining(70, seed=3, views=2, image_size=16)
    assert torch.equal(small.images[:, 0], large.images[:40, 0])
    assert small.captions == large.captions[:40]
    assert torch.equal(small.scene, large.scene[:40])
    assert small.species == large.species[:40]


def test_views_are_photographs_of_the_same_bird() -> None:
    birds = pretraining(30, views=3, image_size=16)
    assert birds.images.shape == (30, 3, 3, 16, 16)
    assert not (birds.images[:, 0] == birds.images[:, 1]).flatten(1).all(1).any()
    index = corpus._FIRST["wild"] + 5 * corpus._VIEWS + 2
    picture = render(birds.species[5], 0, index, image_size=16)
    assert torch.equal(birds.images[5, 2], torch.from_numpy(picture.image).permute(2, 0, 1))


def test_seeds_and_kinds_share_no_photograph() -> None:
    sets = [
        pretraining(100, image_size=16),
        pretraining(100, seed=1, image_size=16),
        pretraining(100, kind="generic", image_size=16),
        pretraining(100, kind="generic", seed=1, image_size=16),
    ]
    images = torch.cat([s.images for s in sets]).flatten(1)
    assert len(images.unique(dim=0)) == 400


def test_indices_of_the_benchmark_and_of_pre_training_do_not_meet() -> None:
    benchmark = [shot.index for split in dataset.SPLITS for shot in dataset.shots(split)[0]]
    first = corpus._FIRST
    assert max(benchmark) < first["wild"]
    assert first["wild"] + 10**9 * corpus._VIEWS < first["generic"]


@pytest.mark.slow
def test_benchmark_photographs_are_not_among_those_of_pre_training() -> None:
    benchmark = load("aviary", size="mini", image_size=16)
    theirs = pretraining(500, image_size=16).images[:, 0].flatten(1)
    for split in (benchmark.train, benchmark.val, benchmark.test):
        ours = split.images.flatten(1)
        assert len(torch.cat([ours, theirs]).unique(dim=0)) == len(ours) + len(theirs)


def test_again_it_comes_from_the_cache_and_writing_to_it_is_harmless(alone: Path) -> None:
    first = pretraining(50, image_size=16)
    (file,) = (alone / "datasets" / "aviary").glob("*.npy")
    changed = file.stat().st_mtime_ns
    wanted = np.array(first.images)
    first.images[:] = 0
    assert np.array_equal(pretraining(50, image_size=16).images, wanted)
    assert file.stat().st_mtime_ns == changed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is a whole number from 1"),
        ({"n": 2.5}, "n is a whole number"),
        ({"n": 2, "views": 0}, "views is a whole number from 1 to 1000, but it is 0"),
        ({"n": 2, "seed": -1}, "seed is a whole number from 0"),
        ({"n": 2, "kind": "wyld"}, "Unknown kind of pre-training 'wyld'. Did you mean 'wild'"),
        ({"n": 2, "image_size": 4}, "image_size from 16 to 1024, not 4"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(LabkitError, match=message):
        pretraining(**options)
