"""What one inference needs: parameters, multiply-accumulates, bytes of weights and of activations."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """The cost of one inference.

    Attributes:
        parameters: number of parameters.
        macs: multiply-accumulates of convolutions, matrix products and attention: half of PyTorch's FLOPs,
            which count multiplication and addition apart. Norms, activations and poolings are left out.
        weight_bytes: parameters and buffers in their own precision.
        activation_bytes: the most bytes of tensors that the forward pass has alive at any moment, its input
            and the scratch space inside kernels apart. A Classifier keeps its maps alive until it returns.
        input_size: shape of the input.
    """

    parameters: int
    macs: int
    weight_bytes: int
    activation_bytes: int
    input_size: tuple[int, ...]

    @property
    def weight_mb(self) -> float:
        """Size of the weights in 10^6 bytes."""
        return self.weight_bytes / 1e6

    @property
    def activation_mb(self) -> float:
        """Peak size of the activations in 10^6 bytes."""
        return self.activation_bytes / 1e6

    def __str__(self) -> str:
        return (
            f"{self.parameters / 1e6:.3g} M parameters, {self.macs / 1e9:.3g} G MACs,"
            f" weights {self.weight_mb:.3g} MB, activations {self.activation_mb:.3g} MB"
        )


def cost(model: nn.Module, input_size: Sequence[int] = (1, 3, 224, 224)) -> Cost:
    """Count what one inference of `model` needs, by running it once where it is.

    The result is exact and the same on every machine; the training mode is put back afterwards.
    """
    counter, memory = FlopCounterMode(display=False), _PeakMemory()
    with inference(model), counted_attention():
        image = example_input(model, input_size)
        with counter, memory:
            model(image)
    return Cost(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=counter.get_total_flops() // 2,
        weight_bytes=sum(t.numel() * t.element_size() for t in chain(model.parameters(), model.buffers())),
        activation_bytes=memory.peak,
        input_size=tuple(input_size),
    )


class _PeakMemory(TorchDispatchMode):
    """Adds up the storages that operations create, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in given and storage._cdata not in self.alive:
                    self.alive[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.alive.pop, storage._cdata)
        self.peak = max(self.peak, sum(self.alive.values()))
        return result


def example_input(model: nn.Module, input_size: Sequence[int]) -> Tensor:
    """An image batch with values in [0, 1), in the model's precision and on its device, from a fixed seed."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    return torch.rand(tuple(input_size), generator=generator).to(like.device, like.dtype)


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own mode is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:  # parents first; through train(), which some networks override
            module.train(mode)


@contextmanager
def counted_attention() -> Iterator[None]:
    """Turns off the fused path of nn.MultiheadAttention, whose products the FLOP counter does not see."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
