"""How long one inference takes: warm-up, synchronisation, many runs, percentiles."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import LabkitError
from .cost import example_input, inference


@dataclass(frozen=True)
class Latency:
    """Times of single inferences.

    Attributes:
        times: milliseconds of each run, in the order they were taken.
        input_size: shape of the input.
        threads: threads that the CPU's operations may use.
        device: where it ran, such as 'cpu (x86_64)' or the name of the GPU.
    """

    times: tuple[float, ...]
    input_size: tuple[int, ...]
    threads: int
    device: str

    @property
    def mean(self) -> float:
        """Mean, in ms."""
        return statistics.fmean(self.times)

    @property
    def median(self) -> float:
        """Median, in ms: what a typical run takes."""
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        """95th percentile, in ms (linear interpolation): what one run in twenty exceeds."""
        return float(torch.tensor(self.times, dtype=torch.float64).quantile(0.95))

    @property
    def std(self) -> float:
        """Sample standard deviation, in ms; 0 for a single run."""
        return statistics.stdev(self.times) if len(self.times) > 1 else 0.0

    def __str__(self) -> str:
        return (
            f"{self.median:.2f} ms median, {self.mean:.2f} ± {self.std:.2f} ms mean, {self.p95:.2f} ms p95"
            f" ({len(self.times)} runs of {self.input_size}, {self.device}, {self.threads} threads)"
        )


def latency(
    model: nn.Module,
    input_size: Sequence[int] = (1, 3, 224, 224),
    runs: int = 100,
    warmup: int = 10,
    device: str | torch.device | None = None,
    threads: int | None = None,
) -> Latency:
    """Time single inferences of `model`; the weights' values do not matter for it.

    Args:
        model: any module that takes one tensor.
        input_size: shape of the input, batch included.
        runs: inferences that are timed, each on its own.
        warmup: inferences before, untimed: the first ones pay for memory, kernels and clocks.
        device: where to run; None for where the model is. The model is put back afterwards.
        threads: threads on the CPU; None for torch's current number, which is put back afterwards.

    Raises:
        LabkitError: fewer than one run or thread, a negative warm-up, or a device that is not here.
    """
    if runs < 1 or warmup < 0 or (threads is not None and threads < 1):
        raise LabkitError(
            f"latency needs runs >= 1, warmup >= 0 and threads >= 1, not runs={runs}, warmup={warmup} and"
            f" threads={threads}."
        )
    # Moved first: under inference_mode the weights would become tensors that can't be trained any more.
    with _moved(model, device), inference(model), _threads(threads):
        image = example_input(model, input_size)
        for _ in range(warmup):
            model(image)
        times = []
        for _ in range(runs):
            _synchronise(image.device)  # nothing of an earlier run may still be under way
            start = time.perf_counter()
            model(image)
            _synchronise(image.device)  # an accelerator returns before it has finished
            times.append((time.perf_counter() - start) * 1e3)
        return Latency(tuple(times), tuple(input_size), torch.get_num_threads(), _device_name(image.device))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"


@contextmanager
def _moved(model: nn.Module, device: str | torch.device | None) -> Iterator[None]:
    home = next((p.device for p in model.parameters()), None)
    if device is None or home is None:
        yield
        return
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise LabkitError(
            f"There is no usable device '{device}' here: leave device=None for the model's own."
        ) from error
    try:
        yield
    finally:
        model.to(home)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
