"""What lab 13's own training loops need beside the lines that the lab is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..data import steps_per_epoch
from .lab13 import passes

if TYPE_CHECKING:
    from ..data import Batch, DataModule
    from ..engine import FeatureBank


def steps(s: SimpleNamespace, first: bool = False) -> int:
    """Optimiser steps of stage 2, or of stage 1 after its head's."""
    recipe = s.intermediate_training if first else s.training
    if "steps" in recipe:
        return round(recipe["steps"] * (1 - recipe["head_share"])) if first else recipe["steps"]
    from . import pair

    return passes(s, first) * steps_per_epoch(len(pair.few(s, s.per_class, 0).train), recipe["batch_size"])


def batches(
    module: DataModule, bank: FeatureBank, count: int, batch_size: int, device: str
) -> Iterator[Batch]:
    """So many shuffled training batches on `device`, in the bank's views, with `stored` filled from it."""
    from ..data import stream

    shown = {"augment": bank.augment, "views": bank.views, "view_seed": bank.seed, "device": device}
    for batch in stream(module.train, batch_size, count, **shown):
        yield batch._replace(stored=bank.stored(batch.index, batch.view))


def optimiser(modules: Sequence[nn.Module], recipe: dict[str, Any], count: int) -> torch.optim.Optimizer:
    """AdamW over some modules that warms up, decays along a cosine over `count` steps and clips by itself.

    Args:
        modules: what learns.
        recipe: lr; weight_decay, warmup (a share of the steps) and clip (the gradient's largest length).
        count: steps.
    """
    weights = [p for module in modules for p in module.parameters()]
    made = torch.optim.AdamW(weights, lr=recipe["lr"], weight_decay=recipe.get("weight_decay", 0.01))
    warm = max(recipe.get("warmup", 0.1), 1.5 / count)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        made, recipe["lr"], total_steps=count + 1, pct_start=warm, cycle_momentum=False
    )

    def clip(*_: Any) -> None:
        nn.utils.clip_grad_norm_(weights, recipe.get("clip", 1.0))

    made.register_step_pre_hook(clip)
    made.register_step_post_hook(lambda *_: plan.step())
    return made
