"""Worker processes of one thread each, for runs that don't depend on each other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from typing import Any


def processes() -> int:
    """How many workers there are by default: one per core, or two per GPU, whose memory they share."""
    import torch

    return 2 * torch.cuda.device_count() or os.cpu_count() or 1


@contextmanager
def pool(
    workers: int, start: Callable[..., None] | None = None, *arguments: object
) -> Iterator[ProcessPoolExecutor]:
    """An executor whose workers call `start(*arguments)` first.

    An exception inside the block, Ctrl-C above all, ends the workers at once and drops what they had left.
    """
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(workers, context, _begin, (start, arguments))
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    executor.shutdown()


def told(messages: SimpleQueue, futures: Iterable[Future]) -> Iterator[Any]:
    """What the workers put into `messages`, until all of these futures are done.

    This process only reads: a worker that is stopped while it writes takes the queue's lock with it, and
    whoever wanted to write after it would wait for ever.
    """
    left = set(futures)
    while left or not messages.empty():
        if messages.empty():
            left = wait(left, timeout=0.1).not_done
        else:
            yield messages.get()


def _begin(start: Callable[..., None] | None, arguments: tuple) -> None:
    import torch

    os.environ["LABKIT_QUIET"] = "1"
    torch.set_num_threads(1)
    if start is not None:
        start(*arguments)
