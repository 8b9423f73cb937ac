"""Worker processes of one thread each, for runs that don't depend on each other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def pool(
    workers: int, start: Callable[..., None] | None = None, *arguments: object
) -> Iterator[ProcessPoolExecutor]:
    """An executor whose workers call `start(*arguments)` first.

    An exception inside the block, Ctrl-C above all, ends the workers at once and drops what they had left.
    """
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, _begin, (start, arguments))
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    executor.shutdown()


def _begin(start: Callable[..., None] | None, arguments: tuple) -> None:
    import torch

    os.environ["LABKIT_QUIET"] = "1"
    torch.set_num_threads(1)
    if start is not None:
        start(*arguments)
