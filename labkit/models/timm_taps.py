"""Feature taps for timm's networks: `forward_intermediates`, then `forward_head`, in one pass.

Hierarchical networks are tapped at the last feature of strides 4, 8, 16 and 32 (where they have no such four,
at their last four stages); the others (ViT, DeiT, DINOv2, Mixer) after the blocks ceil((2, 4, 10, 12) * depth
/ 12), so that a very shallow one may show a block twice. A VGG has hidden layers where others pool; its
`final_map` is what those see. https://github.com/huggingface/pytorch-image-models
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import LabkitError
from .classifier import Parts
from .output import Output

STRIDES = (4, 8, 16, 32)
_BLOCKS = (2, 4, 10, 12)  # of every 12: where a network without stages is tapped
_REFUSED = ("VOLO", "CoaT")  # an auxiliary head; several token sequences


class PairedHead(nn.Module):
    """The two Linears of a distilled DeiT, seen as one: it averages their logits, as DeiT does at test time.

    Its embedding is (B, 2D): the class token's, then the distillation token's, so that a method can give each
    head its own target. Touvron et al., 2021, https://arxiv.org/abs/2012.12877
    """

    def __init__(self, first: nn.Linear, second: nn.Linear) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.in_features = first.in_features + second.in_features
        self.out_features = first.out_features

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits (B, N) of embeddings (B, 2D)."""
        a, b = embedding.chunk(2, dim=-1)
        return (self.first(a) + self.second(b)) / 2


@dataclass(frozen=True)
class TimmTap:
    """How to read an `Output` off a timm network.

    Attributes:
        indices: which of timm's intermediates are the 4 maps, shallow to deep; one may come twice.
        channels_last: the network's own features are NHWC (Swin).
    """

    indices: tuple[int, int, int, int]
    channels_last: bool

    def __call__(self, net: nn.Module, x: Tensor) -> Output:
        wanted = sorted(set(self.indices))
        features, taken = net.forward_intermediates(x, indices=wanted, output_fmt="NCHW")
        maps = tuple(taken[wanted.index(i)] for i in self.indices)
        heads = net.get_classifier()
        if isinstance(heads, tuple):  # a distilled DeiT: class token, distillation token
            embedding = net.head_drop(features[:, :2]).flatten(1)  # (B, 2D)
            a, b = embedding.chunk(2, dim=-1)
            logits = (heads[0](a) + heads[1](b)) / 2
        else:
            embedding = net.forward_head(features, pre_logits=True)  # (B, D)
            logits = heads(embedding)
        return Output(logits, embedding, maps, self._nchw(features, like=maps[-1]))

    def head(self, net: nn.Module) -> nn.Module:
        heads = net.get_classifier()
        return PairedHead(*heads) if isinstance(heads, tuple) else heads

    def _nchw(self, features: Tensor, like: Tensor) -> Tensor:
        if features.ndim == 3:  # (B, prefix + H * W, C): timm puts class and register tokens first
            height, width = like.shape[-2:]
            patches = features[:, -height * width :]
            return patches.transpose(1, 2).unflatten(2, (height, width))
        return features.permute(0, 3, 1, 2) if self.channels_last else features


def timm_parts(
    name: str,
    num_classes: int,
    in_chans: int | None = None,
    image_size: int | None = None,
    pretrained: bool = False,
    **kw: Any,
) -> Parts:
    """A timm network with its taps and its own normalisation; `kw` goes to `timm.create_model`.

    `image_size` is passed on to the networks that need it (ViT, Swin, Mixer); the others take any size. With
    `pretrained` a head of another class count than the published one is new. For other than 3 channels, mean
    and std are the averages over the published channels (timm adapts the first convolution likewise).

    Raises:
        LabkitError: the network can't be tapped, or does not know a setting.
        MissingError: the published weights are neither in the local cache nor within reach.
    """
    import timm

    in_chans = in_chans or 3
    published = timm.get_pretrained_cfg(name)
    fixed = bool(published and published.fixed_input_size)
    if fixed and image_size is not None:
        kw = {"img_size": image_size, **kw}
    if pretrained:
        from .hub import timm_weights

        kw["pretrained_cfg_overlay"] = {"file": str(timm_weights(name, published)), "custom_load": False}
    net = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, in_chans=in_chans, **kw)
    mean, std = (_per_channel(net.pretrained_cfg[key], in_chans) for key in ("mean", "std"))
    return tapped(net, name, mean, std, _fixed_size(net) if fixed else None)


def tapped(
    net: nn.Module,
    name: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    image_size: int | None = None,
) -> Parts:
    """The parts of a network that timm's classes made; mean and std per channel, as for `Parts`.

    Raises:
        LabkitError: it can't be tapped.
    """
    _check_tappable(net, name)
    indices, channels = _indices(net, name)
    tap = TimmTap(indices, channels_last=getattr(net, "output_fmt", "NCHW") == "NHWC")
    return Parts(net, tap, mean, std, channels, image_size)


def _check_tappable(net: nn.Module, name: str) -> None:
    """Raises LabkitError for the few networks whose logits are not one Linear of one pooled feature."""
    from timm.models.deit import VisionTransformerDistilled

    taps = hasattr(net, "forward_intermediates") and hasattr(net, "get_classifier")
    plain = taps and isinstance(net.get_classifier(), nn.Linear) and type(net).__name__ not in _REFUSED
    if not plain and not isinstance(net, VisionTransformerDistilled):
        raise LabkitError(
            f"'{name}' ({type(net).__name__}) can't be tapped: it gives no intermediate features or does not"
            " end in one Linear layer; choose another network, such as 'resnet18' or 'vit_tiny_patch16_224'."
        )


def _indices(net: nn.Module, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which intermediates are the 4 maps, and their channels."""
    info = net.feature_info
    info = info if isinstance(info, list) else info.info
    strides = [entry["reduction"] for entry in info]
    depth = len(info)
    if len(set(strides)) == 1:
        chosen = [-(-block * depth // 12) - 1 for block in _BLOCKS]
    elif all(strides.count(stride) for stride in STRIDES):
        chosen = [max(i for i, s in enumerate(strides) if s == stride) for stride in STRIDES]
    else:
        chosen = list(range(depth))[-4:]
    if len(chosen) < 4:
        raise LabkitError(
            f"'{name}' has only {depth} stages and an Output needs 4 maps: choose another network, such as"
            " 'resnet18' or 'vit_tiny_patch16_224'."
        )
    return tuple(chosen), tuple(info[i]["num_chs"] for i in chosen)


def _per_channel(values: tuple[float, ...], in_chans: int) -> tuple[float, ...]:
    return tuple(values) if len(values) == in_chans else (sum(values) / len(values),) * in_chans


def _fixed_size(net: nn.Module) -> int | None:
    """The one image size of a network with a patch grid, None where it was built to take any."""
    patches = getattr(net, "patch_embed", None)
    size = getattr(patches, "img_size", None)
    strict = size is not None and getattr(patches, "strict_img_size", True)
    return size[0] if strict and size[0] == size[1] else None
