"""scikit-learn's digits."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from labkit.data import load


def test_the_pixels_are_scikit_learns() -> None:
    data, source = load("digits"), load_digits()
    for split in (data.train, data.val, data.test):
        wanted = np.round(source.images[split.ids] * 255 / 16)
        assert np.array_equal(split.images[:, 0].numpy(), wanted)
        assert np.array_equal(split.labels.numpy(), source.target[split.ids])
    assert data.test.images.max() == 255


def test_the_splits_are_stratified_disjoint_and_the_test_is_fixed() -> None:
    a, b = load("digits", seed=0), load("digits", seed=1)
    assert [len(a.train), len(a.val), len(a.test)] == [959, 239, 599]
    assert sorted(torch.cat([s.ids for s in (a.train, a.val, a.test)]).tolist()) == list(range(1797))
    assert torch.equal(a.test.ids, b.test.ids)
    assert not torch.equal(a.val.ids, b.val.ids)
    for split in (a.train, a.val, a.test):
        counts = torch.bincount(split.labels)
        assert counts.max() - counts.min() <= 0.1 * counts.max()


def test_names_prompts_and_augmentation() -> None:
    data = load("digits")
    assert data.classes == tuple("0123456789")
    assert data.prompts("{name} is {description}")[7] == "7 is seven"
    assert (data.channels, data.image_size) == (1, 8)
    assert not data.augment.flip


def test_another_size_keeps_the_picture() -> None:
    small, large = load("digits").test, load("digits", image_size=24).test
    assert large.images.shape == (599, 1, 24, 24)
    back = torch.nn.functional.avg_pool2d(large.images.float(), 3)
    pair = torch.stack([back.flatten(), small.images.float().flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.97
