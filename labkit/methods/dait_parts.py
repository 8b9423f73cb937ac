"""What DAIT puts between networks: condensation layers, and the sizes that they join."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import LabkitError, unknown
from ..losses._inputs import full
from ..models import Classifier


class Condensation(nn.Module):
    """g_img and g_txt (`.image`, `.text`), from a model's width E to D: `Linear, LayerNorm, GELU, Linear`.

    Args:
        wide: E.
        width: D, unless `kind` is a matrix.
        kind: 'learned', 'orthogonal' or a fixed (D, E), of the image side; the texts' is always learned.
        images: whether there is an image side at all.
    """

    def __init__(self, wide: int, width: int, kind: str | Tensor, images: bool) -> None:
        super().__init__()
        if isinstance(kind, Tensor):
            if kind.ndim != 2 or kind.shape[1] != wide:
                raise LabkitError(
                    f"A fixed condensation must be (D, {wide}) for this vision-language model's embeddings,"
                    f" but it is {tuple(kind.shape)}."
                )
            width = len(kind)
        elif kind not in ("learned", "orthogonal"):
            raise unknown("condensation", kind, ("learned", "orthogonal"))
        self.width, self.learned = width, images and isinstance(kind, str) and kind == "learned"
        self.text = _layers(wide, width)
        self.image = None
        if self.learned:
            self.image = _layers(wide, width)
        elif images:
            self.image = nn.Linear(wide, width, bias=False).requires_grad_(False)
            with torch.no_grad():
                if isinstance(kind, Tensor):
                    self.image.weight.copy_(kind)
                else:
                    nn.init.orthogonal_(self.image.weight, generator=torch.Generator().manual_seed(0))


def _layers(wide: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width))


def principal_axes(features: Tensor, width: int) -> Tensor:
    """The `width` directions (D, E) in which features (N, E) lie, about 0, for a fixed condensation.

    Raises:
        LabkitError: there are fewer images or dimensions than `width`.
    """
    if features.ndim != 2 or not 1 <= width <= min(features.shape):
        raise LabkitError(
            f"Features {tuple(features.shape)} have at most {min(features.shape)} axes, not {width}."
        )
    return torch.linalg.svd(full(features), full_matrices=False).Vh[:width]


def final_channels(net: Classifier) -> int:
    """Channels of the map that `net` pools, by trying it on one empty image."""
    modes = {module: module.training for module in net.modules()}
    side, like = net.image_size or 64, net.mean
    image = torch.zeros(1, like.shape[1], side, side, device=like.device, dtype=like.dtype)
    try:
        with torch.no_grad():
            return net.eval()(image).final_map.shape[1]
    finally:
        for module, mode in modes.items():
            module.training = mode
