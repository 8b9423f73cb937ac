"""Timing: what is measured, its statistics, and what is put back afterwards."""

import time

import pytest
import torch
from torch import nn

from labkit.errors import LabkitError
from labkit.models import Latency, latency


class Sleep(nn.Module):
    """Takes a known time and counts its calls."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds, self.modes, self.threads = seconds, [], []
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        self.modes.append((self.training, torch.is_inference_mode_enabled(), tuple(x.shape)))
        self.threads.append(torch.get_num_threads())
        time.sleep(self.seconds)
        return x


def test_it_measures_milliseconds():
    found = latency(Sleep(0.01), (1, 2), runs=5, warmup=1)
    assert 10 <= found.median < 100
    assert all(t >= 10 for t in found.times)


def test_warm_up_runs_are_apart_and_the_mode_is_right():
    model = Sleep()
    found = latency(model, (1, 2), runs=4, warmup=3, threads=1)
    assert len(found.times) == 4
    assert model.modes == [(False, True, (1, 2))] * 7
    assert found.input_size == (1, 2)


def test_everything_is_put_back():
    model, before, state = Sleep(), torch.get_num_threads(), torch.get_rng_state()
    found = latency(model, (1, 2), runs=1, warmup=0, threads=before + 1, device="cpu")
    assert found.threads == before + 1
    assert model.threads == [before + 1]
    assert torch.get_num_threads() == before
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_statistics():
    found = Latency(times=tuple(float(t) for t in range(1, 102)), input_size=(1,), threads=1, device="cpu")
    assert (found.mean, found.median, found.p95) == (51.0, 51.0, 96.0)
    assert found.std == pytest.approx(29.3, abs=0.01)
    assert Latency((2.0,), (1,), 1, "cpu").std == 0
    assert "51.00 ms median" in str(found)


@pytest.mark.parametrize("settings", [{"runs": 0}, {"warmup": -1}, {"threads": 0}])
def test_bad_settings(settings):
    with pytest.raises(LabkitError, match="latency needs"):
        latency(Sleep(), (1, 2), **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_missing_device():
    with pytest.raises(LabkitError, match="no usable device 'cuda'"):
        latency(Sleep(), (1, 2), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    model = nn.Conv2d(3, 8, 3)
    found = latency(model, (1, 3, 32, 32), runs=5, device="cuda")
    assert found.device == torch.cuda.get_device_name()
    assert model.weight.device.type == "cpu"
    assert not model.weight.is_inference()
