"""Check of lab 02 on the pretend accelerator: a timer that warms up, waits and times every run."""

from __future__ import annotations

import torch

from ..checks import Check, Misconception

IMAGE = torch.zeros(1, 3, 4, 4)


def fractions(count: int) -> list[float]:
    """Random numbers in [0, 1) with three decimals."""
    return [round(float(x), 3) for x in torch.rand(count)]


def _draw_timing(seed: int) -> tuple[float, float, list[float], list[float], int, int]:
    """(work, launch, cold starts, wobble, runs, warm-up); three calls are cold, four or five warm up."""
    a, b, *rest = fractions(13)
    cold = sorted((10 + 20 * x for x in rest[:3]), reverse=True)
    wobble = [0.1 * x for x in rest[3:]]
    return 5 + 4 * a, 1 + b, cold, wobble, 5 + seed % 3, 4 + seed % 2


def _on_pretend_device(answer, work, launch, cold, wobble, runs, warmup) -> list[float]:
    """What the timer returns for a network on a pretend accelerator."""
    from ...bench.pretend import PretendDevice, PretendNet

    device = PretendDevice()
    model = PretendNet(device, work, launch_ms=launch, cold_ms=cold, wobble=wobble)
    return answer(model, IMAGE, runs, warmup, device.synchronise, device.clock)


def time_runs(model, image, runs, warmup, synchronise, clock):
    """Milliseconds of each of `runs` inferences, one at a time, after `warmup` untimed ones."""
    model.eval()
    times = []
    with torch.inference_mode():
        for _ in range(warmup):
            model(image)
        for _ in range(runs):
            synchronise()
            start = clock()
            model(image)
            synchronise()
            times.append(1e3 * (clock() - start))
    return times


def _timer(*, evaluate=True, gradients=False, warm=True, before=True, after=True, unit=1e3, keep_warm=False):
    """A timer with some of its parts left out."""

    def answer(model, image, runs, warmup, synchronise, clock):
        if evaluate:
            model.eval()
        times = []
        with torch.inference_mode(not gradients):
            for _ in range(warmup if warm and not keep_warm else 0):
                model(image)
            for _ in range(runs + (warmup if keep_warm else 0)):
                if before:
                    synchronise()
                start = clock()
                model(image)
                if after:
                    synchronise()
                times.append(unit * (clock() - start))
        return times

    return answer


def _whole_loop(model, image, runs, warmup, synchronise, clock):
    """One reading before and one after all runs."""
    model.eval()
    with torch.inference_mode():
        for _ in range(warmup):
            model(image)
        synchronise()
        start = clock()
        for _ in range(runs):
            model(image)
        synchronise()
        return [1e3 * (clock() - start) / runs] * runs


TIMER = Check(
    id="02-timer",
    title="a timer that warms up, waits and times every run",
    points=4,
    minutes=12,
    difficulty=3,
    draw=_draw_timing,
    reference=time_runs,
    observe=_on_pretend_device,
    misconceptions=(
        Misconception(
            "no warm-up",
            _timer(warm=False),
            "Your first times hold what only the first calls pay. Call the model `warmup` times before any"
            " clock is read.",
        ),
        Misconception(
            "the clock read before the device has finished",
            _timer(after=False),
            "These are the times Python takes to hand the work over. Call `synchronise()` between the"
            " model and the second reading, in every run: one call after the loop comes too late for times"
            " already taken.",
        ),
        Misconception(
            "no synchronise before the clock starts",
            _timer(before=False),
            "Look at your first time: it is too long. The warm-up's work was still queued when its clock"
            " started, so wait for it first.",
        ),
        Misconception(
            "one reading for the whole loop",
            _whole_loop,
            "Waiting only after the loop gives one mean: the device works without a pause, so that is"
            " throughput, not latency, and there is nothing left to take a percentile of. Wait and read in"
            " every run.",
        ),
        Misconception(
            "the model left in training mode",
            _timer(evaluate=False),
            "A new model is in training mode: Dropout draws and BatchNorm averages over the batch. That is"
            " another computation; call `model.eval()` first.",
        ),
        Misconception(
            "gradients recorded",
            _timer(gradients=True),
            "Every call still writes down what a backward pass would need. Put the calls inside `with"
            " torch.inference_mode():`.",
        ),
        Misconception(
            "training mode and gradients recorded",
            _timer(evaluate=False, gradients=True),
            "The clock is right, what it measures is not: this is a training forward pass. `model.eval()`"
            " and `with torch.inference_mode():` are two different switches, and inference needs both.",
        ),
        Misconception(
            "seconds instead of milliseconds",
            _timer(unit=1.0),
            "`clock()` gives seconds; 1 s = 1000 ms.",
        ),
        Misconception(
            "the warm-up counted among the runs",
            _timer(keep_warm=True),
            "The warm-up's times are in your list. Only `runs` of them belong there: don't read the clock"
            " while warming up.",
        ),
        Misconception(
            "only the waiting mended",
            _timer(evaluate=False, gradients=True, warm=False),
            "Waiting is the hardest of the four points, and it is right. Still open: evaluation mode,"
            " gradients, warm-up.",
        ),
        Misconception(
            "the naive timer's times",
            _timer(evaluate=False, gradients=True, warm=False, before=False, after=False),
            "The timer this section began with reports the same: what Python needs to hand the work over,"
            " while it records gradients. Of the four points at least the second and the fourth are open.",
        ),
    ),
    hints=(
        "Prepare, warm up, then measure: three blocks, and only in the last one is the clock read.",
        "Inside the last loop, five lines: wait, read, call, wait, read. The line before each reading"
        " makes sure that the device's queue is empty.",
        "To time how long a letter takes: wait until nothing else is in the post, note the time, send it,"
        " wait for the receipt, note the time. Not: note how long it takes to reach the letter box.",
    ),
)
