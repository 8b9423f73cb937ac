"""Two optimisers for one training: Muon for the matrices inside a network, AdamW for all else.

Muon's steps, momentum made orthogonal (torch.optim.Muon; Jordan et al., 2024,
https://kellerjordan.github.io/posts/muon), make every direction of a matrix move alike. With few steps that
matters more than anything else we tried: an image's large surfaces otherwise rule the gradient long before a
bill of four pixels has a say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import AdamW, Muon, Optimizer


def muon_and_adamw(
    module: nn.Module,
    inner: Callable[[str], bool],
    *,
    matrix_lr: float,
    lr: float,
    plain: Callable[[str], bool] = lambda name: False,
    **adamw: Any,
) -> tuple[Optimizer, Optimizer]:
    """Muon and AdamW over what trains of `module`.

    Args:
        module: of which the parameters are.
        inner: of a matrix's name, whether Muon trains it.
        matrix_lr: peak rate of Muon.
        lr: peak rate of AdamW.
        plain: of a name, whether it is never decayed, as vectors and numbers never are.
        adamw: other options of AdamW.

    Returns:
        The two; each group knows its `peak` rate, and under `decays` whether its weights decay.
    """
    groups: dict[str, list[nn.Parameter]] = {"muon": [], "decayed": [], "plain": []}
    for name, parameter in module.named_parameters():
        if parameter.ndim == 2 and inner(name):
            groups["muon"].append(parameter)
        else:
            groups["plain" if parameter.ndim < 2 or plain(name) else "decayed"].append(parameter)
    muon = Muon([{"params": groups["muon"], "decays": True}], lr=matrix_lr)
    rest = [{"params": groups["decayed"], "decays": True}, {"params": groups["plain"], "decays": False}]
    made = muon, AdamW(rest, lr=lr, **adamw)
    for group in (group for optimizer in made for group in optimizer.param_groups):
        group["peak"] = group["lr"]
    return made


def set_rates(optimizers: tuple[Optimizer, ...], share: float, decay: float) -> None:
    """The learning rates at a share of their peaks, and the weight decay of what decays."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = group["peak"] * share
        group["weight_decay"] = decay * group["decays"]
