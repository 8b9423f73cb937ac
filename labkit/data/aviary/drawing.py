"""Many photographs at once, on all cores."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from functools import cache
from threading import Thread
from typing import NamedTuple

import numpy as np

from .records import WORLD, kept
from .render import render
from .world import SCENES, Species

CHUNK = 64  # photographs a worker takes at a time
# Starting the workers takes a few seconds, in which one process draws thousands of small photographs.
_POOL_FROM = 8192 * 64 * 64  # pixels
_BAR_FROM = 2048 * 64 * 64


class Shot(NamedTuple):
    """One photograph to take: what `render` needs beside the size. `scene` None leaves it to the index."""

    species: Species
    seed: int
    index: int
    scene: str | None = None


def layout(image_size: int, *, parts: bool = False) -> np.dtype:
    """A record: image (3, S, S) uint8, scene as position in `SCENES`, and on request the part map (S, S)."""
    s = image_size
    fields = [("image", "u1", (3, s, s)), ("scene", "u1")]
    return np.dtype(fields + ([("parts", "u1", (s, s))] if parts else []))


def take(shots: Sequence[Shot], image_size: int, parts: bool = False) -> np.ndarray:
    """The photographs as (N,) records of `layout`, drawn in this process."""
    records = np.empty(len(shots), layout(image_size, parts=parts))
    for record, (species, seed, index, scene) in zip(records, shots, strict=True):
        picture = render(species, seed, index, image_size=image_size, scene=scene, annotate=parts)
        record["image"] = picture.image.transpose(2, 0, 1)
        record["scene"] = SCENES.index(picture.scene)
        if parts:
            record["parts"] = picture.parts
    return records


def album(name: str, shots: Sequence[Shot], image_size: int, *, parts: bool = False) -> np.ndarray:
    """The photographs as (N,) records from the cache, drawn and kept there where they are new.

    The cache file is found by the world's sources, the layout and every single shot, not by `name` alone.
    """
    dtype = layout(image_size, parts=parts)
    digest = hashlib.sha256(f"{WORLD} {dtype}".encode())
    for species, seed, index, scene in shots:
        digest.update(f"{species.key} {seed} {index} {scene}\n".encode())
    return kept(
        f"{name}-{image_size}-{digest.hexdigest()[:12]}",
        dtype,
        len(shots),
        lambda: take_all(shots, image_size, parts=parts, name=name),
    )


def take_all(
    shots: Sequence[Shot],
    image_size: int,
    *,
    parts: bool = False,
    workers: int | None = None,
    name: str = "unnamed",
) -> Iterator[np.ndarray]:
    """The photographs in order, chunk by chunk, with a progress bar where it takes a while.

    Args:
        shots: N of them.
        image_size: side S in pixels.
        parts: whether to add the part maps.
        workers: processes; None takes all cores, or this process alone where that is faster. The result is
            the same.
        name: what the progress bar says.
    """
    import joblib
    from tqdm.auto import tqdm

    pixels = len(shots) * image_size**2
    if workers is None:
        workers = joblib.cpu_count() if pixels >= _POOL_FROM else 1
    chunks = (shots[i : i + CHUNK] for i in range(0, len(shots), CHUNK))
    hidden = bool(os.environ.get("LABKIT_QUIET")) or pixels < _BAR_FROM
    bar = tqdm(total=len(shots), desc=f"drawing birds ({name})", unit="img", leave=False, disable=hidden)
    with bar:
        for records in _each(chunks, image_size, parts, workers):
            yield records
            bar.update(len(records))


def _each(
    chunks: Iterator[Sequence[Shot]], image_size: int, parts: bool, workers: int
) -> Iterator[np.ndarray]:
    if workers == 1:
        yield from (take(chunk, image_size, parts) for chunk in chunks)
        return
    from joblib import Parallel, delayed

    # joblib's processes don't run the caller's script again, so scripts and notebooks need no main guard
    with Parallel(workers, return_as="generator", idle_worker_timeout=20) as pool:
        yield from pool(delayed(_take_for)(os.getpid(), chunk, image_size, parts) for chunk in chunks)


def _take_for(caller: int, shots: Sequence[Shot], image_size: int, parts: bool) -> np.ndarray:
    """`take` in a worker that ends when its caller is gone: a killed notebook leaves no process behind."""
    _watch(caller)
    return take(shots, image_size, parts)


@cache
def _watch(caller: int) -> None:
    def wait() -> None:
        while os.getppid() == caller:
            time.sleep(2)
        os._exit(1)

    Thread(target=wait, daemon=True).start()
