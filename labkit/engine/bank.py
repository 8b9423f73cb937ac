"""A frozen encoder's outputs over a split, computed once and kept: a teacher need not run every epoch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Augment, Batch, FileSet, ImageSet, batches
from ..errors import LabkitError, unknown
from .bank_encode import Encoding, rechunk, rows_of
from .bank_key import key_of, module_digest, sample_digests, split_digest, transform_digest
from .bank_store import Parts, Store
from .recipe import Recipe
from .session import device_of

VERSION = 1  # of what is stored; a new one leaves all older banks unused
DTYPES = ("float32", "float16")
_MAIN = ("embedding", "cls", "features", "pooler_output")  # what `features()` gives of several outputs


class FeatureBank:
    """Outputs of a frozen encoder for every image of a split and a fixed number of augmented views.

    View v of an image is what `augment` draws for (seed, epoch v, image id): a network in training replays
    exactly that crop, flip and colour, and so sees what the encoder saw (`batches`, or `fit(bank=...)`).
    The outputs lie memory-mapped under the cache's `features/`, named by a hash of the images, the encoder
    (parameters, buffers, settings, code) and the transform. A bank of anything else is never used; one whose
    making was cut off is gone on with; a damaged part is made again. Two processes that want the same bank
    make it once. Where the cache can't be written, all stays in memory.

    Args:
        encoder: takes images (B, C, H, W) in [0, 1]; returns a tensor (named 'features'), or a mapping or
            NamedTuple of tensors. It runs in eval mode without gradient; its mode and device are put back.
        split: the images.
        views: how many augmented views of each image, V.
        augment: an `Augment`, a preset's name, or None for the images as they are (V = 1).
        seed: of the views; need not be that of the training.
        batch_size: images per forward pass.
        outputs: names of what to keep, 'maps.3' for one of a tuple; None keeps every output of shape (B, D).
        dtype: 'float32' keeps what the encoder gave. 'float16' halves the room and rounds to 3 digits
            (relative error 5e-4): right for feature maps, and for embeddings that only serve as targets.
        precision: 'fp32', 'bf16', 'fp16' or 'auto', as in `fit`, of the forward pass.
        device: where the encoder runs; None takes a GPU where there is one.
        keep: False computes in memory and touches no file.
        chunk: images between two points from which a killed process's bank can be gone on with.
        progress: show a bar; None shows one unless LABKIT_QUIET is set.

    Attributes:
        split, views, augment, seed: as given; `augment` is always an `Augment`.
        names: what is stored.
        key: the hash that names the bank.
        model: the hash of the encoder alone.

    Raises:
        LabkitError: the split is empty, an option or a name is wrong, or an output is not finite.

    Example:
        >>> bank = FeatureBank(teacher, data.train, views=4, augment=data.augment)
        >>> bank.features("embedding", view=0).shape
        torch.Size([1200, 512])
    """

    def __init__(
        self,
        encoder: nn.Module,
        split: ImageSet | FileSet,
        *,
        views: int = 1,
        augment: Augment | str | None = None,
        seed: int = 0,
        batch_size: int = 128,
        outputs: Sequence[str] | None = None,
        dtype: str = "float32",
        precision: str = "fp32",
        device: str | None = None,
        keep: bool = True,
        chunk: int = 1024,
        progress: bool | None = None,
    ) -> None:
        self.augment = Augment.named(augment) if isinstance(augment, str) else augment or Augment()
        self.split, self.views, self.seed = split, views, seed
        self.batch_size, self.outputs = batch_size, tuple(outputs) if outputs is not None else None
        self._check(encoder, dtype, chunk)
        self.device = device_of(device)
        precision = Recipe(precision=precision).mixed_precision(self.device)
        self.samples = sample_digests(split)
        facts = json.loads(json.dumps(self._facts(encoder, dtype, precision)))
        self.key, self.model = key_of(facts), facts["model"]
        chunk = -(-chunk // batch_size) * batch_size
        self._store = Store(self.key, facts, views, len(split), chunk, dtype, keep)
        self._complete(encoder, precision, progress)
        self._ids, self._order = split.ids.cpu().sort()

    def _check(self, encoder: object, dtype: str, chunk: int) -> None:
        if not isinstance(encoder, nn.Module):
            raise LabkitError(f"The encoder of a bank must be an nn.Module, not {type(encoder).__name__}.")
        if len(self.split) == 0:
            raise LabkitError("The split to encode is empty: give it at least one image.")
        numbers = {"views": self.views, "batch_size": self.batch_size, "chunk": chunk}
        for name, value in numbers.items():
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise LabkitError(f"{name} must be a whole number of at least 1, but it is {value!r}.")
        if self.views > 1 and self.augment == Augment():
            raise LabkitError(f"{self.views} views without augmentation are all the same: pass augment=...")
        if dtype not in DTYPES:
            raise unknown("dtype of a bank", dtype, DTYPES)

    def _facts(self, encoder: nn.Module, dtype: str, precision: str) -> dict[str, Any]:
        """What the stored numbers depend on."""
        plain = self.augment == Augment()
        return {
            "version": VERSION,
            "kind": "images",
            "encoder": type(encoder).__qualname__,
            "model": module_digest(encoder),
            "split": split_digest(self.split, self.samples),
            "images": len(self.split),
            "image_size": self.split.image_size,
            "code": transform_digest(not plain),
            "augment": None if plain else asdict(self.augment),
            "seed": None if plain else self.seed,
            "views": self.views,
            "outputs": self.outputs,
            "dtype": dtype,
            "precision": precision,
        }

    # Reading -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.split)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n} {tuple(a.shape[2:])}" for n, a in self._store.arrays.items())
        return f"FeatureBank({len(self)} images, {self.views} views, {shapes}, key {self.key})"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._store.arrays)

    @property
    def folder(self) -> Any:
        """Where the bank lies on the disk; None where it is in memory."""
        return self._store.folder

    @property
    def labels(self) -> Tensor:
        """(N,) int64, in the split's order."""
        return self.split.labels.cpu()

    @property
    def ids(self) -> Tensor:
        """(N,) int64, the images' stable ids in the split's order."""
        return self.split.ids.cpu()

    def features(self, name: str | None = None, view: int = 0) -> Tensor:
        """One output of one view, (N, ...) float32 on the CPU in the split's order; yours to change.

        Args:
            name: one of `names`; None takes the only one, or 'embedding', 'cls' or 'features'.
            view: 0..views-1.

        Raises:
            LabkitError: no such output or view.
        """
        if name is None:
            candidates = self.names if len(self.names) == 1 else [n for n in _MAIN if n in self.names]
            if not candidates:
                raise LabkitError(f"This bank holds {', '.join(self.names)}: say which, features('...').")
            name = candidates[0]
        if name not in self.names:
            raise unknown("output of this bank", name, self.names)
        if not 0 <= view < self.views:
            raise LabkitError(f"This bank has views 0..{self.views - 1}, and no view {view}.")
        return torch.from_numpy(np.asarray(self._store.open(name, view))).float()

    def stored(self, index: Tensor, view: Tensor | int = 0) -> dict[str, Tensor]:
        """All outputs of some images, as for `Batch.stored`.

        Args:
            index: (B,) image ids, as in `Batch.index`.
            view: (B,) or one for all, as in `Batch.view`.

        Returns:
            (B, ...) float32 by name, on the device of `index`.

        Raises:
            LabkitError: an id or a view is not in the bank.
        """
        rows = self.positions(index)
        view = torch.as_tensor(view).cpu().expand(len(rows))
        if len(rows) and not 0 <= int(view.min()) <= int(view.max()) < self.views:
            raise LabkitError(
                f"This bank has views 0..{self.views - 1}, but view {int(view.max())} was asked for:"
                " train on epoch % views, as fit(bank=...) does."
            )
        at = (view.numpy(), rows.numpy())
        arrays = self._store.arrays.items()
        return {n: torch.from_numpy(np.asarray(a[at])).to(index.device).float() for n, a in arrays}

    def positions(self, index: Tensor) -> Tensor:
        """Where images with these ids (B,) are in the split, (B,) int64.

        Raises:
            LabkitError: an id is not in the bank.
        """
        index = index.cpu()
        at = torch.searchsorted(self._ids, index).clamp(max=len(self._ids) - 1)
        lost = index[self._ids[at] != index]
        if len(lost):
            raise LabkitError(
                f"{len(lost)} of these images are not in the bank (the first has id {int(lost[0])}):"
                " build it over the split that is trained on, or one that contains it."
            )
        return self._order[at]

    def batches(
        self, batch_size: int, *, epoch: int = 0, seed: int = 0, shuffle: bool = True
    ) -> Iterator[Batch]:
        """An epoch of the split as the bank saw it: view `epoch % views`, with `stored` filled.

        Args:
            batch_size: images per batch.
            epoch: decides order and view.
            seed: of the order alone.
            shuffle: False keeps the split's order.
        """
        found = batches(
            self.split,
            batch_size,
            seed=seed,
            epoch=epoch,
            shuffle=shuffle,
            augment=self.augment,
            views=self.views,
            view_seed=self.seed,
        )
        for batch in found:
            yield batch._replace(stored=self.stored(batch.index, batch.view))

    def _complete(self, encoder: nn.Module, precision: str, progress: bool | None) -> None:
        """Encode what the store lacks."""
        from tqdm.auto import tqdm

        quiet = bool(os.environ.get("LABKIT_QUIET")) if progress is None else not progress
        total = self.views * len(self.split)
        bar = tqdm(total=total, desc="encoding", unit="img", leave=False, delay=1.0, disable=quiet)
        encoding = Encoding(encoder, self.outputs, self._store.dtype, precision, self.device)

        def compute(view: int, first: int, last: int) -> Iterator[Parts]:
            part = self.split
            if (first, last) != (0, len(part)):
                part = part.subset(torch.arange(first, last))
            source = batches(
                part, self.batch_size, seed=self.seed, epoch=view, augment=self.augment, device=self.device
            )
            for parts in rechunk(encoding(source), self._store.chunk):
                bar.update(rows_of(parts))
                yield parts

        message = "Another process makes this feature bank: waiting for it."
        with bar, encoding:
            self._store.complete(compute, lambda: quiet or bar.write(message))
