"""Worker processes: what they say arrives, and one that dies while it speaks stops nobody."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context

import pytest

from labkit.bench.pool import pool, told


def _connect(messages) -> None:
    global _messages
    _messages = messages


def _speak(number: int) -> int:
    for word in range(3):
        _messages.put((number, word))
    return number


def _die_speaking(number: int) -> None:
    _messages._wlock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_all_that_is_said_arrives():
    messages = get_context("spawn").SimpleQueue()
    with pool(2, _connect, messages) as executor:
        futures = [executor.submit(_speak, number) for number in range(4)]
        heard = list(told(messages, futures))
    assert sorted(heard) == [(number, word) for number in range(4) for word in range(3)]
    assert [future.result() for future in futures] == [0, 1, 2, 3]
    assert messages.empty()


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_worker_that_dies_while_it_speaks_stops_nobody():
    messages = get_context("spawn").SimpleQueue()
    with pool(1, _connect, messages) as executor:
        futures = [executor.submit(_die_speaking, 0), executor.submit(_speak, 1)]
        assert list(told(messages, futures)) == []
    for future in futures:
        with pytest.raises(BrokenProcessPool):
            future.result()


def test_an_exception_ends_the_workers_and_nobody_elses_processes():
    other = get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        with suppress(KeyError), pool(1) as executor:
            future = executor.submit(time.sleep, 60)
            raise KeyError
        with pytest.raises((BrokenProcessPool, CancelledError)):
            future.result(timeout=30)
        assert other.is_alive()
    finally:
        other.terminate()
