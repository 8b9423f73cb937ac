"""What a step leaves behind: its loss terms and hits, summed over the epoch, checked for NaN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..data import Batch
from ..errors import LabkitError
from .store import Position

if TYPE_CHECKING:
    from accelerate import Accelerator

LOOK_EVERY = {"cpu": 1}  # steps between looks at the loss, by device
LOOK_SELDOM = 32  # on an accelerator, where each look waits for the device


class Records:
    """Keeps each step's terms on the device and adds them to the `Position` when it looks at them."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.every = LOOK_EVERY.get(accelerator.device.type, LOOK_SELDOM)
        self.pending: list[tuple[int, int, dict[str, Tensor]]] = []  # batch number, images, its terms
        self.logits: Tensor | None = None  # of this step's first training pass through the watched model

    def watch(self, model: nn.Module):
        """Note the model's training passes; returns the hook's handle."""
        return model.register_forward_hook(self._keep_logits)

    def begin(self) -> None:
        """A step begins."""
        self.logits = None

    def add(self, at: Position, batch: Batch, terms: dict[str, Tensor], batches: int) -> None:
        """Take the terms of the step that `at` is at, one of `batches` of its epoch.

        Raises:
            LabkitError: the loss is not finite, here or in an earlier step that is looked at only now.
        """
        record = {name: value.detach() for name, value in terms.items()} | {"hits": self._hits(batch)}
        self.pending.append((at.step + 1, len(batch.label), record))
        if len(self.pending) >= self.every:
            self.look(at, batches)

    def look(self, at: Position, batches: int) -> None:
        """Add the pending steps to the epoch's sums; stop at the first loss that is not finite."""
        pending, self.pending = self.pending, []
        for number, n, record in pending:
            values = {name: value.item() for name, value in record.items()}
            hits = values.pop("hits")
            if not math.isfinite(values["total"]):
                terms = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                raise LabkitError(
                    f"The loss is not finite at epoch {at.epoch + 1}, batch {number} of {batches}"
                    f" ({terms}): lower lr, clip the gradient, or look at that batch's images."
                )
            for name, value in {"train_accuracy": hits, **{k: v * n for k, v in values.items()}}.items():
                at.sums[name] = at.sums.get(name, 0.0) + value
            at.seen += n
            at.losses.append(values["total"])

    def means(self, at: Position) -> dict[str, float]:
        """The epoch's means over the images of all processes; the steps' losses become such means too."""
        if self.accelerator.num_processes > 1:
            own = at.seen / at.step  # this process's images of a batch
            values = [*at.sums.values(), at.seen, *(own * loss for loss in at.losses[-at.step :])]
            local = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
            total = self.accelerator.reduce(local, "sum").tolist()
            at.sums, at.seen = dict(zip(at.sums, total, strict=False)), total[len(at.sums)]
            at.losses[-at.step :] = [loss * at.step / at.seen for loss in total[len(at.sums) + 1 :]]
        return {name: value / at.seen for name, value in at.sums.items()}

    def _keep_logits(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if module.training and self.logits is None:
            self.logits = (output if isinstance(output, Tensor) else output.logits).detach()

    def _hits(self, batch: Batch) -> Tensor:
        """Correct predictions of this step's own forward pass; nan where the watched model didn't run."""
        if self.logits is None or len(self.logits) != len(batch.label):
            return torch.tensor(math.nan)
        return (self.logits.argmax(1) == batch.label).sum()
