"""Keyed random numbers: the published mixer, and independence from batch, order and device."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.rng import keyed_uniform, mix, permutation, seed_everything

# First outputs of SplitMix64 from state 0, as printed by Vigna's reference splitmix64.c.
REFERENCE = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
GAMMA = 0x9E3779B97F4A7C15


def splitmix(state: int) -> int:
    """The mixer in plain Python integers."""
    mask = (1 << 64) - 1
    z = (state + GAMMA) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def as_signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def test_mixer_gives_the_published_numbers():
    states = torch.tensor([as_signed((GAMMA * k) % (1 << 64)) for k in range(4)])
    assert [int(v) % (1 << 64) for v in mix(states)] == REFERENCE


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_mixer_equals_integer_arithmetic(state: int):
    assert int(mix(torch.tensor(state))) % (1 << 64) == splitmix(state % (1 << 64))


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), st.tuples(st.integers(), st.integers()))
def test_a_samples_numbers_do_not_depend_on_its_batch(ids: list[int], keys: tuple[int, int]):
    keys = tuple(k % (1 << 62) for k in keys)
    together = keyed_uniform(keys, torch.tensor(ids), draws=3)
    alone = torch.cat([keyed_uniform(keys, torch.tensor([i]), draws=3) for i in ids])
    assert torch.equal(together, alone)
    assert together.min() >= 0
    assert together.max() < 1


def test_numbers_are_uniform_and_uncorrelated_across_keys_draws_and_neighbours():
    a = keyed_uniform((0, 0), torch.arange(20_000), draws=2)
    b = keyed_uniform((0, 1), torch.arange(20_000), draws=2)
    for values in (*a.T, *b.T):
        assert abs(values.mean() - 0.5) < 0.01
        assert abs(values.var() - 1 / 12) < 0.005
    table = torch.corrcoef(torch.stack([*a.T, *b.T, a[:, 0].roll(1)]))
    assert (table - torch.eye(5)).abs().max() < 0.03


def test_permutation_depends_on_its_keys_alone():
    torch.manual_seed(1)
    first = permutation(100, 3, 5)
    torch.manual_seed(2)
    assert torch.equal(first, permutation(100, 3, 5))
    assert torch.equal(first.sort().values, torch.arange(100))
    assert not torch.equal(first, permutation(100, 3, 6))
    assert not torch.equal(first, permutation(100, 5, 3))


def test_seed_everything_repeats_torch_numpy_and_python():
    import random

    import numpy as np

    def draw() -> tuple:
        return torch.rand(2).tolist(), np.random.rand(), random.random()

    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
