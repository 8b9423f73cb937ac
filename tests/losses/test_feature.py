"""Losses on maps against slow references written from the formulas, their invariances, and bad input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from labkit.losses import attention_transfer, hcl, hint_mse


def maps(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow_attention(x: Tensor, p: float) -> list[list[float]]:
    rows = []
    for sample in x.tolist():
        channels, height, width = len(sample), len(sample[0]), len(sample[0][0])
        row = [
            sum(abs(sample[c][i][j]) ** p for c in range(channels)) / channels
            for i in range(height)
            for j in range(width)
        ]
        norm = math.sqrt(sum(v * v for v in row))
        rows.append([v / norm for v in row])
    return rows


def slow_pool(x: Tensor, size: int) -> Tensor:
    """Means over equal blocks."""
    block = x.shape[2] // size
    out = torch.zeros(*x.shape[:2], size, size, dtype=x.dtype)
    for i in range(size):
        for j in range(size):
            patch = x[:, :, i * block : (i + 1) * block, j * block : (j + 1) * block]
            out[:, :, i, j] = patch.flatten(2).sum(2) / block**2
    return out


def slow_mean_square(a: Tensor, b: Tensor) -> float:
    pairs = zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
    return sum((x - y) ** 2 for x, y in pairs) / a.numel()


def test_hint_mse_is_the_mean_over_all_elements():
    s, t = maps(0, 3, 4, 5, 5), maps(1, 3, 4, 5, 5)
    assert hint_mse(s, t).item() == pytest.approx(slow_mean_square(s, t), rel=1e-12)


@pytest.mark.parametrize("p", [1, 2, 4])
def test_attention_transfer_equals_the_formula(p: int):
    students, teachers = (
        [maps(0, 3, 4, 6, 6), maps(1, 3, 5, 3, 3)],
        [maps(2, 3, 7, 6, 6), maps(3, 3, 2, 3, 3)],
    )
    expected = 0.0
    for s, t in zip(students, teachers, strict=True):
        a, b = slow_attention(s, p), slow_attention(t, p)
        expected += sum(
            (x - y) ** 2 for q, r in zip(a, b, strict=True) for x, y in zip(q, r, strict=True)
        ) / (len(a) * len(a[0]))
    assert attention_transfer(students, teachers, p).item() == pytest.approx(expected, rel=1e-12)


def test_attention_transfer_pools_the_larger_map_first():
    s, t = maps(0, 2, 3, 4, 4), maps(1, 2, 3, 8, 8)
    expected = attention_transfer([s], [slow_pool(t, 4)])
    assert torch.allclose(attention_transfer([s], [t]), expected, rtol=1e-12)
    assert not torch.allclose(expected, attention_transfer([slow_pool(s, 2)], [slow_pool(t, 2)]))


def test_attention_transfer_ignores_scale_and_channel_order():
    s, t = maps(0, 2, 4, 5, 5), maps(1, 2, 6, 5, 5)
    changed = attention_transfer([3.5 * s[:, torch.tensor([2, 0, 3, 1])]], [t])
    assert torch.allclose(attention_transfer([s], [t]), changed, rtol=1e-12)


@pytest.mark.parametrize(("size", "levels"), [(8, (4, 2, 1)), (4, (2, 1)), (2, (1,)), (1, ())])
def test_hcl_equals_the_formula(size: int, levels: tuple[int, ...]):
    s, t = maps(0, 2, 3, size, size), maps(1, 2, 3, size, size)
    total, weight, weights = slow_mean_square(s, t), 1.0, 1.0
    for level in levels:
        weight /= 2
        weights += weight
        total += weight * slow_mean_square(slow_pool(s, level), slow_pool(t, level))
    assert hcl([s], [t]).item() == pytest.approx(total / weights, rel=1e-12)
    assert hcl([s, s], [t, t]).item() == pytest.approx(2 * total / weights, rel=1e-12)


LOSSES = {
    "hint_mse": hint_mse,
    "attention_transfer": lambda s, t: attention_transfer([s], [t]),
    "hcl": lambda s, t: hcl([s], [t]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_zero_gradients_and_detached_targets(name: str):
    loss = LOSSES[name]
    s, t = maps(0, 2, 3, 4, 4).requires_grad_(), maps(1, 2, 3, 4, 4).requires_grad_()
    assert loss(t, t).item() == 0.0
    assert gradcheck(lambda x: loss(x, t), (s,))
    loss(s, t).backward()
    assert t.grad is None
    assert s.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_and_extremes_stay_finite(name: str, dtype: torch.dtype):
    loss = LOSSES[name]
    for fill in (0.0, 200.0):
        s = torch.full((1, 2, 4, 4), fill, dtype=dtype, requires_grad=True)
        value = loss(s, torch.ones(1, 2, 4, 4, dtype=dtype))
        value.backward()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert torch.isfinite(s.grad).all()


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) and \(2, 5, 4, 4\)"):
        hint_mse(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(ValueError, match="but there are 1 and 2"):
        attention_transfer([torch.zeros(2, 3, 4, 4)], [torch.zeros(2, 3, 4, 4)] * 2)
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) and \(3, 3, 4, 4\)"):
        attention_transfer([torch.zeros(2, 3, 4, 4)], [torch.zeros(3, 3, 4, 4)])
    with pytest.raises(ValueError, match="not single tensors"):
        hcl(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) and \(2, 4, 4, 4\)"):
        hcl([torch.zeros(2, 3, 4, 4)], [torch.zeros(2, 4, 4, 4)])
    with pytest.raises(ValueError, match="p must be greater than 0"):
        attention_transfer([torch.zeros(2, 3, 4, 4)], [torch.zeros(2, 3, 4, 4)], p=0)
