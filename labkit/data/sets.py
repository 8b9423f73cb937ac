"""Labelled images: `ImageSet` in memory, `FileSet` on disk; `DataModule`, the splits of a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from string import Formatter
from typing import Self

import torch
from torch import Tensor

from ..errors import LabkitError
from .augment import Augment, as_float
from .images import MEMORY_LIMIT, decode_all, resize
from .splits import budget


class _Split:
    """What both kinds of sets share: labels, stable ids, class names, subsets and label budgets."""

    labels: Tensor
    ids: Tensor
    classes: tuple[str, ...]

    def _check(self, n: int) -> None:
        """Complete `ids` and `classes`, and refuse labels that fit neither the images nor the classes."""
        self.labels = torch.as_tensor(self.labels, dtype=torch.int64)
        if self.ids is None:
            self.ids = torch.arange(n, device=self.labels.device)
        self.classes = tuple(self.classes)
        if len(self.labels) != n or len(self.ids) != n:
            raise LabkitError(
                f"{n} images need as many labels and ids, but there are {len(self.labels)} labels"
                f" and {len(self.ids)} ids."
            )
        if n and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise LabkitError(
                f"Labels must lie in 0..{len(self.classes) - 1} for {len(self.classes)} classes,"
                f" but they span {int(self.labels.min())}..{int(self.labels.max())}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """The image (C, H, W) float32 in [0, 1] and its label."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"image {i} of a set of {len(self)}")
        position = torch.tensor([i % len(self)])
        return as_float(self.fetch(position))[0], int(self.labels[i])

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def few(self, per_class: int | None = None, *, fraction: float | None = None, seed: int = 0) -> Self:
        """A label budget: so many images of every class, or so large a share of each.

        Budgets are nested: at one seed a smaller budget is a subset of every larger one.

        Raises:
            LabkitError: neither or both are given, or a class has too few images.
        """
        return self.subset(budget(self.labels, self.ids, self.classes, per_class, fraction, seed))


@dataclass(eq=False)
class ImageSet(_Split):
    """Labelled images in memory.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) class numbers.
        classes: class names in the order of the labels.
        ids: (N,) int64, stable position in the official split; None numbers the images 0..N-1.
        image_size: side length that `fetch` delivers; None takes that of `images`.

    Raises:
        LabkitError: shapes, types or labels don't fit together.
    """

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: Sequence[str]
    ids: Tensor | None = field(default=None, repr=False)
    image_size: int | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise LabkitError(
                f"Images must be (N, C, H, W) uint8, but they are"
                f" {tuple(self.images.shape)} {str(self.images.dtype).removeprefix('torch.')}."
            )
        self._check(len(self.images))
        self.image_size = self.image_size or self.images.shape[-1]

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def device(self) -> torch.device:
        return self.images.device

    def fetch(self, positions: Tensor | Sequence[int]) -> Tensor:
        """Images at these positions, (B, C, S, S) uint8 on the set's device."""
        positions = torch.as_tensor(positions, dtype=torch.int64, device=self.device)
        return resize(self.images.index_select(0, positions), self.image_size)

    def subset(self, positions: Tensor | Sequence[int]) -> ImageSet:
        """The set of the images at these positions, which keep their ids."""
        p = torch.as_tensor(positions, dtype=torch.int64, device=self.device)
        return replace(self, images=self.images[p], labels=self.labels[p], ids=self.ids[p])

    def resized(self, size: int | None) -> ImageSet:
        """The set at another side length: at once where 1 GiB holds the result, else batch by batch."""
        if size in (None, self.image_size):
            return self
        if len(self) * self.channels * size * size > MEMORY_LIMIT:
            return replace(self, image_size=size)
        images = [resize(chunk, size) for chunk in self.images.split(1024)]
        return replace(self, images=torch.cat(images), image_size=size)

    def to(self, device: torch.device | str) -> ImageSet:
        """The set with all its tensors on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("images", "labels", "ids")}
        return replace(self, **moved)


@dataclass(eq=False)
class FileSet(_Split):
    """Labelled image files too large for memory, decoded batch by batch.

    Args:
        paths: N image files.
        labels: (N,) class numbers.
        classes: class names in the order of the labels.
        ids: (N,) int64, stable position in the official split; None numbers the files 0..N-1.
        image_size: side length; the short side is resized to it, then the centre is cropped.
        workers: processes that `batches` decodes with; None takes up to four.

    Raises:
        LabkitError: paths, labels and classes don't fit together.
    """

    paths: Sequence[str] = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: Sequence[str]
    ids: Tensor | None = field(default=None, repr=False)
    image_size: int = 64
    workers: int | None = None

    channels = 3
    device = torch.device("cpu")

    def __post_init__(self) -> None:
        self._check(len(self.paths))
        self.workers = min(4, os.cpu_count() or 1) if self.workers is None else self.workers

    def fetch(self, positions: Tensor | Sequence[int]) -> Tensor:
        """Decode the images at these positions: (B, 3, S, S) uint8.

        Raises:
            LabkitError: a file can't be read, with its name.
        """
        return decode_all([self.paths[int(i)] for i in positions], self.image_size, progress=False)

    def subset(self, positions: Tensor | Sequence[int]) -> FileSet:
        """The set of the images at these positions, which keep their ids."""
        p = torch.as_tensor(positions, dtype=torch.int64)
        return replace(
            self, paths=[self.paths[i] for i in p.tolist()], labels=self.labels[p], ids=self.ids[p]
        )

    def resized(self, size: int | None) -> FileSet:
        """The set decoded at another side length."""
        return replace(self, image_size=size or self.image_size)

    def to(self, device: torch.device | str) -> FileSet:
        """The set itself: files stay on disk, `batches` moves what it decodes."""
        return self


@dataclass(eq=False)
class DataModule:
    """The three splits of one data set and what a method needs to know about them.

    Args:
        name: the registered name.
        train: what is learned from, after the label budget.
        val: for every choice; drawn from the official training split by the seed where none is official.
        test: the same whatever the seed.
        descriptions: one phrase per class for prompts; None takes the class names.
        augment: default augmentation for training.
        options: what `load` was asked for beside the name, so that a run can load the same again.
    """

    name: str
    train: ImageSet | FileSet
    val: ImageSet | FileSet
    test: ImageSet | FileSet
    descriptions: Sequence[str] | None = None
    augment: Augment = field(default_factory=Augment)
    options: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.descriptions = tuple(self.descriptions or self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    @property
    def num_classes(self) -> int:
        return self.train.num_classes

    @property
    def channels(self) -> int:
        return self.train.channels

    @property
    def image_size(self) -> int:
        return self.train.image_size

    def prompts(self, template: str = "a photo of a {}.") -> list[str]:
        """One text per class: '{}' or '{name}' is the class name, '{description}' the fuller phrase.

        Raises:
            LabkitError: the template has no field, or one that isn't known.

        Example:
            >>> load("digits").prompts("the digit {description}")[:2]
            ['the digit zero', 'the digit one']
        """
        try:
            fields = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        except ValueError as error:
            raise LabkitError(f"The template '{template}' can't be read: {error}.") from error
        if not fields or set(fields) - {"", "name", "description"}:
            raise LabkitError(
                f"The template '{template}' needs a place for the class:"
                " '{}' or '{name}' for its name, '{description}' for the fuller phrase."
            )
        pairs = zip(self.classes, self.descriptions, strict=True)
        return [template.format(*[c] * len(fields), name=c, description=d) for c, d in pairs]

    def describe(self) -> str:
        """One sentence with sizes and classes."""
        sizes = ", ".join(f"{len(getattr(self, s)):,} {s}" for s in ("train", "val", "test"))
        few = ", ".join(self.classes[:5]) + (", ..." if self.num_classes > 5 else "")
        shape = f"{self.image_size}x{self.image_size}"
        return (
            f"{self.name}: {sizes} images, {shape} with {self.channels} channel{'s' * (self.channels > 1)},"
            f" {self.num_classes} classes ({few})."
        )
