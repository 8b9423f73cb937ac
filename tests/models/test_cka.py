"""CKA against the formulas written out, its invariances and the limits that tell the two estimates apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import labkit
from labkit import LabkitError
from labkit.models.cka import cka, minibatch_cka


def features(n: int, p: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, p, generator=generator) * torch.linspace(0.5, 3, p) + torch.linspace(-2, 5, p)


def slow_biased(x: Tensor, y: Tensor) -> float:
    """tr(K H L H) with the (n, n) matrices."""
    x, y = x.double(), y.double()
    h = torch.eye(len(x), dtype=torch.float64) - 1 / len(x)

    def hsic(a: Tensor, b: Tensor) -> Tensor:
        return torch.trace(a @ a.T @ h @ b @ b.T @ h)

    return float(hsic(x, y) / (hsic(x, x) * hsic(y, y)).sqrt())


def slow_hsic1(x: Tensor, y: Tensor) -> float:
    """HSIC_1 as printed (methods sheet 26), term by term, with *uncentred* Gram matrices."""
    n = len(x)
    k, l = (a.double() @ a.double().T for a in (x, y))  # noqa: E741
    total = rows = 0.0
    k_sum = l_sum = 0.0
    for i in range(n):
        row_k = sum(float(k[i, j]) for j in range(n) if j != i)
        row_l = sum(float(l[i, j]) for j in range(n) if j != i)
        total += sum(float(k[i, j] * l[i, j]) for j in range(n) if j != i)
        rows += row_k * row_l
        k_sum, l_sum = k_sum + row_k, l_sum + row_l
    return (total + k_sum * l_sum / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows) / (n * (n - 3))


def slow_unbiased(x: Tensor, y: Tensor) -> float:
    return slow_hsic1(x, y) / math.sqrt(slow_hsic1(x, x) * slow_hsic1(y, y))


@pytest.mark.parametrize(("n", "p", "q"), [(30, 4, 7), (12, 40, 3), (9, 20, 30)])
def test_equals_the_formulas(n: int, p: int, q: int):
    x, y = features(n, p, 1), features(n, q, 2)
    y[:, :2] += x[:, :2]
    assert cka(x, y) == pytest.approx(slow_biased(x, y), rel=1e-10)
    assert cka(x, y, unbiased=True) == pytest.approx(slow_unbiased(x, y), rel=1e-9)


@pytest.mark.parametrize("unbiased", [False, True])
def test_invariances(unbiased: bool):
    x, y = features(50, 6, 1).double(), features(50, 6, 2).double()
    y += x
    rotation = torch.linalg.qr(features(6, 6, 3).double()).Q
    value = cka(x, y, unbiased)
    assert cka(x, x, unbiased) == pytest.approx(1, abs=1e-12)
    assert cka(y, x, unbiased) == pytest.approx(value, abs=1e-12)
    assert cka(x.double() @ rotation, 7 * y, unbiased) == pytest.approx(value, abs=1e-9)
    assert cka(x + 100, y - 3, unbiased) == pytest.approx(value, abs=1e-9)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert cka(x[order], y[order], unbiased) == pytest.approx(value, abs=1e-12)
    assert abs(cka(x[order], y, unbiased) - value) > 0.1, "another order is another question"
    stretched = x * torch.tensor([1, 1, 1, 1, 1, 30.0])
    assert abs(cka(stretched, y, unbiased) - value) > 0.05, "a general linear map changes it"


def test_more_features_than_samples_fool_the_biased_form_alone():
    x, y = torch.randn(2, 40, 4000, generator=torch.Generator().manual_seed(0))
    assert cka(x, y) > 0.95
    assert abs(cka(x, y, unbiased=True)) < 0.05


def test_minibatches():
    x, y = features(120, 5, 1), features(120, 9, 2)
    y[:, :5] += x
    assert minibatch_cka([(x, y)]) == pytest.approx(cka(x, y, unbiased=True), abs=1e-12)
    parts = list(zip(x.split(24), y.split(24), strict=True))
    terms = torch.tensor([[slow_hsic1(*p) for p in ((a, b), (a, a), (b, b))] for a, b in parts]).mean(0)
    assert minibatch_cka(iter(parts)) == pytest.approx(
        float(terms[0] / (terms[1] * terms[2]).sqrt()), rel=1e-5
    )
    of_ratios = sum(cka(a, b, unbiased=True) for a, b in parts) / len(parts)
    assert abs(minibatch_cka(parts) - of_ratios) > 1e-4, "the mean of the ratios is something else"
    assert minibatch_cka(parts) == pytest.approx(cka(x, y, unbiased=True), abs=0.05)


def test_large_offsets_and_half_precision_are_computed_in_float64():
    x = features(400, 3, 1)
    y = (x @ features(3, 3, 4)).half()
    exact = cka(x.double(), y.double())
    assert cka(x, y) == pytest.approx(exact, abs=1e-12)
    far = x.double() + 1e6
    assert cka(far, y) == pytest.approx(exact, abs=1e-6)
    assert cka(far.numpy(), np.asarray(y)) == pytest.approx(exact, abs=1e-6)


def test_constant_features_are_like_nothing():
    assert cka(torch.ones(10, 3), features(10, 2, 0)) == 0
    assert cka(torch.ones(10, 3), features(10, 2, 0), unbiased=True) == 0


@pytest.mark.parametrize(
    ("x", "y", "unbiased", "part"),
    [
        (torch.ones(5, 3), torch.ones(4, 3), False, "of the same n samples"),
        (torch.ones(5, 3, 2, 2), torch.ones(5, 3), False, "pool or flatten"),
        (torch.ones(3, 3), torch.ones(3, 3), True, "at least 4 samples"),
        (torch.ones(1, 3), torch.ones(1, 3), False, "at least 2 samples"),
        (torch.full((5, 3), math.nan), torch.ones(5, 3), False, "NaN"),
    ],
)
def test_bad_input_is_one_sentence(x: Tensor, y: Tensor, unbiased: bool, part: str):
    with pytest.raises(LabkitError, match=part):
        cka(x, y, unbiased)


def test_no_batch():
    with pytest.raises(LabkitError, match="at least one batch"):
        minibatch_cka([])


def test_the_short_name():
    assert labkit.cka is cka
