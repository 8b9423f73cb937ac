"""CoOp's training: learn a prompt's context on cached image features (Zhou et al., arXiv 2109.01134).

A loop of its own beside `fit`: there is no student and there are no images, only features that never change,
so a step is one pass of the text tower. The recipe is the authors': plain SGD (no Nesterov momentum), a first
epoch at a tiny rate, then a cosine over the epochs; the last epoch counts unless validation data is given.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LabkitError
from ..rng import permutation

Step = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor, float], float]


@dataclass
class PromptRun:
    """What a training of prompts recorded.

    Attributes:
        losses: of every step.
        val: validation accuracy in [0, 1] after each epoch, where validation data was given.
        epoch: the epoch, from 1, whose context was kept.
    """

    losses: list[float] = field(default_factory=list)
    val: list[float] = field(default_factory=list)
    epoch: int = 0


def prompt_step(
    learner: nn.Module, optimizer: torch.optim.Optimizer, features: Tensor, labels: Tensor, scale: float
) -> float:
    """One step: cross-entropy of `scale * features @ learner().T`; the loss as a number.

    Args:
        learner: called without arguments it gives the head, unit vectors (C, E).
        features: (B, E) unit vectors of images, constants.
        labels: (B,) class numbers.
        scale: what cosines are multiplied by, exponentiated.
    """
    loss = F.cross_entropy(scale * features @ learner().T, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def coop_rate(epoch: int, epochs: int, lr: float, warmup: int = 1, warmup_lr: float = 1e-5) -> float:
    """The learning rate of an epoch, from 0: constant and tiny for `warmup` epochs, then on the cosine."""
    return warmup_lr if epoch < warmup else 0.5 * lr * (1 + math.cos(math.pi * epoch / epochs))


def train_prompts(
    learner: nn.Module,
    features: Tensor,
    labels: Tensor,
    *,
    scale: float,
    epochs: int,
    lr: float = 0.002,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    batch_size: int = 32,
    warmup: int = 1,
    seed: int = 0,
    validation: tuple[Tensor, Tensor] | None = None,
    patience: int | None = None,
    step: Step = prompt_step,
    progress: bool | None = None,
) -> PromptRun:
    """Train what `learner` has to learn, in place, on image features that were computed once.

    Args:
        learner: such as `models.prompts.PromptLearner`; called without arguments it gives the head (C, E).
        features: (N, E) unit vectors, as a `FeatureBank` over `load_vlm(...)` holds them.
        labels: (N,) class numbers.
        scale: the model's `logit_scale`.
        epochs: passes over the features; the paper takes 200 at 16 and 8 shots, 100 at 4 and 2, 50 at 1.
        lr, momentum, weight_decay: of SGD.
        batch_size: images per step; an incomplete last batch is left out unless it is the only one.
        warmup: epochs at a rate of 1e-5.
        seed: of the order alone.
        validation: (features, labels) to measure on after each epoch; the best epoch's weights are kept.
        patience: stop after this many epochs without a better validation accuracy.
        step: what one step does, with the arguments of `prompt_step`.
        progress: show a bar; None shows one unless LABKIT_QUIET is set.

    Raises:
        LabkitError: features and labels don't fit, there are none, or there is nothing to learn.
    """
    from tqdm.auto import tqdm

    _check(features, labels, epochs, batch_size)
    parameters = [p for p in learner.parameters() if p.requires_grad]
    if not parameters:
        raise LabkitError("The learner has no parameter that asks for a gradient: there is nothing to train.")
    device = parameters[0].device
    features, labels = features.to(device), labels.to(device)
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)
    run, best = PromptRun(), None
    quiet = bool(os.environ.get("LABKIT_QUIET")) if progress is None else not progress
    for epoch in tqdm(range(epochs), desc="prompts", unit="epoch", leave=False, delay=1.0, disable=quiet):
        for group in optimizer.param_groups:
            group["lr"] = coop_rate(epoch, epochs, lr, warmup)
        order = permutation(len(labels), seed, epoch).to(device)
        for rows in order.split(batch_size):
            if len(rows) == min(batch_size, len(labels)):
                run.losses.append(step(learner, optimizer, features[rows], labels[rows], scale))
        if validation is not None:
            run.val.append(prompt_accuracy(learner, *validation))
            if best is None or run.val[-1] > run.val[run.epoch - 1]:
                run.epoch = epoch + 1
                best = {k: v.detach().clone() for k, v in learner.state_dict().items()}
            if patience is not None and epoch + 1 - run.epoch >= patience:
                break
    if best is None:
        run.epoch = epochs
    else:
        learner.load_state_dict(best)
    return run


@torch.no_grad()
def prompt_accuracy(learner: nn.Module, features: Tensor, labels: Tensor) -> float:
    """Share of images (N, E) whose nearest prompt is that of their class."""
    head = learner()
    return ((features.to(head.device) @ head.T).argmax(1).cpu() == labels.cpu()).double().mean().item()


def _check(features: Tensor, labels: Tensor, epochs: int, batch_size: int) -> None:
    if features.ndim != 2 or len(features) != len(labels) or len(labels) == 0:
        raise LabkitError(
            f"Features (N, E) and labels (N,) must belong together, but they are {tuple(features.shape)} and"
            f" {tuple(labels.shape)}."
        )
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise LabkitError(f"{name} must be a whole number of at least 1, but it is {value!r}.")
