"""Feature taps for torchvision's CNNs, by torchvision's own feature extractor (torch.fx).

The extractor traces a training and an evaluation graph of the network, and `train()` and `eval()` switch
between them. The 4 maps are the last block at strides 4, 8, 16 and 32; where a 1x1 convolution closes the
blocks, its output is the `final_map` alone.
https://docs.pytorch.org/vision/stable/feature_extraction.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import LabkitError
from .classifier import Parts
from .output import Output

PREFIX = "torchvision/"
_PROBE = 64  # px: large enough for four strides, small enough to cost nothing
_STRIDES = (4, 8, 16, 32)


class _Family(NamedTuple):
    """Where a family keeps its blocks and its pooled feature."""

    trunk: str  # the module whose children are the blocks; "" is the network itself
    pooled: str | None  # node of the pooled feature; None: what enters the last layer of `classifier`
    closing_conv: bool  # the last block is a 1x1 convolution that belongs to no stage


_FAMILIES = {
    r"(wide_)?resnex?t\d+\w*": _Family("", "flatten", False),
    r"shufflenet_v2_\w+": _Family("", "mean", True),
    r"regnet_\w+": _Family("trunk_output", "flatten", False),
    r"(mobilenet_v[23]|efficientnet)\w*": _Family("features", None, True),
    r"(vgg|convnext)\w*": _Family("features", None, False),
}
# what timm calls the networks that can't be traced or have no four stages
_TIMM_NAMES = {
    "alexnet": "vgg11",
    "densenet": "densenet121",
    "googlenet": "inception_v3",
    "inception": "inception_v3",
    "maxvit": "maxvit_tiny_tf_224",
    "mnasnet": "mnasnet_100",
    "squeezenet": "mobilenetv3_small_100",
    "swin": "swin_tiny_patch4_window7_224",
    "vit": "vit_base_patch16_224",
}


@dataclass(frozen=True)
class TorchvisionTap:
    """Names of the nodes of a traced network that make an `Output`."""

    logits: str
    embedding: str
    maps: tuple[str, str, str, str]
    final_map: str

    def __call__(self, net: nn.Module, x: Tensor) -> Output:
        found = net(x)
        maps = tuple(found[name] for name in self.maps)
        return Output(found[self.logits], found[self.embedding], maps, found[self.final_map])

    def head(self, net: nn.Module) -> nn.Module:
        return net.get_submodule(self.logits)

    @property
    def nodes(self) -> list[str]:
        """All names, each once."""
        return list(dict.fromkeys([*self.maps, self.final_map, self.embedding, self.logits]))


def torchvision_names() -> list[str]:
    """The classification networks of torchvision that can be tapped, as `torchvision/NAME`."""
    import torchvision

    return [
        PREFIX + name for name in torchvision.models.list_models(module=torchvision.models) if _family(name)
    ]


def torchvision_parts(
    name: str,
    num_classes: int,
    in_chans: int | None = None,
    image_size: int | None = None,
    pretrained: bool = False,
    **kw: Any,
) -> Parts:
    """A torchvision CNN with its taps and ImageNet's normalisation; `kw` goes to torchvision's function.

    All these networks take any image size. With `pretrained` a head of another class count than the published
    one is new; another number of channels adapts the first convolution as timm does (1: the sum over RGB).

    Raises:
        LabkitError: the family can't be tapped; the sentence says which timm network to use.
        MissingError: the published weights are neither in the local cache nor within reach.
    """
    import torchvision

    from .traced import trace

    short = name.removeprefix(PREFIX)
    family = _family(short) or _refuse(name)
    published = torchvision.models.get_model_weights(short).DEFAULT
    transform = published.transforms()
    in_chans = in_chans or len(transform.mean)
    net = torchvision.models.get_model(
        short,
        weights=None,
        num_classes=len(published.meta["categories"]) if pretrained else num_classes,
        **kw,
    )
    if pretrained:
        from .hub import torchvision_weights

        net.load_state_dict(torchvision_weights(short, published))
    if in_chans != len(transform.mean):
        _set_in_chans(net, in_chans, adapt=pretrained)
    tap, channels = _tap(net, family, in_chans)
    if tap.head(net).out_features != num_classes:
        net.set_submodule(tap.logits, nn.Linear(tap.head(net).in_features, num_classes))
    mean, std = (
        tuple(values) if len(values) == in_chans else (sum(values) / len(values),) * in_chans
        for values in (transform.mean, transform.std)
    )
    return Parts(trace(net, tap.nodes), tap, mean, std, channels)


def _family(short: str) -> _Family | None:
    return next((where for pattern, where in _FAMILIES.items() if re.fullmatch(pattern, short)), None)


def _refuse(name: str) -> Any:
    short = name.removeprefix(PREFIX)
    like = next((timm for start, timm in _TIMM_NAMES.items() if short.startswith(start)), "resnet18")
    raise LabkitError(f"'{name}' can't be tapped through torchvision: use timm's '{like}' instead.")


def _tap(net: nn.Module, family: _Family, in_chans: int) -> tuple[TorchvisionTap, tuple[int, ...]]:
    """Find the nodes, and the channels of the maps, by sending one small image through the network."""
    prefix = f"{family.trunk}." if family.trunk else ""
    blocks = {prefix + name: block for name, block in net.get_submodule(family.trunk).named_children()}
    shapes = _shapes(net, blocks, in_chans)
    *stages, last = shapes
    if not family.closing_conv:
        stages.append(last)
    maps = [[name for name in stages if _PROBE // shapes[name][1] == stride][-1] for stride in _STRIDES]
    if family.pooled:
        logits, embedding = "fc", family.pooled
    else:
        count = len(net.classifier)
        logits, embedding = f"classifier.{count - 1}", f"classifier.{count - 2}"
    return TorchvisionTap(logits, embedding, tuple(maps), last), tuple(shapes[name][0] for name in maps)


def _shapes(net: nn.Module, blocks: dict[str, nn.Module], in_chans: int) -> dict[str, tuple[int, int]]:
    """(channels, side) of each block's map for an image of `_PROBE` px, in the order the blocks run."""
    shapes: dict[str, tuple[int, int]] = {}

    def watch(name: str, block: nn.Module) -> Any:
        def note(module: nn.Module, args: tuple, out: Tensor) -> None:
            if out.ndim == 4 and out.shape[-1] > 1:  # neither pooled nor logits
                shapes[name] = (out.shape[1], out.shape[-1])

        return block.register_forward_hook(note)

    hooks = [watch(name, block) for name, block in blocks.items()]
    with torch.no_grad():
        net.eval()(torch.zeros(1, in_chans, _PROBE, _PROBE))
    for hook in hooks:
        hook.remove()
    net.train()
    return shapes


def _set_in_chans(net: nn.Module, in_chans: int, adapt: bool) -> None:
    """Give the first convolution another number of input channels."""
    from timm.models import adapt_input_conv

    name, old = next((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        in_chans, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None
    )
    if adapt:
        with torch.no_grad():
            new.weight.copy_(adapt_input_conv(in_chans, old.weight))
            if old.bias is not None:
                new.bias.copy_(old.bias)
    else:
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    net.set_submodule(name, new)
