"""Downloads that end: a probe with a deadline first, then a socket timeout, one process at a time."""

from __future__ import annotations

import os
import queue
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import LabkitError, MissingError

PROBE_SECONDS = 6.0  # for a server to answer at all
STALL_SECONDS = 10.0  # for the next bytes of a running download


def _probe(url: str, answers: queue.SimpleQueue) -> None:
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "labkit"})
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            answers.put(None)
    except urllib.error.HTTPError:
        answers.put(None)  # the server is there; whether it serves the file shows when it is fetched
    except (OSError, ValueError) as error:
        answers.put(getattr(error, "reason", None) or error)


def unreachable(urls: Iterable[str]) -> str | None:
    """Why none of the servers answers within `PROBE_SECONDS`; None as soon as one does.

    Name look-ups know no timeout, so each probe runs in a thread that is left behind when its time is up.
    """
    answers: queue.SimpleQueue = queue.SimpleQueue()
    urls = list(urls)
    for url in urls:
        threading.Thread(target=_probe, args=(url, answers), daemon=True).start()
    reason = f"no answer within {PROBE_SECONDS:.0f} s"
    for _ in urls:
        try:
            answer = answers.get(timeout=PROBE_SECONDS)
        except queue.Empty:
            return reason
        if answer is None:
            return None
        reason = str(answer)
    return reason


@contextmanager
def _stall_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _move(source: Path, target: Path) -> None:
    """Move the files below `source` to the same places below `target`, archives apart."""
    for file in [f for f in source.rglob("*") if f.is_file() and f.suffix != ".gz"]:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)
    shutil.rmtree(source)


def download(name: str, urls: Iterable[str], folder: Path, fetch: Callable[[Path], object]) -> None:
    """Run `fetch(place)`, which downloads from one of `urls`, and move what it got to `folder` when complete.

    Raises:
        MissingError: no server answers, or the download breaks off.
        LabkitError: the folder can't be written.
    """
    from filelock import FileLock

    way_on = (
        f"Try `labkit data get {name}` again when online, put the files under LABKIT_DATASETS,"
        " or go on with LABKIT_PROFILE=cpu."
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        with lock:
            reason = unreachable(urls)
            if reason:
                raise MissingError(
                    f"Can't download '{name}': the server is out of reach ({reason}). {way_on}"
                )
            with _stall_timeout():
                fetch(folder / ".partial")
            _move(folder / ".partial", folder)
    except LabkitError:
        raise
    except PermissionError as error:
        raise LabkitError(
            f"Can't write to {folder}: {error.strerror}. Choose a writable LABKIT_CACHE."
        ) from error
    except (OSError, RuntimeError, EOFError) as error:  # torchvision reports a wrong checksum as RuntimeError
        cause = " ".join(str(error).split()) or type(error).__name__
        raise MissingError(f"The download of '{name}' broke off ({cause}). {way_on}") from error
