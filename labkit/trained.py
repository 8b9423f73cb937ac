"""What to do with a trained run: measure it on its data, ask it about image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from . import data, engine
from .data.images import decode_all

_AT_ONCE = 64  # images in one forward pass
_FACTS = (
    "name",
    "images",
    "classes",
    "channels",
    "border",
)  # what a run records beside what `data.load` was asked


def evaluate_run(
    folder: Path, split: str = "test", *, data: str | None = None, root: Path | None = None
) -> engine.Evaluation:
    """Evaluate the best weights of a run.

    Args:
        folder: what `fit(out=...)` wrote.
        split: 'train', 'val' or 'test'.
        data: another data set than the run's; it needs the same classes.
        root: where its files are.

    Raises:
        LabkitError: the folder holds no readable run, or model and data don't fit.
    """
    run = engine.load_run(folder)
    return engine.evaluate(run.model, getattr(_data_of(run, data, root), split))


def predict_images(folder: Path, images: Sequence[Path], top: int = 5) -> list[list[tuple[str, float]]]:
    """The `top` most probable classes of each image, with their probabilities in [0, 1].

    Images are treated like the run's own test images: short side resized, centre cropped, grey where it
    learnt from grey.

    Raises:
        LabkitError: the folder holds no readable run, or an image can't be read.
    """
    from torchvision.transforms.functional import center_crop, rgb_to_grayscale

    run = engine.load_run(folder)
    learnt, device = run.config["data"], next(run.model.parameters()).device
    side = learnt["image_size"]
    pixels = decode_all(images, round(learnt.get("border", 1.0) * side))
    pixels = center_crop(pixels, [side, side])  # (B, 3, S, S) uint8
    pixels = rgb_to_grayscale(pixels) if learnt["channels"] == 1 else pixels
    with torch.inference_mode():
        parts = [run.model(part.to(device) / 255).logits.softmax(1).cpu() for part in pixels.split(_AT_ONCE)]
    probabilities = torch.cat(parts)  # (B, N)
    best = probabilities.topk(min(top, len(learnt["classes"])))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [[(learnt["classes"][c], p) for c, p in zip(*pair, strict=True)] for pair in pairs]


def _data_of(run: engine.Run, name: str | None = None, root: Path | None = None) -> data.DataModule:
    """The data set a run learnt from, split and sized as then; or another one at its size."""
    recorded = run.config.get("data", {})
    if name in (None, recorded.get("name")):
        name = recorded.get("name", "")
        options = {key: value for key, value in recorded.items() if key not in _FACTS}
    else:
        options = {"image_size": recorded.get("image_size") or run.model.image_size}
    return data.load(name, **options | ({"root": root} if root else {}))
