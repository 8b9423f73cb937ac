"""The surroundings of a training loop: accelerate's device and processes, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ..errors import LabkitError
from .recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(recipe: Recipe, device: str | None) -> Accelerator:
    """An accelerator for this process (or group of processes) with the recipe's precision.

    Raises:
        LabkitError: the machine doesn't offer `device`, or the device not the precision.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    # accelerate remembers a process's first device and precision; a notebook trains with several.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    target = device_of(device)
    # Buffers stay with their process: broadcasting a frozen teacher's statistics at every step buys nothing.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=True)
    # Processes that were launched without a GPU find each other only where the CPU is asked for.
    on_cpu = target.type == "cpu" and (device is not None or "LOCAL_RANK" in os.environ)
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision=recipe.mixed_precision(target),
        kwargs_handlers=[ddp],
    )
    if device is not None and (
        accelerator.device.type != target.type or target.index not in (None, accelerator.device.index)
    ):
        raise LabkitError(
            f"This machine offers '{accelerator.device.type}', not device='{device}': leave device out."
        )
    return accelerator


def default_device() -> torch.device:
    """The GPU of this process (under `accelerate launch` each has its own), or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def device_of(name: str | None) -> torch.device:
    """The device of that name; None is `default_device`."""
    if name is None:
        return default_device()
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise LabkitError(f"Unknown device '{name}': 'cpu', 'cuda' or 'mps'.") from error


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Inside the block Ctrl-C sets the event, so that a step ends whole; a second one interrupts at once.

    Raises:
        KeyboardInterrupt: at the end, if nobody in the block acted on the event.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    old = signal.getsignal(signal.SIGINT)

    def ask(signum: int, frame: object) -> None:
        event.set()
        signal.signal(signal.SIGINT, old)

    signal.signal(signal.SIGINT, ask)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, old)
    if event.is_set():
        raise KeyboardInterrupt
