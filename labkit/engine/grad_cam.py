"""Where a classifier looks: Grad-CAM, and the share of it on the parts that tell look-alikes apart.

`CAM = ReLU(sum_c a_c A_c)`, `a_c` the mean over places of the logit's gradient with respect to channel c of
the last map A (Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2). The map is as coarse as A: a cell
of an 8x8 map covers 8x8 pixels of a 64-px image, more than a whole bill, and interpolation spreads it over
its neighbours. So the share can't say whether a net looks at a leg or beside it, and no net can reach 100 %:
`PartAttention.best` is what this resolution allows. The Aviary's part masks are as fine as the image, where a
leg is about a pixel wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data import batches
from ..errors import LabkitError, unknown

if TYPE_CHECKING:
    from ..data.aviary.dataset import AviarySet
    from ..models import Classifier

TARGETS = ("label", "prediction")
CENTRE = 0.25  # standard deviation of the centred control, in sides of the image


def grad_cam(model: Classifier, images: Tensor, target: Tensor | int | None = None) -> Tensor:
    """Grad-CAM of every image for one class, stretched to the image by bilinear interpolation.

    Args:
        model: its logits are computed from its `final_map`; run in eval mode, which is put back afterwards.
        images: (B, C, H, W) floats in [0, 1].
        target: the class whose evidence is shown, one for all or (B,); None takes each prediction, what the
            network itself says, as pictures want it.

    Returns:
        (B, H, W) float32, at least 0, on the scale of the logits; all 0 if nothing speaks for the class.

    Raises:
        LabkitError: a target that is no class, or a network whose logits don't come from its final map.
    """
    maps = cam(model, images, target)
    return F.interpolate(maps[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def cam(model: Classifier, images: Tensor, target: Tensor | int | None = None) -> Tensor:
    """The same, (B, h, w), as coarse as the final map: one backward pass of the head for all images."""
    with torch.enable_grad(), _evaluating(model):
        # of a frozen network, the images alone make autograd keep the way from the map to the logits
        output = model(images.detach().to(model.mean).requires_grad_())
        logits, maps = output.logits, output.final_map
        wanted = logits.argmax(1) if target is None else torch.as_tensor(target, device=logits.device)
        wanted = wanted.expand(len(logits))
        if len(wanted) and not 0 <= int(wanted.min()) <= int(wanted.max()) < logits.shape[1]:
            raise LabkitError(
                f"Grad-CAM shows one of the classes 0 to {logits.shape[1] - 1} of '{model.name}', not"
                f" {wanted.min().item()} to {wanted.max().item()}."
            )
        evidence = logits.gather(1, wanted[:, None]).sum()  # images don't mix: eval mode
        (slope,) = torch.autograd.grad(evidence, maps, allow_unused=True)
    if slope is None:
        raise LabkitError(
            f"Grad-CAM needs logits that are computed from the final map, but those of '{model.name}' are"
            " not: take a convolutional network."
        )
    weight = slope.float().mean((2, 3), keepdim=True)
    return (weight * maps.detach().float()).sum(1).relu()


@dataclass(frozen=True)
class PartAttention:
    """Shares in [0, 1] of Grad-CAM's mass on the discriminative parts, of the n images that can be counted.

    The controls are what maps that know less would get on the same images, so that a share can be read.

    Attributes:
        share: (n,) float64, the network's.
        chance: (n,) of an even map: the parts' share of the area.
        centre: (n,) of a Gaussian in the middle, a quarter of the side wide (one standard deviation), as
            photographers centre their birds.
        fixed: (n,) of the network's own mean map, the same for every image: it knows where birds stand, but
            not this one.
        bird: (n,) of a map even over the whole bird, as coarse as the network's: it knows the bird, but not
            its telling parts.
        best: (n,) of all mass in the best cell of a map of this size, the most that any map could get.
        positions: (n,) of these images in the split.
        empty: images whose Grad-CAM is 0 everywhere: nothing speaks for the class. Not counted above.
        hidden: images that show no pixel of a discriminative part. Not counted above.
    """

    share: Tensor = field(repr=False)
    chance: Tensor = field(repr=False)
    centre: Tensor = field(repr=False)
    fixed: Tensor = field(repr=False)
    bird: Tensor = field(repr=False)
    best: Tensor = field(repr=False)
    positions: Tensor = field(repr=False)
    empty: int
    hidden: int

    @property
    def n(self) -> int:
        return len(self.share)

    @cached_property
    def mean(self) -> float:
        """The attention-on-part score: the mean share."""
        return self.share.mean().item()

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the score over images: mean ± 1.96 s / sqrt(n). That of training is the seeds'."""
        half = 1.96 * self.share.std().item() / math.sqrt(self.n) if self.n > 1 else math.nan
        return self.mean - half, self.mean + half

    @cached_property
    def controls(self) -> dict[str, float]:
        """Means of the controls by their names, `chance` first, `best` last."""
        names = ("chance", "centre", "fixed", "bird", "best")
        return {name: getattr(self, name).mean().item() for name in names}

    def __str__(self) -> str:
        low, high = self.interval
        beside = ", ".join(f"{name} {value:.1%}" for name, value in self.controls.items())
        left = f"; {self.empty} empty, {self.hidden} hidden" if self.empty or self.hidden else ""
        return (
            f"{self.mean:.1%} on the discriminative parts (95 % interval {low:.1%} to {high:.1%},"
            f" n = {self.n}{left}; {beside})"
        )


def attention_on_parts(
    model: Classifier,
    split: AviarySet,
    *,
    target: Literal["label", "prediction"] = "label",
    batch_size: int = 256,
) -> PartAttention:
    """The attention-on-part score of a classifier over a split of the Aviary, or a subset of one.

    Args:
        model: see `grad_cam`; runs on its own device.
        split: of `data.load("aviary")`.
        target: whose evidence: the true class's, so that all networks are asked the same question whatever
            they answer, or the predicted one's.
        batch_size: images per pass.

    Raises:
        LabkitError: not the Aviary's images, an unknown target, or no image that can be counted.
    """
    from ..data.aviary import annotate

    if target not in TARGETS:
        raise unknown("target", target, TARGETS)
    known = annotate(split)
    device = next(model.parameters()).device
    maps = [
        cam(model, batch.image, batch.label if target == "label" else None).cpu()
        for batch in batches(split, batch_size, device=device)
    ]
    return part_attention(torch.cat(maps), known.discriminative(), known.parts > 0)


def part_attention(maps: Tensor, parts: Tensor, birds: Tensor) -> PartAttention:
    """The shares of coarse maps (N, h, w), at least 0, on parts (N, H, W) of birds (N, H, W), both bool.

    A share of the stretched map is a mean of what its cells get, weighted by the cells: the masks are brought
    to the map's cells once, by the transpose of the interpolation, instead of every map to the pixels.

    Raises:
        LabkitError: no image has both a map that is not empty and a part that shows.
    """
    maps, empty, hidden = maps.double(), ~maps.flatten(1).any(1), ~parts.flatten(1).any(1)
    positions = (~empty & ~hidden).nonzero()[:, 0]
    if not len(positions):
        raise LabkitError(
            f"No image tells where the network looks: of {len(maps)}, {int(empty.sum())} have an empty"
            f" Grad-CAM and {int(hidden.sum())} show no discriminative part."
        )
    maps, parts, birds = (values[positions] for values in (maps, parts.double(), birds.double()))
    cells = maps.shape[-2:]
    on_parts, on_bird, area = (_to_cells(mask, cells) for mask in (parts, birds, torch.ones_like(parts[:1])))

    def share(weights: Tensor) -> Tensor:
        return (weights * on_parts).sum((1, 2)) / (weights * area).sum((1, 2))

    every = maps / (maps * area).sum((1, 2), keepdim=True)
    blob = _gaussian(*parts.shape[-2:])
    return PartAttention(
        share=share(maps),
        chance=parts.mean((1, 2)),
        centre=(parts * blob).sum((1, 2)) / blob.sum(),
        fixed=share(every.mean(0, keepdim=True)),
        bird=share(on_bird / area),
        best=(on_parts / area).flatten(1).amax(1),
        positions=positions,
        empty=int(empty.sum()),
        hidden=int(hidden.sum()),
    )


def _to_cells(masks: Tensor, cells: tuple[int, int]) -> Tensor:
    """(N, h, w): how many pixels of each mask (N, H, W) every cell of the stretched map pays for."""
    start = torch.zeros(len(masks), 1, *cells, dtype=masks.dtype, requires_grad=True)
    with torch.enable_grad():
        stretched = F.interpolate(start, masks.shape[-2:], mode="bilinear", align_corners=False)
    return torch.autograd.grad(stretched, start, masks[:, None])[0][:, 0]


def _gaussian(height: int, width: int) -> Tensor:
    """(H, W) float64 around the middle of the image, its standard deviation `CENTRE` sides."""
    y, x = (
        ((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5).square() / (2 * CENTRE**2)
        for n in (height, width)
    )
    return (-y[:, None] - x).exp()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode; every module's own mode is put back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
