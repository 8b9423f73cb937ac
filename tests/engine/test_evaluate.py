"""`evaluate` against slow references, intervals against their formulas, and what it must leave alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from engine_toys import classifier, digest, images, net
from torch import nn

from labkit.engine import Evaluation, evaluate
from labkit.engine.evaluate import wilson

N, CLASSES = 60, ("a", "b", "c", "d")


@pytest.fixture
def found() -> Evaluation:
    """Class d has no image; c is never predicted."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(N, 4, generator=generator)
    logits[:, 2] = -20
    return Evaluation(logits, torch.randint(3, (N,), generator=generator), CLASSES)


def test_accuracy_confusion_and_classes_by_counting(found: Evaluation):
    matrix = [[0] * 4 for _ in range(4)]
    for row, label in zip(found.logits.tolist(), found.labels.tolist(), strict=True):
        matrix[label][row.index(max(row))] += 1
    assert found.confusion.tolist() == matrix
    assert found.accuracy == pytest.approx(sum(matrix[i][i] for i in range(4)) / N)
    assert found.n == N
    for i, name in enumerate(CLASSES[:3]):
        assert found.per_class[name] == pytest.approx(matrix[i][i] / sum(matrix[i]))
        assert found.per_class_interval[name] == pytest.approx(wilson(matrix[i][i], sum(matrix[i])))
    assert math.isnan(found.per_class["d"])
    assert found.per_class_interval["d"] == (0.0, 1.0)


def test_loss_by_the_formula(found: Evaluation):
    total = 0.0
    for row, label in zip(found.logits.double().tolist(), found.labels.tolist(), strict=True):
        total -= math.log(math.exp(row[label]) / sum(map(math.exp, row)))
    assert found.loss == pytest.approx(total / N, rel=1e-5)


def slow_ece(logits: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    confidence, predicted = logits.softmax(1).max(1)
    total = 0.0
    for k in range(bins):
        rows = [
            (c, p == y)
            for c, p, y in zip(confidence.tolist(), predicted.tolist(), labels.tolist(), strict=True)
            if k / bins < c <= (k + 1) / bins
        ]
        if rows:
            gap = sum(hit for _, hit in rows) / len(rows) - sum(c for c, _ in rows) / len(rows)
            total += len(rows) / len(labels) * abs(gap)
    return total


def test_ece_by_its_definition_and_its_bootstrap_interval(found: Evaluation):
    assert found.ece == pytest.approx(slow_ece(found.logits, found.labels), abs=1e-6)
    low, high = found.ece_interval
    assert 0 <= low < high <= 1
    again = Evaluation(found.logits, found.labels, CLASSES)
    torch.rand(3)
    assert again.ece_interval == (low, high), "the resamples have their own seed"
    rows = torch.randint(N, (200, N), generator=torch.Generator().manual_seed(0))
    values = [slow_ece(found.logits[r], found.labels[r]) for r in rows]
    assert (low, high) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-5)


def test_perfectly_sure_and_right_is_calibrated():
    sure = Evaluation(100 * torch.eye(3), torch.arange(3), CLASSES[:3])
    assert sure.accuracy == 1
    assert sure.ece == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (7, 10), (1, 1), (500, 599)])
def test_wilson_by_the_formula(hits: int, n: int):
    z, p = 1.959963984540054, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = wilson(hits, n)
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert 0 <= low <= p <= high <= 1
    assert wilson(0, 0) == (0.0, 1.0)


def test_interval_is_wilsons(found: Evaluation):
    assert found.interval == wilson(round(found.accuracy * N), N)
    assert f"n = {N}" in str(found)
    assert f"{found.accuracy:.1%}" in str(found)


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_every_image_counts_once_in_order(batch_size: int):
    model, split = net().eval(), images(50, 1)
    result = evaluate(model, split, batch_size=batch_size)
    wanted = model(split.images / 255).logits
    assert torch.allclose(result.logits, wanted, atol=1e-6)
    assert torch.equal(result.labels, split.labels)


def test_modes_and_statistics_are_left_alone():
    model = classifier()
    model.train()
    model.net.features.eval()
    modes = [m.training for m in model.modules()]
    before = digest(model)
    first = evaluate(model, images(30, 1))
    assert [m.training for m in model.modules()] == modes
    assert digest(model) == before
    assert torch.equal(first.logits, evaluate(model, images(30, 1)).logits), "no dropout"


def test_mode_comes_back_after_an_error():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            assert not self.training
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        evaluate(model, images(3, 1))
    assert model.training


def test_plain_modules_float64_and_logits_for_later_use():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()
    result = evaluate(plain, images(9, 1))
    assert result.logits.dtype == torch.float32
    assert not result.logits.requires_grad
    weight = torch.ones(3, requires_grad=True)
    (weight * result.logits).sum().backward()  # inference tensors would refuse
    assert weight.grad.isfinite().all()
