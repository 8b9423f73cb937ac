"""What stands between a student's features and a teacher's in training, never in the deployed student."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LabkitError


def connector(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution and BatchNorm: maps (B, in_channels, H, W) -> (B, out_channels, H, W).

    Without the ReLU of the benchmarks' regressor, which fits only targets that are nowhere negative.
    """
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))


class Fusion(nn.Module):
    """ReviewKD's attention-based fusion (Chen et al. 2021, arXiv 2104.09044, section 3.3), one level.

    `x = BN(conv1x1(f))`; with a deeper level's y, resized to x: `z = sigmoid(conv1x1([x; y]))`,
    `x = z_0 x + z_1 y`; out is `BN(conv3x3(x))` at the teacher's width.

    Args:
        in_channels: of the student's map.
        width: that all levels share.
        out_channels: of the teacher's map.
        deepest: there is no deeper level to fuse with.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, deepest: bool = False) -> None:
        super().__init__()
        self.enter = connector(in_channels, width)
        self.gate = None if deepest else nn.Conv2d(2 * width, 2, 1)
        self.leave = nn.Sequential(
            nn.Conv2d(width, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels)
        )
        for conv in (self.enter[0], self.leave[0]):
            nn.init.kaiming_uniform_(conv.weight, a=1)

    def forward(self, student_map: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """A level's map (B, in_channels, H, W) and the deeper fused one (B, width, h, w), or None.

        Returns:
            What is compared with the teacher (B, out_channels, H, W), and the fused map (B, width, H, W).
        """
        x = self.enter(student_map)
        if self.gate is not None:
            y = F.interpolate(deeper, x.shape[2:], mode="nearest")
            z = self.gate(torch.cat([x, y], 1)).sigmoid()  # (B, 2, H, W)
            x = x * z[:, :1] + y * z[:, 1:]
        return self.leave(x), x


def check_layers(layers: Sequence[int]) -> tuple[int, ...]:
    """`layers` as a tuple; LabkitError unless they are different positions 0..3 among the four maps."""
    layers = tuple(layers)
    if not layers or len(set(layers)) != len(layers) or not set(layers) <= set(range(4)):
        raise LabkitError(f"layers must be different positions 0..3 among the four maps, not {layers}.")
    return layers
