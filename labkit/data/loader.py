"""Batches in an order that depends on (seed, epoch) alone, cut over processes, with replayable views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count, islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import LabkitError
from ..rng import permutation
from .augment import NOTHING, Augment
from .sets import FileSet, ImageSet

_RUN_BYTES = 2**23  # augmented images that are made at once
_WORKERS_FROM = 4  # batches from which starting worker processes pays


class Batch(NamedTuple):
    """What a method gets for one step.

    `image` (B, C, H, W) float32 in [0, 1], never normalised; `label` (B,) int64; `index` (B,) int64 stable
    sample ids; `view` (B,) int64, which augmented view (0 = the first); `stored` tensors per sample, from
    a bank.
    """

    image: Tensor
    label: Tensor
    index: Tensor
    view: Tensor
    stored: dict[str, Tensor]


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Shuffled batches of one pass over n images; see `slices`.

    >>> steps_per_epoch(100, 64), steps_per_epoch(128, 64), steps_per_epoch(10, 64)
    (1, 2, 1)
    """
    return max(1, n // batch_size)


def slices(
    n: int,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = False,
    rank: int = 0,
    world: int = 1,
) -> list[Tensor]:
    """Positions of this process's batches.

    Shuffled, each global batch of `batch_size` is cut into `world` contiguous parts. An incomplete last batch
    is left out (other images each epoch): a step on a few images, and BatchNorm's statistics of them, would
    weigh as much as a full one. A set smaller than `batch_size` is one batch. In order, process r takes
    positions r, r + world, ...: none twice, none missing.
    """
    if not shuffle:
        own = torch.arange(n)[rank::world]
        return list(own.split(batch_size)) if len(own) else []
    order = permutation(n, seed, epoch).split(batch_size)
    return [part.tensor_split(world)[rank] for part in order if len(part) == min(n, batch_size)]


class Batches:
    """The batches of one epoch on one process; see `batches`."""

    def __init__(
        self,
        split: ImageSet | FileSet,
        parts: list[Tensor],
        *,
        augment: Augment,
        seed: int,
        view: int,
        device: torch.device,
    ) -> None:
        self.split, self.parts, self.augment = split, parts, augment
        self.seed, self.view, self.device = seed, view, device

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Batch]:
        device = self.device
        labels, ids = self.split.labels.to(device), self.split.ids.to(device)
        runs = self._runs()
        source = self._images(runs)
        for run in runs:
            with one_thread():
                images = next(source)
                position = torch.cat(run).to(device)
                index = ids[position]
                images = images.to(device, non_blocking=device.type == "cuda")
                image = self.augment(images, self.seed, self.view, index, self.split.image_size)
            columns = (image, labels[position], index, torch.full_like(index, self.view))
            for parts in zip(*(c.split([len(part) for part in run]) for c in columns), strict=True):
                yield Batch(*parts, {})

    def _runs(self) -> list[list[Tensor]]:
        """Consecutive batches that are made at once: small batches would spend their time on calls."""
        image = 4 * self.split.channels * self.split.image_size**2  # bytes as float32
        largest = max((len(part) for part in self.parts), default=1)
        length = 1 if isinstance(self.split, FileSet) else max(1, _RUN_BYTES // (largest * image))
        return [self.parts[i : i + length] for i in range(0, len(self.parts), length)]

    def _images(self, runs: list[list[Tensor]]) -> Iterator[Tensor]:
        """uint8 images of each run, from memory or from worker processes."""
        split, positions = self.split, [torch.cat(run) for run in runs]
        if not isinstance(split, FileSet):
            whole = self.augment.scale and getattr(
                split, "fetch_whole", None
            )  # a crop may take of the border
            yield from map(whole or split.fetch, positions)
            return
        loader = DataLoader(
            _Decoder(split),
            sampler=positions,
            batch_size=None,
            num_workers=split.workers if len(positions) >= _WORKERS_FROM else 0,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else starting it would draw from the global stream
        )
        for images in loader:
            if isinstance(images, str):
                raise LabkitError(images)
            yield images


@contextmanager
def one_thread() -> Iterator[None]:
    """Moving pixels is bound by memory: on a busy machine, threads lose far more than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Decoder(Dataset):
    """Decodes one part per item; an error travels as text: a DataLoader would wrap it in a traceback."""

    def __init__(self, split: FileSet) -> None:
        self.split = split

    def __getitem__(self, positions: Tensor) -> Tensor | str:
        try:
            return self.split.fetch(positions)
        except LabkitError as error:
            return str(error)


def batches(
    split: ImageSet | FileSet,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = False,
    augment: Augment | str | None = None,
    device: torch.device | str | None = None,
    rank: int = 0,
    world: int = 1,
    start: int = 0,
    views: int | None = None,
    view_seed: int | None = None,
) -> Batches:
    """One epoch of a split in batches.

    Args:
        split: where from.
        batch_size: images per batch; shuffled over all processes together, in order per process.
        seed: of order and augmentation.
        epoch: likewise; also the `view` of the batches, unless they are in order and not augmented.
        shuffle: a permutation of the split (training) or its own order (evaluation; nothing is dropped).
        augment: an `Augment`, a preset's name, or None for the images as they are.
        device: where the batches are wanted; None takes the split's.
        rank: this process.
        world: number of processes.
        start: batches to skip, untouched.
        views: how many augmented views of each image there are, so that epoch e shows view e % views; None
            draws another view in every epoch.
        view_seed: seed of the augmentation where it is not that of the order.

    Returns:
        An iterable of `Batch` with a length (skipped batches don't count).

    Raises:
        LabkitError: a size is out of range, or the split is too small to train on.
    """
    if batch_size < 1 or not 0 <= rank < world or start < 0:
        raise LabkitError(
            f"batch_size must be at least 1, rank within 0..world-1 and start at least 0,"
            f" but they are {batch_size}, {rank} of {world}, and {start}."
        )
    if views is not None and views < 1:
        raise LabkitError(f"views must be at least 1, or None for a new view in every epoch, not {views}.")
    smallest = max(2 if batch_size > 1 else 1, world)
    if shuffle and min(len(split), batch_size) < smallest:
        raise LabkitError(
            f"Training in {world} process{'es' * (world > 1)} needs at least {smallest} images a batch, but"
            f" the split has {len(split)} and batch_size is {batch_size}."
        )
    augment = Augment.named(augment) if isinstance(augment, str) else augment or NOTHING
    order = slices(len(split), batch_size, seed=seed, epoch=epoch, shuffle=shuffle, rank=rank, world=world)
    view = epoch if shuffle or augment != NOTHING else 0
    view = view % views if views else view
    seed = seed if view_seed is None else view_seed
    target = torch.device(device) if device is not None else split.device
    return Batches(split, order[start:], augment=augment, seed=seed, view=view, device=target)


def stream(split: ImageSet | FileSet, batch_size: int, steps: int, **options: object) -> Iterator[Batch]:
    """`steps` shuffled batches, epoch after epoch; `options` as for `batches`."""
    epochs = (batches(split, batch_size, epoch=epoch, shuffle=True, **options) for epoch in count())
    return islice(chain.from_iterable(epochs), steps)
