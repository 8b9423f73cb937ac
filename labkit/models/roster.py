"""The networks of the `cpu` profile: small, and with a last map of 8x8 for images of 64 px.

At the usual total stride of 32 a 64-px image ends as a 2x2 map: nothing spatial to align or to look at. Here
every total stride is 8, and the 4 maps of 64-px images have sides of 32 or 16, then 16 or 8, and 8 at last.
Students: `tiny`, `small`, `mobilenetv2_narrow`, `shufflenetv2_narrow`. Intermediates: `mid`,
`regnety_004_s8`, `resnet_narrow`. `aviary-vit` is the backbone that LoRA adapts. Those that are near to a
published network differ from it in stride or width, hence `_s8` and `_narrow`: a published network keeps its
bare timm name. All take any image size but the ViT.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.shufflenetv2 import ShuffleNetV2

from ..errors import LabkitError
from .classifier import DirectTap, Parts
from .output import Output
from .registry import register
from .timm_taps import tapped, timm_parts

# The backbone of the LoRA lab, in timm's words: `config.json` of the shipped folder repeats them.
VIT = "vit_tiny_patch16_224"
VIT_SETTINGS = {"img_size": 64, "patch_size": 8, "embed_dim": 128, "depth": 6, "num_heads": 4}
# MobileNetV2's stages (arXiv 1801.04381, table 2) in timm's notation, with fewer repeats; strides
# beyond 8 become dilations
_MOBILE_STAGES = [
    ["ds_r1_k3_s1_c16"],
    ["ir_r1_k3_s2_e6_c24"],
    ["ir_r2_k3_s2_e6_c32"],
    ["ir_r2_k3_s2_e6_c64"],
    ["ir_r1_k3_s1_e6_c96"],
    ["ir_r1_k3_s2_e6_c160"],
]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: He et al. 2016, arXiv 1512.03385, figure 2."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            conv = nn.Conv2d(before, after, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class ResidualNet(nn.Module):
    """A stem of stride 2, four stages of residual blocks with strides 1, 2, 2, 1, average pooling, head.

    The 4 maps are the stages' outputs, the embedding is the pooled last one. Convolutions start with He's
    normal initialisation (arXiv 1502.01852), each block's last BatchNorm with a factor of 0, so that a block
    begins as its shortcut (Goyal et al. 2017, arXiv 1706.02677).
    """

    def __init__(self, num_classes: int, in_chans: int, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        if len(widths) != 4 or len(depths) != 4 or min(*widths, *depths) < 1:
            raise LabkitError(
                f"A residual network needs four widths and four depths of at least 1, not widths={widths!r}"
                f" and depths={depths!r}."
            )
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, widths[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        before = [widths[0], *widths]
        for i, (width, depth, stride) in enumerate(zip(widths, depths, (1, 2, 2, 1), strict=True)):
            blocks = [ResidualBlock(before[i], width, stride)]
            blocks += [ResidualBlock(width, width, 1) for _ in range(depth - 1)]
            stages[f"stage{i + 1}"] = nn.Sequential(*blocks)
        self.stages = nn.Sequential(stages)
        self.head = nn.Linear(widths[-1], num_classes)
        self.map_channels = tuple(widths)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, ResidualBlock):
                nn.init.zeros_(module.bn2.weight)

    def forward(self, x: Tensor) -> Output:
        """Classify normalised images (B, C, H, W)."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        embedding = x.mean((2, 3))  # (B, widths[-1])
        return Output(self.head(embedding), embedding, tuple(maps), x)


class NarrowShuffleNet(ShuffleNetV2):
    """torchvision's ShuffleNetV2 (Ma et al. 2018, arXiv 1807.11164) without its first pooling, at stride 8.

    The 4 maps are the stem's and the stages' outputs; `conv5` closes the stages and is the final map.
    """

    def __init__(
        self, num_classes: int, in_chans: int, repeats: Sequence[int], widths: Sequence[int]
    ) -> None:
        super().__init__(list(repeats), list(widths), num_classes)
        self.maxpool = nn.Identity()
        if in_chans != 3:
            self.conv1[0] = nn.Conv2d(in_chans, widths[0], 3, stride=2, padding=1, bias=False)
        for module in self.stage4[0].modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
        self.map_channels = tuple(widths[:4])

    @property
    def head(self) -> nn.Linear:
        """The last Linear, under torchvision's name for it."""
        return self.fc

    def forward(self, x: Tensor) -> Output:
        """Classify normalised images (B, C, H, W)."""
        maps = []
        for stage in (self.conv1, self.stage2, self.stage3, self.stage4):
            x = stage(x)
            maps.append(x)
        x = self.conv5(x)
        embedding = x.mean((2, 3))
        return Output(self.fc(embedding), embedding, tuple(maps), x)


def _own(net: ResidualNet | NarrowShuffleNet, in_chans: int) -> Parts:
    return Parts(net, DirectTap(), (0.5,) * in_chans, (0.25,) * in_chans, net.map_channels)


def residual(
    num_classes: int,
    in_chans: int | None = None,
    image_size: int | None = None,
    *,
    widths: Sequence[int],
    depths: Sequence[int],
) -> Parts:
    """A residual network of any four widths and depths; three input channels unless told otherwise.

    Raises:
        LabkitError: not four of each.
    """
    in_chans = in_chans or 3
    return _own(ResidualNet(num_classes, in_chans, widths, depths), in_chans)


register("tiny")(partial(residual, widths=(16, 24, 32, 48), depths=(1, 1, 1, 1)))
register("small")(partial(residual, widths=(24, 32, 48, 80), depths=(1, 1, 1, 1)))
register("mid")(partial(residual, widths=(32, 48, 72, 96), depths=(1, 2, 2, 1)))


@register("shufflenetv2_narrow")
def shufflenetv2_narrow(
    num_classes: int,
    in_chans: int | None = None,
    image_size: int | None = None,
    repeats: Sequence[int] = (2, 3, 2),
    widths: Sequence[int] = (16, 48, 80, 128, 192),
) -> Parts:
    """ShuffleNetV2 at stride 8: units per stage, and the widths of stem, three stages and `conv5`."""
    in_chans = in_chans or 3
    return _own(NarrowShuffleNet(num_classes, in_chans, repeats, widths), in_chans)


@register("mobilenetv2_narrow")
def mobilenetv2_narrow(
    num_classes: int,
    in_chans: int | None = None,
    image_size: int | None = None,
    width: float = 0.5,
    num_features: int = 192,
) -> Parts:
    """MobileNetV2 (arXiv 1801.04381) by timm's EfficientNet class: `width` times its channels, stride 8."""
    from timm.models._efficientnet_builder import decode_arch_def, round_channels
    from timm.models.efficientnet import EfficientNet

    in_chans = in_chans or 3
    net = EfficientNet(
        decode_arch_def(_MOBILE_STAGES),
        num_classes=num_classes,
        num_features=num_features,
        in_chans=in_chans,
        output_stride=8,
        act_layer=nn.ReLU6,
        round_chs_fn=partial(round_channels, multiplier=width),
    )
    return tapped(net, "mobilenetv2_narrow", (0.5,) * in_chans, (0.25,) * in_chans)


@register("regnety_004_s8")
def regnety_004_s8(num_classes: int, in_chans: int | None = None, image_size: int | None = None) -> Parts:
    """timm's RegNetY-400MF (arXiv 2003.13678) with dilations in place of the last two strides."""
    return timm_parts("regnety_004", num_classes, in_chans, output_stride=8)


@register("resnet_narrow")
def resnet_narrow(
    num_classes: int,
    in_chans: int | None = None,
    image_size: int | None = None,
    channels: Sequence[int] = (32, 48, 64, 80),
    **kw: Any,
) -> Parts:
    """timm's ResNet-18-D (arXiv 1812.01187), narrow, with dilations in place of the last two strides."""
    settings = {"channels": tuple(channels), "stem_width": 16, "output_stride": 8, "zero_init_last": True}
    return timm_parts("resnet18d", num_classes, in_chans, **settings, **kw)


@register("aviary-vit")
def aviary_vit(num_classes: int, in_chans: int | None = None, image_size: int | None = None) -> Parts:
    """The ViT (arXiv 2010.11929) that ships for lab 09: 64 px, patches of 8, 128 wide, 6 deep, 4 heads."""
    settings = VIT_SETTINGS | ({"img_size": image_size} if image_size else {})
    return timm_parts(VIT, num_classes, in_chans, **settings)
