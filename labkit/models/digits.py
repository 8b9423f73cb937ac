"""The convolutional networks of lab 01, for handwritten digits of 8 to 28 px.

Convolution blocks with max-pooling after the first two only (total stride 4), an adaptive pooling to 2x2, one
hidden layer and the head. The teacher (64-128-256, 512) and student (16-32, 64) are those of the lab sheet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import LabkitError
from .classifier import DirectTap, Parts
from .output import Output
from .registry import register


class SmallCNN(nn.Module):
    """Convolution blocks, pooling to 2x2, one hidden layer, head.

    The 4 maps are the last four of conv1, pool1, conv2, pool2, conv3, ...; the embedding is the hidden layer
    after its ReLU and dropout.
    """

    def __init__(
        self, num_classes: int, in_chans: int, widths: Sequence[int], hidden: int, dropout: float
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(*widths, hidden) < 1:
            raise LabkitError(
                f"A digit CNN needs at least two widths and a hidden size of 1 or more, not widths={widths!r}"
                f" and hidden={hidden!r}."
            )
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        channels = [in_chans, *widths]
        for i, (before, after) in enumerate(zip(channels, widths, strict=False), start=1):
            blocks[f"conv{i}"] = nn.Sequential(
                nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            )
            if i <= 2:
                blocks[f"pool{i}"] = nn.MaxPool2d(2)
        self.features = nn.Sequential(blocks)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(4 * widths[-1], hidden), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )
        self.head = nn.Linear(hidden, num_classes)
        self.map_channels = tuple(w for i, w in enumerate(widths) for _ in range(2 if i < 2 else 1))[-4:]

    def forward(self, x: Tensor) -> Output:
        """Classify normalised images (B, C, H, W) with H and W of at least 4."""
        maps = []
        for block in self.features:
            x = block(x)  # (B, width, H / 1|2|4, W / 1|2|4)
            maps.append(x)
        embedding = self.hidden(self.pool(x))  # (B, hidden)
        return Output(self.head(embedding), embedding, tuple(maps[-4:]), x)


@register("digit_cnn")
def small_cnn(
    num_classes: int,
    in_chans: int | None = None,
    image_size: int | None = None,
    widths: Sequence[int] = (32, 64),
    hidden: int = 128,
    dropout: float = 0.0,
) -> Parts:
    """A digit CNN of any width and depth; one input channel unless told otherwise, any image size.

    Raises:
        LabkitError: fewer than two widths.
    """
    in_chans = in_chans or 1
    net = SmallCNN(num_classes, in_chans, widths, hidden, dropout)
    half = (0.5,) * in_chans
    return Parts(net=net, tap=DirectTap(), mean=half, std=half, map_channels=net.map_channels)


@register("digit_teacher")
def digit_teacher(
    num_classes: int,
    in_chans: int | None = None,
    image_size: int | None = None,
    widths: Sequence[int] = (64, 128, 256),
    hidden: int = 512,
    dropout: float = 0.5,
) -> Parts:
    """Lab 01's teacher."""
    return small_cnn(num_classes, in_chans, image_size, widths, hidden, dropout)


@register("digit_student")
def digit_student(
    num_classes: int,
    in_chans: int | None = None,
    image_size: int | None = None,
    widths: Sequence[int] = (16, 32),
    hidden: int = 64,
    dropout: float = 0.0,
) -> Parts:
    """Lab 01's student."""
    return small_cnn(num_classes, in_chans, image_size, widths, hidden, dropout)
