"""Relational losses against slow references written from the formulas, their invariances, and bad input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from labkit.losses import neighborhood_relation, rkd_angle, rkd_distance, semantic_image_alignment


def rows(seed: int, b: int = 5, d: int = 4) -> Tensor:
    return torch.randn(b, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def huber(x: float) -> float:
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def slow_distance(s: Tensor, t: Tensor) -> float:
    def table(x: Tensor) -> list[list[float]]:
        d = [[math.dist(a, b) for b in x.tolist()] for a in x.tolist()]
        positive = [v for row in d for v in row if v > 0]
        return [[v / (sum(positive) / len(positive)) for v in row] for row in d]

    a, b = table(s), table(t)
    n = len(a)
    return sum(huber(a[i][j] - b[i][j]) for i in range(n) for j in range(n)) / n**2


def slow_angle(s: Tensor, t: Tensor) -> float:
    def unit(x: list[list[float]], i: int, j: int) -> list[float]:
        norm = math.dist(x[i], x[j])
        return [0.0] * len(x[i]) if norm == 0 else [(a - b) / norm for a, b in zip(x[i], x[j], strict=True)]

    def cosine(x: list[list[float]], i: int, j: int, k: int) -> float:
        return sum(a * b for a, b in zip(unit(x, i, j), unit(x, k, j), strict=True))

    a, b, n = s.tolist(), t.tolist(), len(s)
    triples = [(i, j, k) for i in range(n) for j in range(n) for k in range(n)]
    return sum(huber(cosine(a, *ijk) - cosine(b, *ijk)) for ijk in triples) / n**3


def slow_neighbours(s: Tensor, t: Tensor, k: int) -> float:
    def softmax(x: list[float]) -> list[float]:
        return [math.exp(v) / sum(math.exp(w) for w in x) for v in x]

    def js(p: list[float], q: list[float]) -> float:
        m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        kl = [sum(a * math.log(a / c) for a, c in zip(r, m, strict=True)) for r in (p, q)]
        return sum(kl) / 2

    total, (a, b) = 0.0, (s.tolist(), t.tolist())
    for i in range(len(a)):
        others = [j for j in range(len(a)) if j != i]
        cosine = {j: torch.cosine_similarity(t[i], t[j], dim=0).item() for j in others}
        for j in sorted(others, key=lambda j: -cosine[j])[:k]:
            p, q = ([x - y for x, y in zip(z[i], z[j], strict=True)] for z in (a, b))
            total += js(softmax(p), softmax(q))
    return total / (len(a) * k)


@pytest.mark.parametrize(("b", "d"), [(2, 3), (5, 4), (70, 3)])
def test_rkd_distance_equals_the_formula(b: int, d: int):
    s, t = rows(0, b, d), rows(1, b, d + 2)
    assert rkd_distance(s, t).item() == pytest.approx(slow_distance(s, t), rel=1e-9)


def test_rkd_angle_equals_the_formula():
    s, t = rows(0), rows(1, d=6)
    assert rkd_angle(s, t).item() == pytest.approx(slow_angle(s, t), rel=1e-10)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_neighborhood_relation_equals_the_formula(k: int):
    s, t = rows(0), rows(1)
    value = neighborhood_relation(s, t, k).item()
    assert value == pytest.approx(slow_neighbours(s, t, k), rel=1e-10)
    assert 0 <= value <= math.log(2)


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])
def test_rkd_is_blind_to_scale_rotation_and_place(loss):
    s, t = rows(0), rows(1)
    turn, _ = torch.linalg.qr(rows(2, 4, 4))
    assert torch.allclose(loss(3 * s @ turn + 1.5, 0.1 * t - 2), loss(s, t), rtol=1e-8)


def test_neighborhood_relation_ignores_a_constant_vector():
    t = rows(1)
    assert neighborhood_relation(t + rows(3, 1), t).item() == pytest.approx(0, abs=1e-12)


def test_an_exact_duplicate_is_a_neighbour_and_the_sample_itself_is_not():
    t = rows(1)
    t[1] = t[0]
    s = rows(0)
    expected = slow_neighbours(s, t, 1)
    assert neighborhood_relation(s, t, 1).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, lambda s, t: neighborhood_relation(s, t, 2)])
def test_zero_gradients_and_detached_targets(loss):
    s, t = rows(0).requires_grad_(), rows(1).requires_grad_()
    assert loss(t, t).item() == pytest.approx(0, abs=1e-12)
    assert gradcheck(lambda x: loss(x, t), (s,))
    loss(s, t).backward()
    assert t.grad is None


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, lambda s, t: neighborhood_relation(s, t, 1)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_equal_rows_and_extremes_stay_finite(loss, scale: float):
    s = (scale * torch.ones(4, 3)).requires_grad_()
    for t in (torch.ones(4, 3), 1e4 * rows(0, 4, 3).float()):
        value = loss(s, t)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(s.grad).all()


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(5, 4\) and \(4, 4\)"):
        rkd_distance(rows(0), rows(1, 4))
    with pytest.raises(ValueError, match="at least 2"):
        rkd_angle(rows(0, 1), rows(1, 1))
    with pytest.raises(ValueError, match=r"\(5, 4\) and \(5, 3\)"):
        neighborhood_relation(rows(0), rows(1, 5, 3))
    with pytest.raises(ValueError, match=r"1\.\.B-1"):
        neighborhood_relation(rows(0), rows(1), k=5)


@pytest.mark.parametrize(
    "loss",
    [
        rkd_distance,
        rkd_angle,
        neighborhood_relation,
        lambda s, t: semantic_image_alignment(s, t, rows(2).float()),
    ],
    ids=["distance", "angle", "neighbours", "language"],
)
@pytest.mark.parametrize("b", [5, 80])  # from 65 samples on, distances come from a product
def test_losses_ignore_autocast(loss, b: int):
    s, t = rows(0, b).float(), rows(1, b).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(s, t)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(s, t))
