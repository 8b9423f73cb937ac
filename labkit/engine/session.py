"""The surroundings of a training loop: accelerate's device and processes, and Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from .recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(recipe: Recipe, device: str | None) -> Accelerator:
    """An accelerator for this process (or group of processes) with the recipe's precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    # accelerate remembers the first precision of a process; a notebook trains with several.
    AcceleratorState._reset_state()
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # Buffers stay with their process: broadcasting a frozen teacher's statistics at every step buys nothing.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=True)
    return Accelerator(
        cpu=device is not None and target.type == "cpu",
        mixed_precision=recipe.mixed_precision(target),
        kwargs_handlers=[ddp],
    )


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Inside the block Ctrl-C sets the event, so that a step ends whole; a second one interrupts at once."""
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
