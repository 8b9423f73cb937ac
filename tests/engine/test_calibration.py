"""Reliability against a slow loop; the temperature against a grid and known answers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from labkit.engine.calibration import fit_temperature, reliability
from labkit.errors import LabkitError


def sample(n: int = 4000, sharpen: float = 1.0):
    """Logits whose softmax is the true distribution of the labels, then multiplied by `sharpen`."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, 6, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return sharpen * logits, labels


@pytest.mark.parametrize("sharpen", [0.3, 1.0, 5.0])
def test_ece_is_the_mean_gap_between_the_bins_means(sharpen):
    found = reliability(*sample(500, sharpen))
    gaps = (found.share * (found.confidence - found.accuracy).abs()).sum()
    assert found.ece == pytest.approx(gaps.item(), abs=1e-5)


def test_bins_are_those_of_a_slow_loop():
    logits, labels = sample(200)
    found = reliability(logits, labels)
    rows = []
    for low in (k / 15 for k in range(15)):
        inside = [
            (p.max().item(), float(p.argmax() == y))
            for p, y in zip(logits.double().softmax(1), labels, strict=True)
            if low < p.max() <= low + 1 / 15
        ]
        if inside:
            c, h = zip(*inside, strict=True)
            rows.append((sum(c) / len(c), sum(h) / len(h), len(c) / 200))
    torch.testing.assert_close(torch.stack(found[:3], 1), torch.tensor(rows, dtype=torch.float64))
    assert found.share.sum() == pytest.approx(1)


@pytest.mark.parametrize("sharpen", [0.2, 1.0, 8.0])
def test_temperature_undoes_sharpening(sharpen):
    logits, labels = sample(sharpen=sharpen)
    t = fit_temperature(logits, labels)
    assert t == pytest.approx(sharpen, rel=0.06)
    best = F.cross_entropy(logits.double() / t, labels)
    for other in (0.9 * t, 1.1 * t):
        assert best < F.cross_entropy(logits.double() / other, labels)
    assert reliability(logits / t, labels).ece < 0.03


def test_bad_input_is_one_sentence():
    for call in (reliability, fit_temperature):
        with pytest.raises(LabkitError, match="belong together"):
            call(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))
        with pytest.raises(LabkitError, match="belong together"):
            call(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
