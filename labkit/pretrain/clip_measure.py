"""What `aviary-clip` knows: zero-shot accuracy by description and by name, and a linear probe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..data import DataModule, ImageSet
from ..data.aviary import BENCHMARK
from ..models.vlm import VisionLanguage
from .dinov2_probe import report

# the words that pre-training captions open with, and nothing of the benchmark
TEMPLATES = ("{}", "a {}", "the {}", "a photo of a {}", "a picture of a {}", "a close up of a {}")


def measure(vlm: VisionLanguage, data: DataModule) -> dict[str, Any]:
    """Accuracies in [0, 1] on the benchmark's validation and test splits; the test split is asked once."""
    heads = {
        "description": vlm.zero_shot(prompts([species.description for species in BENCHMARK])),
        "name": vlm.zero_shot(prompts([species.name for species in BENCHMARK])),
    }
    metrics: dict[str, Any] = {}
    for split, images in (("val", data.val), ("test", data.test)):
        features = encode(vlm, images)
        for what, head in heads.items():
            hits = ((features @ head.T).argmax(1) == images.labels).double().mean().item()
            metrics[f"{split}_zero_shot_by_{what}"] = round(hits, 4)
    probe = report(vlm.encode_image, data)
    chance = round(1 / data.num_classes, 4)
    metrics |= {"val_probe": probe["val"], "test_probe": probe["test"], "chance": chance}
    return metrics | {"logit_scale": round(vlm.logit_scale, 2)}


def prompts(phrases: Sequence[str]) -> list[list[str]]:
    """One list per template."""
    return [[template.format(phrase) for phrase in phrases] for template in TEMPLATES]


@torch.inference_mode()
def encode(vlm: VisionLanguage, images: ImageSet) -> Tensor:
    """Features (N, E) of a split."""
    return torch.cat([vlm.encode_image(chunk / 255) for chunk in images.images.split(256)])
