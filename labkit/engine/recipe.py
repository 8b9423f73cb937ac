"""How to train: every option of `fit` that changes the result, checked once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from numbers import Integral, Real

import torch
from torch import nn

from ..errors import LabkitError, unknown

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "linear", "step")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Recipe:
    """Training options; defaults suit small classifiers.

    Args:
        batch_size: images per step over all processes.
        optimizer: 'adam', 'adamw' or 'sgd' (with momentum, Nesterov).
        lr: peak learning rate.
        weight_decay: decoupled for adamw, L2 otherwise.
        momentum: of sgd.
        schedule: 'constant', 'cosine' or 'linear' (to 0), 'step' (x0.1 at 5/8, 6/8, 7/8 of the stage).
        warmup: share of the stage's steps, in [0, 1), over which lr rises linearly.
        precision: 'auto' (bf16 or fp16 on GPUs, fp32 elsewhere), 'fp32', 'bf16' or 'fp16'.
        clip: largest gradient norm, or None.
        patience: stop after this many validations without a better accuracy, or None.
        validate_every: epochs between validations; None takes the number that gives at most 30 in a stage.
        seed: initial generator state, order, augmentation and dropout.

    Raises:
        LabkitError: an option is outside its range.
    """

    batch_size: int = 128
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "cosine"
    warmup: float = 0.0
    precision: str = "auto"
    clip: float | None = None
    patience: int | None = None
    validate_every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, kind) not in known:
                raise unknown(kind, getattr(self, kind), known)
        for field in fields(self):
            self._check_number(field.name, getattr(self, field.name), field.type)
        if not 0 <= self.warmup < 1:
            raise LabkitError(f"warmup is the share of steps in [0, 1), but it is {self.warmup}.")

    @staticmethod
    def _check_number(name: str, value: object, kind: str) -> None:
        """Refuse a word (YAML reads 1e-3 as one), half a step, or a negative number."""
        if kind == "str" or (value is None and kind.endswith("None")):
            return
        whole = kind.startswith("int")
        if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
            raise LabkitError(f"{name} must be a {'whole ' * whole}number, but it is {value!r}.")
        if name in ("weight_decay", "momentum", "seed", "warmup"):
            if not value >= 0:
                raise LabkitError(f"{name} must be 0 or greater, but it is {value}.")
        elif not value > 0:
            raise LabkitError(f"{name} must be greater than 0, but it is {value}.")

    def make_optimizer(self, parameters: Iterable[nn.Parameter] | list[dict]) -> torch.optim.Optimizer:
        """The optimiser over parameters or parameter groups."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters,
                lr=self.lr,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                nesterov=self.momentum > 0,
            )
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def lr_factor(self, step: int, steps: int) -> float:
        """Share of the peak rate at `step` of 0..steps-1. Stateless, so resuming needs no scheduler."""
        rising = self.warmup * steps
        if step < rising:
            return (step + 1) / (rising + 1)
        t = (step - rising) / max(1.0, steps - rising)  # 0..1 after warm-up
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * t))
        if self.schedule == "linear":
            return 1 - t
        if self.schedule == "step":
            return 0.1 ** sum(t >= part for part in (5 / 8, 6 / 8, 7 / 8))
        return 1.0

    def mixed_precision(self, device: torch.device) -> str:
        """accelerate's word for the precision on `device`: bf16 only where the hardware has it.

        Raises:
            LabkitError: fp16 on a CPU.
        """
        if self.precision == "fp16" and device.type == "cpu":
            raise LabkitError("precision='fp16' needs a GPU: use 'bf16' or 'fp32' on a CPU.")
        if self.precision != "auto":
            return {"fp32": "no"}.get(self.precision, self.precision)
        if device.type != "cuda":
            return "no"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
