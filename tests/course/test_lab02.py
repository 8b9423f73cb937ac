"""Lab 02: its checks against independent counts, the pretend accelerator, and the measurements it calls."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.bench import lab02 as measured
from labkit.bench.layers import by_kind, conv_layers, kind_of, time_by_kind
from labkit.bench.pretend import PretendDevice, PretendNet
from labkit.course import calls, labs
from labkit.course.labs import lab02, lab02_bug, lab02_counting, lab02_pareto, lab02_timing
from labkit.errors import LabkitError
from labkit.models import cost
from labkit.profiles import profile


class Small(nn.Module):
    """A k x k, a depthwise and a 1 x 1 convolution, each with its norm and activation, then a Linear."""

    def __init__(self) -> None:
        super().__init__()
        convs = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 16, 1)
        self.body = nn.Sequential(
            *(nn.Sequential(c, nn.BatchNorm2d(c.out_channels), nn.ReLU()) for c in convs)
        )
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("seed", range(6))
def test_conv_macs_is_half_of_torchs_flops(seed: int):
    check = labs.get("02-conv-macs")
    with calls.isolated(seed):
        c_in, c_out, height, width, kernel, stride, padding, groups = check.draw(seed)
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, groups=groups)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        conv(torch.zeros(1, c_in, height, width))
    sizes = c_in, c_out, height, width, kernel, stride, padding, groups
    assert 2 * lab02_counting.conv_macs(*sizes) == counter.get_total_flops()


def test_conv_macs_by_hand():
    assert lab02_counting.conv_macs(2, 4, 5, 4, 3, 2, 1, 1) == 432
    assert lab02_counting.conv_macs(2, 4, 5, 4, 3, 2, 1, 2) == 216
    assert lab02_counting.conv_macs(2, 4, 5, 4, 1, 1, 0, 1) == 160


def test_model_bytes_by_hand():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert lab02_counting.model_bytes(model) == 72 == cost(model, (2, 3)).weight_bytes
    assert lab02_counting.model_bytes(model.half()) == 40


@pytest.mark.parametrize("q", [0, 5, 50, 90, 95, 99, 100])
def test_percentile_is_numpys(q: float):
    times = np.random.default_rng(0).lognormal(3, 0.4, 23).tolist()
    assert lab02.percentile(times, q) == pytest.approx(np.percentile(times, q))
    assert lab02.percentile([7.0], q) == 7.0


def test_percentile_by_hand():
    times = [31.0, 30.0, 90.0, 32.0, 33.0]
    assert lab02.percentile(times, 95) == pytest.approx(78.6)
    assert statistics.fmean(times) + 2 * statistics.stdev(times) == pytest.approx(95.6, abs=0.05)


@pytest.mark.parametrize("seed", range(20))
def test_pareto_front_is_the_running_best(seed: int):
    """The other way to compute it: walk from fast to slow and keep each new best accuracy."""
    rng = np.random.default_rng(seed)
    latency, accuracy = rng.integers(1, 12, 30).tolist(), rng.permutation(30).tolist()
    best, front = -1, []
    for i in sorted(range(30), key=lambda i: (latency[i], -accuracy[i])):
        if accuracy[i] > best:
            best = accuracy[i]
            front.append(i)
    assert lab02_pareto.pareto_front(latency, accuracy) == front


def test_pretend_device_keeps_the_time_of_the_worked_table():
    device = PretendDevice()
    net = PretendNet(device, 8.0, cold_ms=()).eval()
    with torch.inference_mode():
        for _ in range(3):
            net(torch.zeros(1))
    assert [span.end for span in device.spans if span.lane == "device"] == [9, 17, 25]
    assert device.clock() == 3e-3  # handed over, not done
    device.synchronise()
    assert device.clock() == 25e-3
    device.synchronise()
    assert device.clock() == 25e-3  # nothing to wait for


def test_timer_is_right_on_both_clocks():
    device = PretendDevice()
    net = PretendNet(device, 8.0)
    times = lab02_timing.time_runs(net, torch.zeros(1), 4, 2, device.synchronise, device.clock)
    assert times == pytest.approx([net.answer_ms] * 4)


@pytest.mark.parametrize("before_loop", [True, False])
def test_timer_accepts_other_right_orders(before_loop: bool):
    """A queue emptied once after the warm-up is as good as before every run; no_grad as inference_mode."""

    def timer(model, image, runs, warmup, synchronise, clock):
        model.train(False)
        times = []
        with torch.no_grad():
            for _ in range(warmup):
                model(image)
                if not before_loop:
                    synchronise()
            synchronise()
            for _ in range(runs):
                start = clock()
                model(image)
                synchronise()
                end = clock()
                times.append((end - start) * 1000)
        return times

    assert calls.see(labs.get("02-timer"), timer, 0).same(
        calls.see(labs.get("02-timer"), lab02_timing.time_runs, 0), labs.get("02-timer")
    )


def test_mended_comparison_gives_the_ratio_of_answers():
    device = PretendDevice()
    teacher, student = PretendNet(device, 18.0), PretendNet(device, 8.0)
    found = lab02_bug.speedup(teacher, student, torch.zeros(1), 7, device)
    assert found == pytest.approx(teacher.answer_ms / student.answer_ms)


def test_layers_are_found_with_their_sizes():
    model = Small()
    layers = conv_layers(model, (1, 3, 9, 10))
    assert [layer.kind for layer in layers] == ["k x k", "depthwise", "1 x 1"]
    assert layers[0].sizes == (3, 8, 9, 10, 3, 2, 1, 1)
    assert layers[0].bytes_moved == 4 * (3 * 90 + 8 * 3 * 9 + 8 * 25)
    macs = sum(lab02_counting.conv_macs(*layer.sizes) for layer in layers)
    assert macs + 16 * 5 == cost(model, (1, 3, 9, 10)).macs
    assert kind_of(nn.Conv2d(1, 1, 3)) == "k x k"  # one channel alone is no depthwise convolution


def test_times_by_kind_are_positive_and_leave_no_hook():
    model = Small().train()
    times = time_by_kind(model, runs=3, input_size=(2, 3, 16, 16))
    assert {kind for kind, ms in times.items() if ms > 0} == {
        "k x k", "1 x 1", "depthwise", "linear", "norm", "activation", "other",
    }  # fmt: skip
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert set(by_kind(model, lab02_counting.conv_macs, 1)) == {"k x k", "depthwise", "1 x 1"}


def test_published_numbers_are_torchvisions():
    found = measured.published("resnet18", "IMAGENET1K_V1")
    assert found.parameters == sum(p.numel() for p in _torchvision("resnet18").parameters())
    assert 60 < found.accuracy < 80
    assert found.half == pytest.approx(0.4, abs=0.02)


def _torchvision(name: str) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None)


def test_batch_sweep_counts_images():
    rows = measured.batch_sweep(Small(), [1, 4], runs=2, image=(3, 16, 16))
    assert [row["batch"] for row in rows] == [1, 4]
    assert all(row["images_per_s"] == pytest.approx(1e3 * row["batch"] / row["ms"]) for row in rows)


def test_patience_cuts_runs_but_keeps_three():
    assert len(measured.patient(Small(), 50, seconds=0, input_size=(1, 3, 16, 16)).times) == 3
    assert len(measured.patient(Small(), 5, seconds=60, input_size=(1, 3, 16, 16)).times) == 5


def test_undisturbed_repeats_until_the_cores_were_free(monkeypatch):
    monkeypatch.setattr(measured.time, "sleep", lambda seconds: None)
    tried = []
    with pytest.raises(LabkitError, match="busy"):
        measured.undisturbed(lambda: tried.append(1), threads=1, share=1e9, tries=3)
    assert len(tried) == 3
    assert measured.undisturbed(lambda: "value", threads=1, share=0) == "value"


def test_cpu_needs_no_waiting():
    assert measured.synchroniser("cpu")() is None
    assert measured.devices()[0] == "cpu"
    assert "threads: 3" in measured.conditions(3)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_settings_are_complete(name: str):
    settings = profile(name).lab(2)
    assert settings.big in settings.nets
    assert settings.small in settings.nets
    assert settings.runs * settings.turns == 100
    assert settings.batches[0] == 1


@pytest.mark.slow
def test_figures_are_drawn():
    import labkit.views.latency as draw
    from labkit.views.figures import png

    nets = profile("cpu").lab(2).nets
    ms = {net: 10.0 * (i + 1) for i, net in enumerate(nets)}
    device = PretendDevice()
    PretendNet(device, 5.0)(torch.zeros(1))
    sweep = [{"batch": b, "ms": 3.0 + b, "images_per_s": 1e3 * b / (3 + b)} for b in (1, 2, 4)]
    triple = {net: (x, 0.9 * x, 1.2 * x) for net, x in ms.items()}
    scores = {net: (70.0 + x / 10, 0.4) for net, x in ms.items()}
    figures = [
        draw.plot_first_runs({"resnet18": [9.0, 5.0, 6.0]}),
        draw.plot_shares({net: {"k x k": 3.0, "1 x 1": 2.0} for net in nets}),
        draw.plot_memory({"resnet18": cost(Small(), (1, 3, 16, 16))}),
        draw.plot_timeline(device, "title"),
        draw.plot_latencies(
            {"resnet18": [4.0, 5.0, 9.0]}, {"resnet18": {"median": 5.0, "mean": 6.0, "p95": 8.0}}
        ),
        draw.plot_macs_latency({net: x / 7 for net, x in ms.items()}, ms, "resnet18"),
        draw.plot_rates([("k x k", 9.0, 20.0), ("1 x 1", 5.0, 9.0), ("depthwise", 1.0, 2.0)], 40.0, 10.0),
        draw.plot_pareto(triple, scores, nets[:2], ("resnet50", 80.0)),
        draw.plot_batches({"resnet18": sweep}, 5.0, batch=2),
    ]
    assert all(png(fig).startswith(b"\x89PNG") for fig in figures)
    assert draw.look("another_net")[0] == "another_net"
