"""Self-supervised vision transformers of the DINOv2 family, through transformers' `AutoModel`.

The shipped miniature and the published models go the same way: a folder with config.json, model.safetensors
and preprocessor_config.json, as `facebook/dinov2-base` has them. Oquab et al., 2023,
https://arxiv.org/abs/2304.07193; registers: Darcet et al., 2023, https://arxiv.org/abs/2309.16588
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LabkitError
from .shipped import pretrained

SIDE = 224  # what the published models were distilled and evaluated at; their configs say 518
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, those of all published models
_FAMILY = ("dinov2", "dinov2_with_registers")


class SelfSupervised(nn.Module):
    """A DINOv2 network that takes images in [0, 1] and gives its class token and its patch tokens apart.

    Args:
        net: transformers' `Dinov2Model` or `Dinov2WithRegistersModel`.
        name: what errors call it.
        image_size: the side S to which images are resized; a multiple of the patch size. Position embeddings
            are interpolated to it.
        mean: per channel, of the images that `net` expects.
        std: standard deviation per channel.

    Attributes:
        embed_dim: width D of the tokens.
        patch_size: side of a patch in pixels; S / patch_size patches to a row.

    Raises:
        LabkitError: another kind of network, or S is no multiple of the patch size.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        name: str = "dinov2",
        image_size: int = SIDE,
        mean: tuple[float, ...] = MEAN,
        std: tuple[float, ...] = STD,
    ) -> None:
        super().__init__()
        kind = getattr(getattr(net, "config", None), "model_type", type(net).__name__)
        if kind not in _FAMILY:
            raise LabkitError(f"'{name}' is a '{kind}' and not of the DINOv2 family ({', '.join(_FAMILY)}).")
        self.net = net
        self.name = name
        self.embed_dim: int = net.config.hidden_size
        self.patch_size: int = net.config.patch_size
        self.prefix: int = 1 + getattr(net.config, "num_register_tokens", 0)  # class token, registers
        if image_size < 1 or image_size % self.patch_size:
            below = image_size - image_size % self.patch_size
            near = ", ".join(str(s) for s in (below, below + self.patch_size) if s > 0)
            raise LabkitError(
                f"'{name}' cuts images into patches of {self.patch_size} pixels, and image_size={image_size}"
                f" is no multiple of that: choose {near}."
            )
        self.image_size = image_size
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Encode images (B, 3, H, W), floats in [0, 1], resized to (S, S) where they are not.

        Returns:
            'cls' (B, D), the class token after the final norm, and 'patches' (B, N, D), the patch tokens in
            rows from the top left, N = (S / patch_size)^2; register tokens are left out.

        Raises:
            LabkitError: not a float batch of 3 channels.
        """
        self._check(x)
        size = (self.image_size, self.image_size)
        x = x.to(self.mean.dtype)
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1)
        tokens = self.net(pixel_values=(x - self.mean) / self.std).last_hidden_state  # (B, 1 + R + N, D)
        return {"cls": tokens[:, 0], "patches": tokens[:, self.prefix :]}

    def _check(self, x: Tensor) -> None:
        if not x.is_floating_point():
            raise LabkitError(
                f"'{self.name}' takes float images in [0, 1] but got {x.dtype}: divide by 255 first"
                " (every batch of labkit.data already is)."
            )
        if x.ndim != 4 or x.shape[1] != self.mean.shape[1]:
            mend = " Add the batch axis with x[None]." if x.ndim == 3 else ""
            mend = " Repeat the grey channel: x.expand(-1, 3, -1, -1)." if x.shape[1:2] == (1,) else mend
            raise LabkitError(
                f"'{self.name}' takes images of shape (B, {self.mean.shape[1]}, H, W) but got"
                f" {tuple(x.shape)}.{mend}"
            )

    def extra_repr(self) -> str:
        return f"name={self.name!r}, embed_dim={self.embed_dim}, patch_size={self.patch_size}"


def load_backbone(name: str | Path = "aviary-dinov2", *, image_size: int | None = None) -> SelfSupervised:
    """A pretrained backbone, in evaluation mode, without gradients, in single precision.

    Args:
        name: 'aviary-dinov2', which ships with labkit; OWNER/NAME on the Hugging Face hub, such as
            'facebook/dinov2-base'; or a folder with the same three files.
        image_size: side to which images are resized; None takes that of the model's image processor.

    Raises:
        LabkitError: an unknown name, damaged files, or a model of another family.
        MissingError: the weights are neither here nor within reach; said within seconds.

    Example:
        >>> backbone = load_backbone("aviary-dinov2")  # doctest: +SKIP
        >>> backbone(torch.rand(2, 3, 64, 64))["patches"].shape  # doctest: +SKIP
        torch.Size([2, 64, 128])
    """
    from safetensors import SafetensorError
    from transformers import AutoModel

    folder = Path(name) if Path(name).is_dir() else Path(pretrained(str(name)))
    settings = _processor(folder)
    if image_size:
        settings["image_size"] = image_size
    try:
        with no_bar():  # a moment's work
            net = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LabkitError(f"{folder} holds no model that transformers can load ({reason}).") from error
    return SelfSupervised(net, name=str(name), **settings).requires_grad_(False).eval()


@contextmanager
def no_bar() -> Iterator[None]:
    """Switch transformers' progress bars off for a while."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _processor(folder: Path) -> dict[str, Any]:
    """Side, mean and std from a folder's image processor; the published ones' where it has none."""
    if not (folder / "preprocessor_config.json").is_file():
        return {}
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise LabkitError(f"The image processor of {folder} can't be read ({error}).") from error
    size = processor.crop_size if processor.do_center_crop else processor.size
    side = size.get("height") or size.get("shortest_edge") or SIDE
    return {"image_size": side, "mean": tuple(processor.image_mean), "std": tuple(processor.image_std)}
