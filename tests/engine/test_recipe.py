"""Schedules by their formulas, and the optimisers that are made."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from labkit.engine import Recipe


def factors(steps: int, **kw) -> list[float]:
    recipe = Recipe(**kw)
    return [recipe.lr_factor(step, steps) for step in range(steps)]


def test_cosine_falls_from_one_towards_zero():
    wanted = [0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert factors(8) == pytest.approx(wanted)


def test_linear_constant_and_step():
    assert factors(4, schedule="linear") == [1.0, 0.75, 0.5, 0.25]
    assert factors(4, schedule="constant") == [1.0] * 4
    assert factors(8, schedule="step") == pytest.approx([1, 1, 1, 1, 1, 0.1, 0.01, 0.001])


def test_step_schedule_is_the_common_protocol():
    """Of 240 epochs: a tenth at 150, 180 and 210."""
    found = factors(240, schedule="step")
    assert [i for i in range(1, 240) if found[i] < found[i - 1]] == [150, 180, 210]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "step"])
@pytest.mark.parametrize("warmup", [0.1, 0.25, 0.3])
def test_warm_up_rises_to_the_peak_without_touching_zero(schedule: str, warmup: float):
    found = factors(20, schedule=schedule, warmup=warmup)
    rising = math.ceil(warmup * 20)
    assert found[0] > 0
    assert all(a < b for a, b in pairwise(found[: rising + 1]))
    assert max(found) <= 1
    assert found[rising] > 0.95
    assert all(a >= b for a, b in pairwise(found[rising:]))


def test_one_step_has_the_full_rate():
    for schedule in ("constant", "cosine", "linear", "step"):
        assert factors(1, schedule=schedule) == [1.0]


def test_optimizers_are_torchs_with_these_settings():
    parameters = [nn.Parameter(torch.zeros(2))]
    sgd = Recipe(optimizer="sgd", lr=0.1, momentum=0.8, weight_decay=0.01).make_optimizer(parameters)
    assert isinstance(sgd, torch.optim.SGD)
    group = sgd.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (
        0.1,
        0.8,
        0.01,
        True,
    )
    assert not Recipe(optimizer="sgd", momentum=0).make_optimizer(parameters).param_groups[0]["nesterov"]
    assert type(Recipe(optimizer="adam").make_optimizer(parameters)) is torch.optim.Adam
    assert type(Recipe(optimizer="adamw").make_optimizer(parameters)) is torch.optim.AdamW


def test_precision_words():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert Recipe().mixed_precision(cpu) == "no"
    assert Recipe(precision="fp32").mixed_precision(gpu) == "no"
    assert Recipe(precision="bf16").mixed_precision(cpu) == "bf16"
    assert Recipe(precision="fp16").mixed_precision(gpu) == "fp16"
