"""Checks of lab 09 on the whole network: adapters in every block, and counting what trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..checks import Check, Misconception
from .lab09_toys import WIDTH, LoRALinear, ToyViT, add_adapters, training_names

# --- adapters in every block ----------------------------------------------------------------------------


def _draw_tokens(seed: int) -> tuple[Tensor]:
    return (torch.randn(5, 3, WIDTH),)


def _observe_network(answer: Any, x: Tensor) -> Any:
    net = ToyViT()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    found = answer(net, 3, 2.0)
    if not isinstance(found, nn.Module):
        return found
    now = {name.replace(".base.", "."): p for name, p in found.named_parameters()}
    kept = all(name in now and torch.equal(now[name], value) for name, value in before.items())
    seen = {
        "what trains": training_names(found),
        "all pretrained weights are still there": kept,
        "the logits at the start": found(x),
    }
    adapters = [m for m in found.modules() if hasattr(m, "A") and hasattr(m, "B")]
    with torch.no_grad():
        for number, layer in enumerate(adapters, start=1):
            for p in (layer.A, layer.B):
                p.copy_(torch.linspace(-1, 1 / number, p.numel()).view_as(p))
    return seen | {"the logits with adapters that do something": found(x)}


def _wrong(
    *, blocks: slice = slice(None), layers: tuple[str, ...] = ("qkv",), freeze: str = "before",
    head: bool = True, new: bool = False, swap: bool = False, shared: bool = False,
) -> Any:  # fmt: skip
    """add_adapters with each of its parts switchable."""

    def answer(net: nn.Module, rank: int, alpha: float) -> nn.Module:
        if freeze == "before":
            net.requires_grad_(False)
        for block in net.blocks[blocks]:
            for name in layers:
                base = getattr(block.attn, name)
                base = nn.Linear(base.in_features, base.out_features) if new else base
                wrapped = LoRALinear(base, round(alpha), rank) if swap else LoRALinear(base, rank, alpha)
                setattr(block.attn, name, wrapped)
        if shared:
            for block in net.blocks:
                block.attn.qkv = net.blocks[0].attn.qkv
        if freeze == "after":
            net.requires_grad_(False)
        if head:
            net.head.requires_grad_(True)
        return net

    return answer


def _every_linear(net: nn.Module, rank: int, alpha: float) -> nn.Module:
    net.requires_grad_(False)
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Linear):
            net.set_submodule(name, LoRALinear(module, rank, alpha))
    return net


ADD_ADAPTERS = Check(
    id="09-add-adapters",
    title="adapters in every block of a ViT",
    points=3,
    minutes=12,
    difficulty=3,
    draw=_draw_tokens,
    observe=_observe_network,
    reference=add_adapters,
    misconceptions=(
        Misconception(
            "the new head left frozen",
            _wrong(head=False),
            "The head is new and random. Frozen, it stays random: the adapters would have to bend all"
            " features"
            " to it. net.head must train.",
        ),
        Misconception(
            "frozen after the adapters were added",
            _wrong(freeze="after"),
            "Freezing the whole network last freezes the new A and B too. Freeze first, then add.",
        ),
        Misconception(
            "nothing but the wrapped layers frozen",
            _wrong(freeze="never"),
            "The layers that you did not wrap (norms, proj, embeddings) still train. Freeze the whole network"
            " first.",
        ),
        Misconception(
            "no adapter in the network",
            _wrong(blocks=slice(0)),
            "No block has an adapter. A local name that you give a new value changes nothing in the network:"
            " assign to block.attn.qkv itself.",
        ),
        Misconception(
            "only the first block",
            _wrong(blocks=slice(1)),
            "Only the first block has an adapter: loop over all of net.blocks.",
        ),
        Misconception(
            "every Linear wrapped",
            _every_linear,
            "Every Linear got an adapter, the head too, whose random weight is now frozen under it. Wrap the"
            " layers called qkv.",
        ),
        Misconception(
            "proj instead of qkv",
            _wrong(layers=("proj",)),
            "You wrapped the projection behind the attention. The layer that makes queries, keys and values"
            " is"
            " block.attn.qkv.",
        ),
        Misconception(
            "qkv and proj",
            _wrong(layers=("qkv", "proj")),
            "That is a fair choice, with more parameters. Here the adapters go around qkv alone.",
        ),
        Misconception(
            "a new Linear inside the adapter",
            _wrong(new=True),
            "The pretrained weights are gone: hand the existing layer to LoRALinear, not a new one of its"
            " size.",
        ),
        Misconception(
            "rank and alpha swapped",
            _wrong(swap=True),
            "LoRALinear takes the rank before alpha.",
        ),
        Misconception(
            "one adapter for all blocks",
            _wrong(shared=True),
            "All blocks hold the very same layer, so the pretrained weights of the others are lost. Make one"
            " LoRALinear per block.",
        ),
    ),
    hints=(
        "Three things in the right order: freeze everything, replace the layers, let the head train.",
        "net.requires_grad_(False); then block.attn.qkv = LoRALinear(block.attn.qkv, rank, alpha) for each"
        " block of net.blocks; then net.head.requires_grad_(True); return net.",
        "Replacing the activation of every block would read: for block in net.blocks: block.act ="
        " Wrapper(block.act).",
    ),
)

# --- counting -------------------------------------------------------------------------------------------


class _Counted(nn.Module):
    """Frozen and trainable parts, BatchNorm's buffers, and a weight used twice."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        a, b, c, d = sizes
        self.frozen = nn.Linear(a, b).requires_grad_(False)
        self.norm = nn.BatchNorm1d(b)
        self.up, self.tied = nn.Linear(c, d), nn.Linear(c, d, bias=False)
        self.tied.weight = self.up.weight


def _draw_counted(seed: int) -> tuple[nn.Module]:
    return (_Counted((torch.randint(3, 6, (4,)) + torch.tensor([7, 1, 0, 4])).tolist()),)


def count_parameters(model: nn.Module) -> tuple[int, int, float]:
    """Parameters that train, all parameters, and the first as a share of the second."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return trainable, total, trainable / total


def _tensors(model: nn.Module) -> tuple:
    wanted = [p.requires_grad for p in model.parameters()]
    return sum(wanted), len(wanted), sum(wanted) / len(wanted)


def _of(numerator: Any) -> Any:
    def answer(model: nn.Module) -> tuple:
        trainable, total, _ = count_parameters(model)
        return trainable, total, numerator(trainable, total)

    return answer


def _frozen(model: nn.Module) -> tuple:
    trainable, total, share = count_parameters(model)
    return total - trainable, total, 1 - share


def _with_buffers(model: nn.Module) -> tuple:
    trainable, total, _ = count_parameters(model)
    total += sum(b.numel() for b in model.buffers())
    return trainable, total, trainable / total


def _layer_by_layer(model: nn.Module) -> tuple:
    sizes = [p for m in model.modules() for p in m.parameters(recurse=False)]
    trainable = sum(p.numel() for p in sizes if p.requires_grad)
    total = sum(p.numel() for p in sizes)
    return trainable, total, trainable / total


def _every_level(model: nn.Module) -> tuple:
    sizes = [p for m in model.modules() for p in m.parameters()]
    trainable = sum(p.numel() for p in sizes if p.requires_grad)
    total = sum(p.numel() for p in sizes)
    return trainable, total, trainable / total


COUNT = Check(
    id="09-count",
    title="what trains, of how much",
    points=1,
    minutes=5,
    difficulty=1,
    draw=_draw_counted,
    reference=count_parameters,
    misconceptions=(
        Misconception(
            "tensors counted, not numbers",
            _tensors,
            "You counted tensors; each holds p.numel() numbers.",
        ),
        Misconception(
            "in per cent",
            _of(lambda trainable, total: 100 * trainable / total),
            "Return the share itself, between 0 and 1; formatting is for the print.",
        ),
        Misconception(
            "all before trainable",
            lambda model: (count_parameters(model)[1], *count_parameters(model)[::2]),
            "The trainable ones come first, then all, then the share.",
        ),
        Misconception(
            "trainable over frozen",
            _of(lambda trainable, total: trainable / (total - trainable)),
            "The share is trainable / all; yours divides by the frozen ones.",
        ),
        Misconception(
            "the frozen ones counted",
            _frozen,
            "You counted the parameters that do *not* train: requires_grad is True for those that do.",
        ),
        Misconception(
            "buffers counted as parameters",
            _with_buffers,
            "BatchNorm's statistics are buffers, no parameters: model.parameters() leaves them out.",
        ),
        Misconception(
            "a shared tensor counted twice",
            _layer_by_layer,
            "Two layers of this model share a weight, and you count it for both. model.parameters() yields"
            " each"
            " parameter once.",
        ),
        Misconception(
            "parameters counted at every level",
            _every_level,
            "model.modules() contains the parents too, whose parameters() include their children's. Ask the"
            " whole model once.",
        ),
    ),
    hints=(
        "One loop over the model's parameters, with and without a condition.",
        "p.numel() summed over model.parameters(), once for those with p.requires_grad and once for all.",
        "A frozen Linear(2, 3) has 9 numbers, a trainable Linear(3, 1) has 4: the answer is (4, 13,"
        " 0.307...).",
    ),
)
