"""Checks of lab 02 that need no clock: multiply-accumulates of a convolution, bytes of a model."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn

from ..checks import Check, Misconception, Property


def _draw_conv(seed: int) -> tuple[int, ...]:
    """Sizes for which every mistake shows: groups, a stride that leaves a rest, height unlike width."""
    groups, stride = 2 + seed % 3, 3
    kernel, padding = ((3, 1), (7, 3))[seed % 2]
    inside, outside, rows, columns = (int(n) for n in torch.randint(3, 9, (4,)))
    height = stride * rows + kernel - 2 * padding + 1  # one row and two columns are left over
    width = stride * (rows + columns) + kernel - 2 * padding + 2
    return groups * inside, groups * (inside + outside), height, width, kernel, stride, padding, groups


def conv_macs(c_in, c_out, height, width, kernel, stride, padding, groups):
    """Multiply-accumulates of one convolution on one image."""
    out_height = (height + 2 * padding - kernel) // stride + 1
    out_width = (width + 2 * padding - kernel) // stride + 1
    return out_height * out_width * c_out * (c_in // groups) * kernel**2


def _rounded_up(c_in, c_out, height, width, kernel, stride, padding, groups):
    sides = (-(-(side + 2 * padding - kernel) // stride) + 1 for side in (height, width))
    return next(sides) * next(sides) * c_out * (c_in // groups) * kernel**2


def _with_bias(c_in, c_out, height, width, kernel, stride, padding, groups):
    pixels = conv_macs(1, 1, height, width, kernel, stride, padding, 1) // kernel**2
    return pixels * c_out * ((c_in // groups) * kernel**2 + 1)


def _point_by_point(fn, seed: int) -> bool:
    """A 1 x 1 convolution needs height * width * c_in * c_out."""
    return fn(6, 10, 4, 5, 1, 1, 0, 1) == 4 * 5 * 6 * 10


CONV_MACS = Check(
    id="02-conv-macs",
    title="multiply-accumulates of a convolution",
    points=2,
    minutes=8,
    difficulty=2,
    draw=_draw_conv,
    reference=conv_macs,
    misconceptions=(
        Misconception(
            "FLOPs instead of multiply-accumulates",
            lambda *sizes: 2 * conv_macs(*sizes),
            "You counted the multiplication and the addition apart. One multiply-accumulate is both"
            " together: half as many.",
        ),
        Misconception(
            "the groups forgotten",
            lambda c_in, c_out, h, w, k, s, p, g: conv_macs(c_in, c_out, h, w, k, s, p, 1),
            "With g groups each output channel sees c_in / g input channels, not all of them.",
        ),
        Misconception(
            "divided by the groups twice",
            lambda *sizes: conv_macs(*sizes) // sizes[-1],
            "All c_out output channels are computed, whatever the groups; only the input channels that"
            " each of them sees are fewer.",
        ),
        Misconception(
            "the input's size in place of the output's",
            lambda c_in, c_out, h, w, k, s, p, g: h * w * c_out * (c_in // g) * k**2,
            "The kernel stops once for every *output* position, H_out x W_out times: formula (1) comes"
            " first.",
        ),
        Misconception(
            "the input's size divided by the stride",
            lambda c_in, c_out, h, w, k, s, p, g: (h // s) * (w // s) * c_out * (c_in // g) * k**2,
            "That is H_out only when the padding suits the kernel. Formula (1) takes both into account.",
        ),
        Misconception(
            "the padding forgotten",
            lambda c_in, c_out, h, w, k, s, p, g: conv_macs(c_in, c_out, h, w, k, s, 0, g),
            "Padding adds p rows above and p below, and the same to the sides: it belongs in formula (1).",
        ),
        Misconception(
            "the padding added on one side only",
            lambda c_in, c_out, h, w, k, s, p, g: conv_macs(c_in, c_out, h + p, w + p, k, s, 0, g),
            "Padding adds p rows above *and* p below: 2p in formula (1).",
        ),
        Misconception(
            "the + 1 of formula (1) forgotten",
            lambda c_in, c_out, h, w, k, s, p, g: conv_macs(c_in, c_out, h - s, w - s, k, s, p, g),
            "The kernel's first stop counts too: steps + 1 stops.",
        ),
        Misconception(
            "rounded up instead of down",
            _rounded_up,
            "Where the last step would not fit, PyTorch leaves it out: round down with `//`.",
        ),
        Misconception(
            "the bias counted",
            _with_bias,
            "Adding a bias is no multiply-accumulate; by convention it is left out (and most convolutions"
            " before a BatchNorm have none).",
        ),
        Misconception(
            "the kernel's side in place of its area",
            lambda *sizes: conv_macs(*sizes) // sizes[4],
            "A square kernel has k x k weights per input channel.",
        ),
        Misconception(
            "the weights counted, not their use",
            lambda c_in, c_out, h, w, k, s, p, g: c_out * (c_in // g) * k**2,
            "That is the number of weights. Each of them is used once at every output position.",
        ),
    ),
    properties=(
        Property(
            "a 1 x 1 convolution has height x width x c_in x c_out multiply-accumulates",
            _point_by_point,
            "With k = 1, s = 1, p = 0 and one group formula (2) has only four factors left.",
        ),
    ),
    hints=(
        "First the size of the output, then how much work each number in it takes.",
        "Formula (1) gives H_out and, with the width in place of the height, W_out; `//` rounds down. Then"
        " (2).",
        "A 5 x 5 average over 10 x 10 positions looks at 10 * 10 * 5 * 5 pixels: positions times kernel"
        " area. A convolution does that for each output channel and each input channel it sees.",
    ),
)


def _draw_widths(seed: int) -> tuple[int, int, int]:
    a, b, c = (int(n) for n in torch.randint(3, 20, (3,)))
    return a, a + b, b + c


class _Mixed(nn.Module):
    """Two precisions, a frozen layer, a shared weight, buffers that are saved and one that is not."""

    def __init__(self, a: int, b: int, c: int) -> None:
        super().__init__()
        self.first = nn.Linear(a, b).requires_grad_(False)
        self.norm = nn.BatchNorm1d(b)
        self.last = nn.Linear(b, c).half()
        self.shared = nn.Linear(b, c, bias=False).half()
        self.shared.weight = self.last.weight
        self.register_buffer("grid", torch.zeros(c, 3, dtype=torch.float64), persistent=False)


def model_bytes(model):
    """Bytes of all parameters and buffers, each tensor once, in its own precision."""
    tensors = chain(model.parameters(), model.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _numbers(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in chain(model.parameters(), model.buffers()))


def _halves(fn, seed: int) -> bool:
    """Half precision halves the bytes of the floating-point numbers."""
    model = nn.Linear(5, 7)
    whole = fn(model)
    return fn(model.half()) * 2 == whole


MODEL_BYTES = Check(
    id="02-model-bytes",
    title="bytes that a model's tensors take",
    points=2,
    minutes=6,
    difficulty=2,
    draw=_draw_widths,
    reference=model_bytes,
    observe=lambda answer, a, b, c: answer(_Mixed(a, b, c)),
    misconceptions=(
        Misconception(
            "the buffers forgotten",
            lambda model: _size(model.parameters()),
            "BatchNorm's running mean and variance are no parameters, but they lie in memory too:"
            " `model.buffers()`.",
        ),
        Misconception(
            "bits instead of bytes",
            lambda model: 8 * model_bytes(model),
            "A float32 has 32 bits, that is 4 bytes; `element_size()` already gives bytes.",
        ),
        Misconception(
            "every number taken for a float32",
            lambda model: 4 * _numbers(model),
            "Not every tensor holds float32: counters are int64, some weights are float16. Ask each tensor"
            " for its `element_size()`.",
        ),
        Misconception(
            "every number taken for a float16",
            lambda model: 2 * _numbers(model),
            "Two bytes are right for float16 alone. Ask each tensor for its `element_size()`.",
        ),
        Misconception(
            "numbers counted, not bytes",
            _numbers,
            "That is how many numbers there are. Each takes `element_size()` bytes.",
        ),
        Misconception(
            "frozen parameters left out",
            lambda model: _size(p for p in model.parameters() if p.requires_grad) + _size(model.buffers()),
            "A frozen parameter does not change, but it takes its place: don't ask for `requires_grad`.",
        ),
        Misconception(
            "the file's content in place of the memory's",
            lambda model: _size(model.state_dict().values()),
            "`state_dict()` is what goes into a file: it names a shared weight twice and leaves out"
            " buffers that can be computed again. In memory are `parameters()` and `buffers()`.",
        ),
        Misconception(
            "only what sits directly on the model",
            lambda model: _size(chain(model.parameters(recurse=False), model.buffers(recurse=False))),
            "The layers inside have parameters and buffers too: leave `recurse` as it is.",
        ),
        Misconception(
            "megabytes instead of bytes",
            lambda model: model_bytes(model) / 1e6,
            "Return bytes, a whole number; divide by 10^6 where it is printed.",
        ),
    ),
    properties=(
        Property(
            "half precision halves the bytes",
            _halves,
            "`element_size()` is 4 for float32 and 2 for float16: use the tensor's own.",
        ),
    ),
    hints=(
        "For each tensor: how many numbers, and how many bytes per number?",
        "Formula (3): `tensor.numel() * tensor.element_size()`, summed over `parameters()` and `buffers()`.",
        "The price of a basket is `sum(item.count * item.price for item in basket)`; two baskets are"
        " joined by adding two sums, or with `itertools.chain`.",
    ),
)
