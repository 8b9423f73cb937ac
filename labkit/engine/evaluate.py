"""How good a classifier is: accuracy, per class, confusion, calibration, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import FileSet, ImageSet, batches
from ..errors import LabkitError

ECE_BINS = 15


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion (scipy); (0, 1) for n = 0."""
    from scipy.stats import binomtest

    return tuple(binomtest(int(hits), int(n)).proportion_ci(0.95, "wilson")) if n else (0.0, 1.0)


@dataclass(frozen=True)
class Evaluation:
    """Predictions of one model on one split, and what follows from them.

    `logits` (n, N) float32 and `labels` (n,) int64 are in the split's order; accuracies are in [0, 1].
    """

    logits: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)

    @cached_property
    def predictions(self) -> Tensor:
        """(n,) int64, the class with the largest logit."""
        return self.logits.argmax(1)

    @property
    def n(self) -> int:
        return len(self.labels)

    @cached_property
    def accuracy(self) -> float:
        """Share of correct predictions."""
        return (self.predictions == self.labels).double().mean().item()

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy over test images."""
        return wilson(int((self.predictions == self.labels).sum()), self.n)

    @cached_property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return F.cross_entropy(self.logits, self.labels).item()

    @cached_property
    def confusion(self) -> np.ndarray:
        """(N, N) counts: rows are true classes, columns predictions."""
        from sklearn.metrics import confusion_matrix

        return confusion_matrix(self.labels, self.predictions, labels=np.arange(len(self.classes)))

    @cached_property
    def per_class(self) -> dict[str, float]:
        """Accuracy per class (recall); nan for a class without images."""
        with np.errstate(invalid="ignore"):
            values = np.diag(self.confusion) / self.confusion.sum(1)
        return dict(zip(self.classes, values.tolist(), strict=True))

    @cached_property
    def per_class_interval(self) -> dict[str, tuple[float, float]]:
        """95 % Wilson interval of each class's accuracy."""
        hits, totals = np.diag(self.confusion), self.confusion.sum(1)
        return {c: wilson(h, n) for c, h, n in zip(self.classes, hits, totals, strict=True)}

    @cached_property
    def ece(self) -> float:
        """Expected calibration error with 15 equal bins (Guo et al. 2017, arXiv 1706.04599)."""
        return self._ece(self.logits.softmax(1), self.labels)

    @cached_property
    def ece_interval(self) -> tuple[float, float]:
        """95 % percentile bootstrap interval of the ECE over test images (200 resamples, fixed seed)."""
        probabilities, generator = self.logits.softmax(1), torch.Generator().manual_seed(0)
        rows = torch.randint(self.n, (200, self.n), generator=generator)
        values = [self._ece(probabilities[r], self.labels[r]) for r in rows]
        return tuple(np.percentile(values, [2.5, 97.5]).tolist())

    @staticmethod
    def _ece(probabilities: Tensor, labels: Tensor) -> float:
        from torchmetrics.functional.classification import multiclass_calibration_error

        return multiclass_calibration_error(
            probabilities, labels, num_classes=probabilities.shape[1], n_bins=ECE_BINS
        ).item()

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"accuracy {self.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, n = {self.n}),"
            f" ECE {self.ece:.3f}, loss {self.loss:.3f}"
        )


@torch.no_grad()
def predict(
    model: nn.Module, split: ImageSet | FileSet, *, batch_size: int = 256, rank: int = 0, world: int = 1
) -> tuple[Tensor, Tensor]:
    """Logits (n, N) float32 and positions (n,) of this process's share of the split, both on the CPU.

    The model's train/eval mode is put back afterwards.
    """
    parameter = next(model.parameters(), torch.zeros(()))
    dtype = parameter.dtype if parameter.is_floating_point() else torch.float32
    modes = {m: m.training for m in model.modules()}
    model.eval()
    logits = []
    try:
        for batch in batches(split, batch_size, device=parameter.device, rank=rank, world=world):
            output = model(batch.image.to(dtype, memory_format=torch.channels_last))
            logits.append((output if isinstance(output, Tensor) else output.logits).float().cpu())
    finally:
        for module, mode in modes.items():
            module.training = mode
    positions = torch.arange(len(split))[rank::world]
    return torch.cat(logits) if logits else torch.zeros(0, len(split.classes)), positions


def evaluate(model: nn.Module, split: ImageSet | FileSet, *, batch_size: int = 256) -> Evaluation:
    """Evaluate a classifier on a split, in eval mode and on its own device.

    Under `accelerate launch` every process calls it, takes its share of the images and gets the same result.

    Args:
        model: maps (B, C, H, W) images in [0, 1] to `Output` or to (B, N) logits.
        split: `ImageSet` or `FileSet`.
        batch_size: images per forward pass and process.

    Raises:
        LabkitError: the split is empty, or the model's class count is not the split's.
    """
    if len(split) == 0:
        raise LabkitError("The split to evaluate is empty: give it at least one image.")
    from accelerate import PartialState
    from accelerate.utils import gather_object

    world, rank = 1, 0
    if torch.distributed.is_initialized():
        state = PartialState()
        world, rank = state.num_processes, state.process_index
    logits, positions = predict(model, split, batch_size=batch_size, rank=rank, world=world)
    if world > 1:  # objects, not padded tensors: no image is counted twice
        parts = gather_object([(positions, logits)])
        positions = torch.cat([p for p, _ in parts])
        logits = torch.cat([z for _, z in parts])[positions.argsort()]
    if logits.shape[1] != len(split.classes):
        raise LabkitError(
            f"The model has {logits.shape[1]} classes and the data {len(split.classes)}:"
            f" build it with num_classes={len(split.classes)}."
        )
    return Evaluation(logits, split.labels.cpu(), tuple(split.classes))
