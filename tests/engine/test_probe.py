"""The linear probe: its scaler sees training images alone, validation chooses C, its shortcut is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from labkit.engine.probe import fit_probe


def clusters(n: int, classes: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, width) of very different spreads, and labels (n,)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (rng.normal(size=(n, width)) + 1.5 * np.eye(classes, width)[y]) * rng.uniform(0.1, 9, width), y


def test_scaler_is_learnt_on_training_images_and_c_chosen_on_validation():
    x, y = clusters(60, 3, 5, seed=0)
    train, val = (x[:24], y[:24]), (x[24:], y[24:])
    strengths = (1.0, 0.001, 0.05, 500.0)
    c, probe = fit_probe(train, val, strengths)
    z = (x - x[:24].mean(0)) / x[:24].std(0)
    scores = {
        s: LogisticRegression(C=s, max_iter=2000).fit(z[:24], y[:24]).score(z[24:], y[24:]) for s in strengths
    }
    assert c == min(s for s in strengths if scores[s] == max(scores.values()))
    assert probe.score(*val) == scores[c]


def test_probe_of_wide_features_is_that_of_the_unturned_ones():
    x, y = clusters(50, 5, 40, seed=1)
    _, probe = fit_probe((x[:20], y[:20]), (x[20:], y[20:]), [0.05])
    z = (x - x[:20].mean(0)) / x[:20].std(0)
    plain = LogisticRegression(C=0.05, max_iter=2000).fit(z[:20], y[:20])
    assert np.allclose(probe.predict_proba(x), plain.predict_proba(z), atol=1e-3)


def test_features_may_be_taken_as_they_are():
    x, y = clusters(50, 5, 40, seed=2)
    _, probe = fit_probe((x[:20], y[:20]), (x[20:], y[20:]), [0.05], standardise=False)
    plain = LogisticRegression(C=0.05, max_iter=2000).fit(x[:20], y[:20])
    assert np.array_equal(probe.predict_proba(x), plain.predict_proba(x))


@pytest.mark.filterwarnings("error")
def test_tensors_and_one_image_of_each_class_will_do():
    x, y = (torch.from_numpy(part) for part in clusters(12, 4, 6, seed=3))
    c, probe = fit_probe((x[:4], y[:4]), (x[4:], y[4:]), [1.0, 0.1], max_iter=1)
    assert c in (0.1, 1.0)
    assert probe.predict(x).shape == (12,)
