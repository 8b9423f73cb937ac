"""Checks of lab 03: freezing a teacher; the others are beside it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ..checks import Check, Misconception
from .lab03_bug import BUG
from .lab03_loop import LOOP
from .lab03_mistakes import MISTAKES
from .lab03_step import STEP
from .lab03_targets import SHUFFLE
from .lab03_toys import Toy, state, trainable


def _draw_freeze(seed: int) -> tuple[torch.Tensor]:
    return (torch.rand(6, 1, 3, 4),)


def _observe_freeze(freeze: Any, images: torch.Tensor) -> dict[str, Any]:
    """A network as training leaves it: in train mode, every weight trainable."""
    network = Toy().train()
    before, known = state(network), set(vars(network))
    frozen = freeze(network)
    return {
        "what comes back": _kind(frozen, network),
        "modules in train mode": sum(module.training for module in network.modules()),
        "tensors that would be trained": trainable(network),
        "attributes that the module did not have": sorted(set(vars(network)) - known),
        "a graph behind its answer": network(images).logits.requires_grad,
        "its weights and buffers": state(network) - before,
        "its answer": network(images).logits.detach(),
    }


def _kind(found: Any, network: nn.Module) -> str:
    if found is network:
        return "the network"
    return "another network" if isinstance(found, Toy) else type(found).__name__


def freeze_teacher(network: nn.Module) -> nn.Module:
    """Puts a network into eval mode, takes its parameters out of training, and returns it."""
    network.eval()
    network.requires_grad_(False)
    return network


def _only_eval(network: nn.Module) -> nn.Module:
    return network.eval()


def _only_parameters(network: nn.Module) -> nn.Module:
    return network.requires_grad_(False)


def _attribute(network: nn.Module) -> nn.Module:
    network.eval()
    network.requires_grad = False
    return network


def _only_head(network: nn.Module) -> nn.Module:
    network.eval()
    network.head.requires_grad_(False)
    return network


def _only_body(network: nn.Module) -> nn.Module:
    network.eval()
    network.body.requires_grad_(False)
    return network


def _nothing_returned(network: nn.Module) -> None:
    freeze_teacher(network)


def _copied(network: nn.Module) -> nn.Module:
    return freeze_teacher(copy.deepcopy(network))


def _flag_only(network: nn.Module) -> nn.Module:
    network.requires_grad_(False)
    network.training = False
    return network


FREEZE = Check(
    id="03-freeze-teacher",
    title="a frozen teacher",
    points=1,
    minutes=4,
    difficulty=1,
    draw=_draw_freeze,
    observe=_observe_freeze,
    reference=freeze_teacher,
    misconceptions=(
        Misconception(
            "only the mode",
            _only_eval,
            "Eval mode settles BatchNorm and dropout, but an optimiser could still change the weights: take"
            " the parameters out of training as well.",
        ),
        Misconception(
            "only the parameters",
            _only_parameters,
            "The weights can't change any more, but dropout is still on and BatchNorm still measures every"
            " batch: eval mode is missing.",
        ),
        Misconception(
            "requires_grad set on the module",
            _attribute,
            "`network.requires_grad = False` only gives the module a new attribute that nobody reads. The"
            " parameters carry that flag: network.requires_grad_(False), with an underscore, sets them all.",
        ),
        Misconception(
            "only the head frozen",
            _only_head,
            "The head is frozen and everything below it is not. A teacher does not learn at all.",
        ),
        Misconception(
            "only the body frozen",
            _only_body,
            "That is what you do to train a head on fixed features. Here the head, trained already, has to"
            " be frozen as well.",
        ),
        Misconception(
            "nothing returned",
            _nothing_returned,
            "Frozen, but your function returns None: return the network.",
        ),
        Misconception(
            "a frozen copy",
            _copied,
            "You return a frozen copy, and the network itself goes on as it was: whoever still holds it has"
            " a teacher that changes. Set its own mode and parameters.",
        ),
        Misconception(
            "only the outermost flag",
            _flag_only,
            "`training` is a flag of every module: you switched the outermost one, and BatchNorm below it"
            " never heard of it. network.eval() reaches them all.",
        ),
    ),
    hints=(
        "Two things about a network can change while others train: its mode and its weights.",
        "The mode has a method of its own that reaches all modules; so have the parameters, requires_grad_."
        " Return the network.",
        "To freeze one layer you would write layer.eval() and layer.requires_grad_(False). Both work on a"
        " whole network just as well.",
    ),
)

CHECKS = [FREEZE, STEP, LOOP, MISTAKES, SHUFFLE, BUG]
