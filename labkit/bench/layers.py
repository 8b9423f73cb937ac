"""The convolutions of a network one by one: their sizes, the bytes they move, and the time of each kind."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models.cost import inference

KINDS = ("k x k", "1 x 1", "depthwise", "linear", "norm", "activation", "other")
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.GELU)


class ConvLayer(NamedTuple):
    """One convolution for one image; `height` and `width` are those of its input."""

    kind: str
    c_in: int
    c_out: int
    height: int
    width: int
    kernel: int
    stride: int
    padding: int
    groups: int
    out_height: int
    out_width: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """(c_in, c_out, height, width, kernel, stride, padding, groups): what the number of MACs needs."""
        return self[1:9]

    @property
    def bytes_moved(self) -> int:
        """Bytes of input, weights and output in float32, each moved once."""
        image_in = self.c_in * self.height * self.width
        weights = self.c_out * (self.c_in // self.groups) * self.kernel**2
        image_out = self.c_out * self.out_height * self.out_width
        return 4 * (image_in + weights + image_out)


def kind_of(module: nn.Module) -> str:
    """One of KINDS, for a module without children."""
    if isinstance(module, nn.Conv2d):
        if module.groups == module.in_channels > 1:
            return "depthwise"
        return "1 x 1" if module.kernel_size == (1, 1) else "k x k"
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.BatchNorm2d):
        return "norm"
    return "activation" if isinstance(module, _ACTIVATIONS) else "other"


def conv_layers(model: nn.Module, input_size: Sequence[int] = (1, 3, 224, 224)) -> list[ConvLayer]:
    """Every convolution of `model` in the order they run, by sending one image through it."""
    found: list[ConvLayer] = []

    def note(conv: nn.Module, args: tuple, out: Tensor) -> None:
        _, _, height, width = args[0].shape
        sizes = conv.kernel_size[0], conv.stride[0], conv.padding[0], conv.groups
        channels = conv.in_channels, conv.out_channels
        found.append(ConvLayer(kind_of(conv), *channels, height, width, *sizes, *out.shape[2:]))

    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    with _hooked(convs, after=note), inference(model):
        model(torch.zeros(tuple(input_size)))
    return found


def time_by_kind(
    model: nn.Module, runs: int, warmup: int = 3, input_size: Sequence[int] = (1, 3, 224, 224)
) -> dict[str, float]:
    """Milliseconds per inference spent in each kind of layer, on the CPU: the median over `runs`.

    'other' is all that happens outside the named kinds: additions, concatenations, poolings, and Python.
    """
    image = torch.rand(tuple(input_size), generator=torch.Generator().manual_seed(0))
    leaves = [module for module in model.modules() if not list(module.children())]
    started: dict[int, float] = {}
    spent: Counter[str] = Counter()

    def before(module: nn.Module, args: tuple) -> None:
        started[id(module)] = time.perf_counter()

    def after(module: nn.Module, args: tuple, out: Any) -> None:
        spent[kind_of(module)] += time.perf_counter() - started[id(module)]

    seen: dict[str, list[float]] = defaultdict(list)
    with _hooked(leaves, before, after), inference(model):
        for run in range(warmup + runs):
            spent.clear()
            start = time.perf_counter()
            model(image)
            spent["other"] += time.perf_counter() - start - sum(spent.values())
            for kind in KINDS if run >= warmup else ():
                seen[kind].append(1e3 * spent[kind])
    return {kind: float(torch.tensor(times).median()) for kind, times in seen.items()}


def by_kind(model: nn.Module, conv_macs: Callable[..., int], runs: int) -> dict[str, dict[str, float]]:
    """MACs, bytes moved and ms of each kind of convolution in one inference; MACs as `conv_macs` counts."""
    times = time_by_kind(model, runs)
    totals: dict[str, dict[str, float]] = {}
    for layer in conv_layers(model):
        sums = totals.setdefault(layer.kind, {"macs": 0, "bytes": 0, "ms": times[layer.kind]})
        sums["macs"] += conv_macs(*layer.sizes)
        sums["bytes"] += layer.bytes_moved
    return totals


@contextmanager
def _hooked(
    modules: Sequence[nn.Module], before: Callable | None = None, after: Callable | None = None
) -> Iterator[None]:
    handles = [module.register_forward_pre_hook(before) for module in modules if before]
    handles += [module.register_forward_hook(after) for module in modules if after]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
