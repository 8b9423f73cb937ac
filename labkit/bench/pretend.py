"""An accelerator that only pretends: it computes nothing, but keeps time exactly as a GPU does.

Python hands over work and goes on at once; the device does the work later, in order; `synchronise` waits for
it. Time is a number that only these three move, so every measurement on it is exact and the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Span:
    """Something that took time, in ms: `lane` is 'python' or 'device', `kind` launch, wait, cold or work."""

    lane: str
    kind: str
    start: float
    end: float


class PretendDevice:
    """A device with a queue and a clock.

    Attributes:
        spans: what Python and the device did so far, in the order it was asked for.
        reads: the times, in ms, at which the clock was read.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.reads: list[float] = []
        self._now = 0.0  # where Python is
        self._idle_at = 0.0  # when the device will have done all it was given

    def clock(self) -> float:
        """The time in seconds, as `time.perf_counter` gives it; reading takes no time."""
        self.reads.append(self._now)
        return self._now / 1e3

    def launch(self, python_ms: float, cold_ms: float, work_ms: float) -> None:
        """Spend `python_ms` on handing over work that keeps the device busy for `cold_ms + work_ms`."""
        self._now = self._note("python", "launch", self._now, python_ms)
        begin = max(self._now, self._idle_at)
        begin = self._note("device", "cold", begin, cold_ms)
        self._idle_at = self._note("device", "work", begin, work_ms)

    def synchronise(self) -> None:
        """Wait until the device has done everything, as `torch.cuda.synchronize` does."""
        self._now = self._note("python", "wait", self._now, max(0.0, self._idle_at - self._now))

    def _note(self, lane: str, kind: str, start: float, length: float) -> float:
        if length > 0:
            self.spans.append(Span(lane, kind, start, start + length))
        return start + length


class PretendNet(nn.Module):
    """A network on a pretend device; like any new module it begins in training mode.

    Args:
        device: where it runs.
        work_ms: the device's time for one image, warm and in evaluation mode.
        launch_ms: Python's time to hand it over.
        cold_ms: extra device time of the first calls (memory, kernels), one number per call.
        wobble: relative change of the work, call by call, round and round.
        training: factor on the work in training mode.
        graph_ms: extra time to record gradients, for Python and for the device.
    """

    def __init__(
        self,
        device: PretendDevice,
        work_ms: float,
        *,
        launch_ms: float = 1.0,
        cold_ms: Sequence[float] = (24.0, 8.0),
        wobble: Sequence[float] = (0.0,),
        training: float = 1.5,
        graph_ms: float = 0.6,
    ) -> None:
        super().__init__()
        self.device = device
        self.work_ms, self.launch_ms, self.graph_ms = work_ms, launch_ms, graph_ms
        self.cold_ms, self.wobble, self.training_factor = tuple(cold_ms), tuple(wobble), training
        self.calls = 0

    @property
    def answer_ms(self) -> float:
        """From the request to the finished answer, warm, in evaluation mode, without gradients."""
        return self.launch_ms + self.work_ms

    def forward(self, image: Tensor) -> Tensor:
        cold = self.cold_ms[self.calls] if self.calls < len(self.cold_ms) else 0.0
        work = self.work_ms * (1 + self.wobble[self.calls % len(self.wobble)])
        graph = self.graph_ms if torch.is_grad_enabled() else 0.0
        self.calls += 1
        factor = self.training_factor if self.training else 1.0
        self.device.launch(self.launch_ms + graph, cold, factor * work + graph)
        return image
