"""Augmentation as arithmetic on whole batches, keyed by (seed, epoch, sample).

`draw` decides, `apply` executes: what was drawn can be stored and replayed, also at another image size,
because positions and sizes are shares of the image. A sample's view doesn't depend on its batch, process or
device (between devices: up to rounding); hence elementwise arithmetic, and float64 where a kernel's result
could depend on the tensor's shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import LabkitError, unknown
from ..rng import keyed_uniform

_PURPOSE = 0xA6  # apart from the other uses of (seed, epoch)
# RGB to luma (ITU-R BT.601, as in torchvision) and two chroma axes and back: a turn of hue rotates these.
_TO_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
_FROM_YIQ = torch.linalg.inv(torch.tensor(_TO_YIQ, dtype=torch.float64)).tolist()


class Params(NamedTuple):
    """What was drawn for each of B samples; float32 but for `flip`, which is bool.

    `offset` (B, 2) is the crop's place in [0, 1): the share of the free room above and to the left; `size`
    (B, 2) its height and width as shares of the image; `flip` (B,); `colour` (B, 4): factors of brightness,
    contrast and saturation, and the turn of the hue as a share of the circle.
    """

    offset: Tensor
    size: Tensor
    flip: Tensor
    colour: Tensor


def as_float(images: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1]; floating tensors pass as they are."""
    return images if images.is_floating_point() else images.to(torch.float32).div_(255)


@dataclass(frozen=True)
class Augment:
    """Random crop, flip and colour; all off by default.

    Args:
        pad: largest shift of a crop of full size: below 1 a share of the side, else pixels.
        fill: what a shift brings in: 'zero' or 'reflect'.
        flip: mirror every other sample, left to right.
        scale: range of the crop's area as a share of the image (RandomResizedCrop), or None; excludes `pad`.
        ratio: range of that crop's width / height.
        jitter: strengths of brightness, contrast, saturation and hue, applied in this order; grey images take
            the first two.

    Raises:
        LabkitError: an option is outside its range.

    Example:
        >>> Augment.named("crop-flip") == Augment(pad=1 / 8, flip=True)
        True
    """

    pad: float = 0.0
    fill: str = "zero"
    flip: bool = False
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise LabkitError(f"pad is a share of the side or a number of pixels, but it is {self.pad}.")
        if self.fill not in ("zero", "reflect"):
            raise unknown("fill", self.fill, ("zero", "reflect"))
        if self.scale and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise LabkitError(f"scale is a range of areas within (0, 1], but it is {self.scale}.")
        if self.scale and self.pad:
            raise LabkitError("Choose pad (shift) or scale (random resized crop), not both.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise LabkitError(f"ratio is a range of positive width/height, but it is {self.ratio}.")
        if len(self.jitter) != 4 or not all(0 <= j <= 1 for j in self.jitter) or self.jitter[3] > 0.5:
            raise LabkitError(
                f"jitter is four strengths in [0, 1] (the hue's in [0, 0.5]), but it is {self.jitter}."
            )

    @classmethod
    def named(cls, name: str) -> Augment:
        """A preset by name.

        Raises:
            LabkitError: no such preset.
        """
        if name not in PRESETS:
            raise unknown("augmentation", name, PRESETS)
        return PRESETS[name]

    def __call__(
        self, images: Tensor, seed: int, epoch: int, index: Tensor, size: int | None = None
    ) -> Tensor:
        """`apply` of what `draw` gives."""
        if self == NOTHING:
            return as_float(images)
        return self.apply(images, self.draw(seed, epoch, index), size)

    def draw(self, seed: int, epoch: int, index: Tensor) -> Params:
        """Decide for the samples with ids `index` (B,); on their device."""
        u = keyed_uniform((seed, epoch, _PURPOSE), index, 9)  # one column per decision, used or not
        size = torch.ones_like(u[:, :2])
        if self.scale:
            low, high = self.scale
            area = low + (high - low) * u[:, 3].double()
            low, high = (math.log(r) for r in self.ratio)
            ratio = torch.exp(low + (high - low) * u[:, 4].double())
            size = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], 1).clamp(max=1).float()
        strength = torch.tensor(self.jitter, device=u.device)
        colour = strength * (2 * u[:, 5:] - 1) + torch.tensor([1.0, 1.0, 1.0, 0.0], device=u.device)
        return Params(u[:, :2], size, (u[:, 2] < 0.5) & self.flip, colour)

    def apply(self, images: Tensor, params: Params, size: int | None = None) -> Tensor:
        """Crop, flip and colour (B, C, H, W) images, uint8 or in [0, 1]; gives float32 in [0, 1].

        `size` is the side that a random resized crop is scaled to; None keeps that of the images.
        """
        if self.scale:
            images = _resized_crop(as_float(images), params, size)
        elif self.pad or self.flip:
            images = _shift(images, params, self.pad, self.fill)
        images = as_float(images)
        return _colour(images, params.colour, self.jitter) if any(self.jitter) else images


def _shift(images: Tensor, params: Params, pad: float, fill: str) -> Tensor:
    """Crop of full size at a random place of the padded image, then flip: one gather, on uint8 as well."""
    b, c, h, w = images.shape
    lines = []  # (B, H) rows and (B, W) columns: where each pixel comes from
    for axis, side in enumerate((h, w)):
        reach = round(pad * side) if pad < 1 else int(pad)
        if reach >= side:
            raise LabkitError(f"pad={pad} is too large for images of {h}x{w} pixels.")
        shift = (params.offset[:, axis] * (2 * reach + 1)).long() - reach  # (B,), -reach..reach
        line = torch.arange(side, device=images.device).expand(b, side)
        if axis == 1:
            line = torch.where(params.flip[:, None], side - 1 - line, line)
        lines.append(line + shift[:, None])
    if fill == "reflect":
        y, x = ((n - 1) - ((n - 1) - line.abs()).abs() for line, n in zip(lines, (h, w), strict=True))
    else:
        y, x = (line.clamp(0, n - 1) for line, n in zip(lines, (h, w), strict=True))
    index = (y[:, :, None] * w + x[:, None, :]).view(b, 1, h * w).expand(b, c, h * w)
    out = images.reshape(b, c, h * w).gather(2, index).view(b, c, h, w)
    if fill == "reflect" or not pad:
        return out
    inside = (lines[0] == y)[:, :, None] & (lines[1] == x)[:, None, :]
    return out * inside[:, None]


def _resized_crop(images: Tensor, params: Params, size: int | None) -> Tensor:
    """Crop of any size and place scaled to the full image or to `size`, then flip; bilinear, grid in
    float32."""
    b = len(images)
    h, w = (size, size) if size else images.shape[2:]
    centre = (1 - params.size) * (2 * params.offset - 1)  # (B, 2) in [-1, 1], where 0 is the image's centre
    y, x = (
        (2 * torch.arange(n, dtype=torch.float32, device=images.device) + 1) / n - 1 for n in (h, w)
    )  # pixel centres
    x = torch.where(params.flip[:, None], -x, x)
    y = centre[:, :1] + params.size[:, :1] * y  # (B, H)
    x = centre[:, 1:] + params.size[:, 1:] * x  # (B, W)
    grid = torch.stack([x[:, None, :].expand(b, h, w), y[:, :, None].expand(b, h, w)], 3)
    out = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return out.clamp_(0, 1)


def _mix(weights: Sequence[float], planes: Sequence[Tensor]) -> Tensor:
    return weights[0] * planes[0] + weights[1] * planes[1] + weights[2] * planes[2]


def _grey(images: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of RGB images; other channel counts give their mean."""
    return _mix(_TO_YIQ[0], images.split(1, 1)) if images.shape[1] == 3 else images.mean(1, keepdim=True)


def _colour(images: Tensor, colour: Tensor, jitter: tuple[float, ...]) -> Tensor:
    """Brightness, contrast and saturation as torchvision defines them, then a turn of the hue in YIQ."""
    brightness, contrast, saturation, hue = (x[:, None, None, None] for x in colour.unbind(1))
    images = (images * brightness).clamp_(0, 1)
    mean = _grey(images).mean((1, 2, 3), keepdim=True, dtype=torch.float64).float()
    images = (contrast * images + (1 - contrast) * mean).clamp_(0, 1)
    if images.shape[1] != 3:
        return images
    images = (saturation * images + (1 - saturation) * _grey(images)).clamp_(0, 1)
    if not jitter[3]:
        return images
    angle = 2 * math.pi * hue.double()
    cos, sin = angle.cos().float(), angle.sin().float()
    y, i, q = (_mix(row, images.split(1, 1)) for row in _TO_YIQ)
    planes = (y, cos * i - sin * q, sin * i + cos * q)
    return torch.cat([_mix(row, planes) for row in _FROM_YIQ], 1).clamp_(0, 1)


NOTHING = Augment()
PRESETS = {
    "none": NOTHING,
    "shift": Augment(pad=1 / 8),  # digits: a mirrored digit is no digit
    "crop-flip": Augment(pad=1 / 8, flip=True),  # 4 pixels at 32: the CIFAR standard
    "rrc": Augment(scale=(0.5, 1.0), flip=True),  # mild crops: small images hold few pixels
    "rrc-jitter": Augment(scale=(0.5, 1.0), flip=True, jitter=(0.4, 0.4, 0.4, 0.1)),
    "rrc-imagenet": Augment(scale=(0.08, 1.0), flip=True, jitter=(0.4, 0.4, 0.4, 0.1)),
}
