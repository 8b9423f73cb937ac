"""The one kind of network that labkit trains and learns from: images in [0, 1] in, `Output` out.

Each classifier normalises its own input, so that a teacher and a student with different statistics can share
a batch. How the features are read off a library's network is the business of a `Tap`, which holds no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import LabkitError
from .output import Output


class Tap(Protocol):
    """Reads an `Output` off a network in one pass."""

    def __call__(self, net: nn.Module, x: Tensor) -> Output:
        """Run `net` on normalised images (B, C, H, W)."""
        ...

    def head(self, net: nn.Module) -> nn.Module:
        """The module of `net` that turns embeddings (B, D) into logits (B, N)."""
        ...


@dataclass(frozen=True)
class DirectTap:
    """For a network of our own, whose forward returns an `Output` and whose last Linear is `.head`."""

    def __call__(self, net: nn.Module, x: Tensor) -> Output:
        return net(x)

    def head(self, net: nn.Module) -> nn.Module:
        return net.head


@dataclass(frozen=True)
class Parts:
    """What a factory hands to `Classifier`.

    Attributes:
        net: takes normalised images (B, C, H, W).
        tap: how to read an `Output` off `net`.
        mean: per-channel mean of the images that `net` expects, in [0, 1]; its length is the channel count.
        std: per-channel standard deviation.
        map_channels: channels of the 4 maps.
        image_size: the only side length that `net` accepts; None where any will do.
    """

    net: nn.Module
    tap: Tap
    mean: tuple[float, ...]
    std: tuple[float, ...]
    map_channels: tuple[int, int, int, int]
    image_size: int | None = None


class Classifier(nn.Module):
    """A network with its own normalisation and feature taps; made by `build`.

    Attributes:
        config: everything `build(**config)` needs to make it again, weights apart.
        net: the library's own module, with the library's parameter names.
        mean, std: buffers (1, C, 1, 1).
        map_channels: channels of the 4 maps.
        image_size: the only side length accepted, or None.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, parts: Parts, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.net = parts.net
        self.tap = parts.tap
        self.map_channels = parts.map_channels
        self.image_size = parts.image_size
        self.register_buffer("mean", torch.tensor(parts.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(parts.std).view(1, -1, 1, 1))

    @property
    def name(self) -> str:
        """The name it was built by."""
        return self.config["name"]

    @property
    def num_classes(self) -> int:
        """Width of the logits."""
        return self.config["num_classes"]

    @property
    def head(self) -> nn.Module:
        """The last Linear, from embeddings (B, D) to logits (B, N)."""
        return self.tap.head(self.net)

    @property
    def embedding_dim(self) -> int:
        """Width of the embedding."""
        return self.head.in_features

    def forward(self, x: Tensor) -> Output:
        """Classify images (B, C, H, W), floats in [0, 1].

        Raises:
            LabkitError: not a float batch of C channels, or not of the one size the network accepts. The
                value range is not checked: that would cost a synchronisation per step on an accelerator.
        """
        self._check(x)
        return self.tap(self.net, (x.to(self.mean.dtype) - self.mean) / self.std)

    def reset_head(self, num_classes: int) -> Classifier:
        """Replace the last Linear by a new one, randomly initialised, and return the classifier itself.

        Raises:
            LabkitError: `num_classes` is below 1.
        """
        check_num_classes(num_classes)
        old = {id(module) for module in self.head.modules()}
        for name, module in list(self.net.named_modules()):
            if id(module) in old and isinstance(module, nn.Linear):
                like = {"device": module.weight.device, "dtype": module.weight.dtype}
                new = nn.Linear(module.in_features, num_classes, module.bias is not None, **like)
                self.net.set_submodule(name, new.train(module.training))
        self.config["num_classes"] = num_classes
        return self

    def _check(self, x: Tensor) -> None:
        channels, size = self.mean.shape[1], self.image_size
        if not x.is_floating_point():
            raise LabkitError(
                f"'{self.name}' takes float images in [0, 1] but got {x.dtype}: divide by 255 first"
                " (every batch of labkit.data already is)."
            )
        if x.ndim != 4 or x.shape[1] != channels:
            mend = " Add the batch axis with x[None]." if x.ndim == 3 else ""
            mend = f" Build it with in_chans={x.shape[1]}." if x.ndim == 4 else mend
            raise LabkitError(
                f"'{self.name}' takes images of shape (B, {channels}, H, W) but got {tuple(x.shape)}.{mend}"
            )
        if size is not None and (x.shape[2] != size or x.shape[3] != size):
            raise LabkitError(
                f"'{self.name}' was built for images of shape (B, {channels}, {size}, {size}) but got"
                f" {tuple(x.shape)}: build it with image_size={x.shape[3]}, or resize the images."
            )

    def extra_repr(self) -> str:
        return f"name={self.name!r}, num_classes={self.num_classes}"


def check_num_classes(num_classes: int) -> None:
    """Raises LabkitError unless `num_classes` is a whole number of at least 1."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise LabkitError(f"num_classes must be a whole number of at least 1, not {num_classes!r}.")
