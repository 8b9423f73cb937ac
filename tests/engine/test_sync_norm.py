"""BatchNorm over several GPUs: what stands in for the layers computes the same, and goes at the end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from labkit import models
from labkit.engine.sync_norm import shared_statistics


@pytest.mark.parametrize("name", ["tiny", "regnety_004_s8", "mobilenetv2_narrow", "torchvision/resnet18"])
def test_layers_are_replaced_for_a_while_and_compute_the_same(name: str):
    torch.manual_seed(0)
    method = nn.ModuleDict({"student": models.build(name, 5), "teacher": models.build("tiny", 5)}).eval()
    images = torch.rand(2, 3, 32, 32)
    before = method["student"](images).logits
    kept = dict(method.named_modules())
    method.teacher = method["teacher"]
    with shared_statistics(method, ("teacher",)):
        layers = [m for m in method["student"].modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert layers
        assert all(isinstance(m, nn.SyncBatchNorm) for m in layers)
        assert not any(isinstance(m, nn.SyncBatchNorm) for m in method["teacher"].modules())
        assert torch.equal(method["student"](images).logits, before)
        layers[0].running_mean += 1  # as a step of training does
        method["student"].train()
    assert {n: m for n, m in method.named_modules() if n in kept} == kept
    assert method["student"].training
    assert not torch.equal(method["student"].eval()(images).logits, before)
