"""What is asked of a teacher before a student learns from it: frozen, in eval mode, better than chance."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from ..data import DataModule
from ..errors import LabkitError, LabkitWarning
from .bank import FeatureBank
from .bank_feed import Feed
from .bank_key import module_digest
from .evaluate import evaluate

_IMAGES = 128  # enough to tell a trained head from a new one
_LUCK = 0.01  # probability below which guessing is no explanation


def check_frozen(method: nn.Module) -> None:
    """Raise LabkitError where a network that a method calls frozen would learn; warn of its train mode."""
    for name in getattr(method, "frozen", ("teacher",)):
        net = getattr(method, name, None)
        if not isinstance(net, nn.Module):
            continue
        if any(p.requires_grad for p in net.parameters()):
            raise LabkitError(
                f"The {name} has parameters that ask for a gradient, so that it would learn from its student:"
                f" call {name}.requires_grad_(False)."
            )
        if net.training:
            warnings.warn(
                f"The {name} was in train mode, where its statistics and dropout move: fit puts it into eval"
                " mode.",
                LabkitWarning,
                stacklevel=4,
            )


def check_stored(method: nn.Module, feed: Feed) -> None:
    """Raise LabkitError where a bank would speak for a network and holds the outputs of another."""
    for prefix, bank in feed.banks.items():
        name, net = _speaks_for(method, prefix, bank)
        if net is not None and bank.model != module_digest(net):
            raise LabkitError(
                f"The bank holds the outputs of another network than the {name}, or of the {name} with other"
                " weights: build it over that network, as it is now."
            )


def _speaks_for(method: nn.Module, prefix: str, bank: FeatureBank) -> tuple[str, nn.Module | None]:
    """The network whose outputs the method takes from the bank of this name, if any."""
    needs, teacher = getattr(method, "needs", ()), getattr(method, "teacher", None)
    vlm = getattr(teacher, "vlm", None)
    if vlm is not None:
        asked = prefix in ("", "teacher.", "vlm.") and "features" in bank.names
        return "vision-language model", vlm if asked else None
    if prefix == "intermediate.":
        frozen = "intermediate" in getattr(method, "frozen", ())
        return "intermediate", getattr(method, "intermediate", None) if frozen else None
    asked = bool(needs) and prefix in ("", "teacher.") and set(needs) <= set(bank.names)
    return "teacher", teacher if asked else None


def warn_of_chance(method: nn.Module, data: DataModule) -> None:
    """Warn where the teacher is no better than guessing on validation images: its head was never trained."""
    teacher, split = getattr(method, "teacher", None), data.val
    classes = getattr(teacher, "num_classes", None)
    if classes != data.num_classes or split is None or len(split) == 0:
        return
    from scipy.stats import binom

    n = min(len(split), _IMAGES)
    images = split.subset(torch.arange(n) * len(split) // n)
    accuracy = evaluate(teacher, images, batch_size=_IMAGES).accuracy
    if accuracy < 2 / classes and binom.sf(round(accuracy * n) - 1, n, 1 / classes) > _LUCK:
        warnings.warn(
            f"The teacher is right on {accuracy:.1%} of {n} validation images, where guessing gives"
            f" {1 / classes:.1%}: was its head trained? Train it first, or its student learns noise.",
            LabkitWarning,
            stacklevel=5,
        )
