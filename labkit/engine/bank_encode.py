"""Running a frozen encoder over batches: its mode and device, which outputs, and whether they are finite."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Batch
from ..errors import LabkitError, unknown
from .bank_store import Parts

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Encoding:
    """An encoder made ready: as a context it is in eval mode and on `device`, and put back at the end.

    Args:
        encoder: takes images (B, C, H, W).
        outputs: names to keep, or None for every output of shape (B, D).
        dtype: of the rows that are returned.
        precision: accelerate's word: 'no', 'bf16' or 'fp16'.
        device: where to run.
    """

    def __init__(
        self,
        encoder: nn.Module,
        outputs: tuple[str, ...] | None,
        dtype: str,
        precision: str,
        device: torch.device,
    ) -> None:
        self.encoder, self.outputs, self.dtype, self.device = encoder, outputs, dtype, device
        self.cast = _AUTOCAST.get(precision)

    def __enter__(self) -> Self:
        tensors = (*self.encoder.parameters(), *self.encoder.buffers())
        self.home = tensors[0].device if tensors else None
        self.modes = {module: module.training for module in self.encoder.modules()}
        self.ready = False  # moved when the first batch comes: a bank that is complete needs no encoder
        return self

    def __exit__(self, *_: object) -> None:
        for module, mode in self.modes.items():
            module.training = mode
        if self.ready and self.home is not None:
            self.encoder.to(self.home)

    def __call__(self, source: Iterable[Batch]) -> Iterator[Parts]:
        """The rows of each batch by name.

        Raises:
            LabkitError: an output is missing, not per image, or not finite.
        """
        if not self.ready:
            self.encoder.eval().to(self.device)
            self.ready = True
        parameter = next(self.encoder.parameters(), torch.zeros(()))
        dtype = parameter.dtype if parameter.is_floating_point() else torch.float32
        for batch in source:
            with torch.inference_mode(), torch.autocast(self.device.type, self.cast, enabled=bool(self.cast)):
                images = batch.image.to(dtype, memory_format=torch.channels_last)
                named = _named(self.encoder(images), self.outputs)
            yield {name: self._rows(name, value, batch) for name, value in named.items()}

    def _rows(self, name: str, value: Tensor, batch: Batch) -> np.ndarray:
        if value.ndim == 0 or len(value) != len(batch.index):
            raise LabkitError(
                f"The encoder's '{name}' is {tuple(value.shape)} for {len(batch.index)} images:"
                " its first axis must be the batch."
            )
        rows = value.float().cpu().numpy()
        largest = np.abs(rows.reshape(len(rows), -1)).max(1)  # nan where there is one
        bad = np.flatnonzero(~(largest <= np.finfo(self.dtype).max))
        if not len(bad):
            return rows.astype(self.dtype)
        if np.isfinite(largest[bad]).all():
            raise LabkitError(
                f"The encoder's '{name}' reaches {largest[bad].max():.3g}, too large for float16:"
                " use dtype='float32'."
            )
        image = int(batch.index[int(bad[0])])
        raise LabkitError(
            f"The encoder's '{name}' is not finite (first for the image with id {image},"
            f" view {int(batch.view[0])}): look at its weights and that image, or use precision='fp32'."
        )


def _named(output: Any, wanted: tuple[str, ...] | None) -> dict[str, Tensor]:
    """An encoder's output as tensors by name: those asked for, else all of shape (B, D)."""
    if isinstance(output, Tensor):
        found = {"features": output}
    elif hasattr(output, "_asdict"):
        found = output._asdict()
    elif isinstance(output, Mapping):
        found = {str(name): value for name, value in output.items()}
    else:
        raise LabkitError(
            f"The encoder returned a {type(output).__name__}: a bank needs a tensor, or tensors by name."
        )
    for name, value in list(found.items()):
        if isinstance(value, tuple | list):
            found |= {f"{name}.{i}": part for i, part in enumerate(value)}
    found = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if wanted is None:
        wanted = tuple(name for name, value in found.items() if value.ndim == 2) or tuple(found)
    for name in wanted:
        if name not in found:
            raise unknown("output of the encoder", name, found)
        if not re.fullmatch(r"[\w.-]+", name):
            raise LabkitError(f"An output's name becomes a file's, which '{name}' can't be: rename it.")
    if not wanted:
        raise LabkitError("The encoder returned no tensor: there is nothing to keep.")
    return {name: found[name] for name in wanted}


def rechunk(source: Iterable[Parts], size: int) -> Iterator[Parts]:
    """The same rows, `size` at a time; the last may be fewer."""
    waiting: list[Parts] = []
    for parts in source:
        waiting.append(parts)
        while sum(map(rows_of, waiting)) >= size:
            joined = _join(waiting)
            yield {name: rows[:size] for name, rows in joined.items()}
            waiting = [{name: rows[size:] for name, rows in joined.items()}]
    if sum(map(rows_of, waiting)):
        yield _join(waiting)


def rows_of(parts: Parts) -> int:
    """How many rows."""
    return len(next(iter(parts.values())))


def _join(parts: list[Parts]) -> Parts:
    """One array per name; LabkitError where the batches' shapes differ."""
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except (KeyError, ValueError) as error:
        raise LabkitError(
            "The encoder's outputs change from one batch to the next: a bank needs the same for every image."
        ) from error
