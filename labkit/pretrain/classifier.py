"""Generic-label pretraining: the roster's networks and `aviary-vit` learn 200 species of no benchmark.

This stands for ImageNet weights. The labels are whole species, disjoint from the benchmark's; no attribute
of a part is ever a target. Trained through labkit's own `fit`, with label smoothing (arXiv 1512.00567),
shifts and flips, and AdamW under a cosine: a rate that ends at zero averages the last weights, so there is no
EMA beside.

bfloat16 and channels-last memory make the residual networks about twice as fast on a CPU that has the
instructions; ViTs train faster without fused attention, whose backward is slow on CPUs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..data import Augment, DataModule, ImageSet, load
from ..data.aviary import GENERIC, pretraining
from ..engine import evaluate, fit
from ..errors import unknown
from ..methods import create
from ..models import Classifier, build
from ..models.roster import VIT, VIT_SETTINGS
from ..rng import seed_everything
from .dinov2_probe import report

VIT_NAME = "aviary-vit"
AUGMENT = Augment(pad=1 / 16, flip=True)
_BATCH = 64


@dataclass(frozen=True)
class Size:
    """How much: training and validation images, and a factor on the steps of `STEPS`."""

    train: int
    val: int
    steps: float
    benchmark: str


SIZES = {
    "full": Size(24_000, 2_000, 1.0, "lab"),
    "small": Size(6_000, 1_000, 0.2, "lab"),
    "test": Size(400, 200, 0.002, "mini"),
}
# Optimiser steps of 64 images: 2 to 10 minutes on one core, 25 for the RegNet.
STEPS = {
    VIT_NAME: 2_400,
    "tiny": 2_400,
    "mid": 1_800,
    "small": 2_000,
    "mobilenetv2_narrow": 750,
    "shufflenetv2_narrow": 750,
    "resnet_narrow": 1_500,
    "regnety_004_s8": 1_500,
}
RATES = {"regnety_004_s8": 2e-3, VIT_NAME: 1e-3}
_RATE = 3e-3
DEPTHWISE = ("mobilenetv2_narrow", "shufflenetv2_narrow")  # slower in bfloat16 than in float32 on a CPU


def pretrain(
    out: Path,
    *,
    name: str,
    seed: int = 0,
    size: str = "full",
    steps: int | None = None,
    precision: str | None = None,
    progress: bool | None = None,
    **recipe: Any,
) -> dict[str, Any]:
    """Train one network on the generic labels and leave its files in the folder `out`.

    Args:
        out: gets model.safetensors (the bare network, under its library's parameter names) and, for
            `aviary-vit`, the configuration that transformers reads.
        name: a network of the roster, or 'aviary-vit'.
        seed: of initialisation, order and augmentation; the images are the same for all.
        size: 'full', 'small' or 'test'.
        steps: of 64 images; None takes the size's.
        precision: of `fit`; None takes 'bf16' where the CPU computes in it, but for depthwise networks.
        progress: show a bar; None shows it unless LABKIT_QUIET is set.
        recipe: other options of `fit`.

    Returns:
        Validation accuracy on the generic labels, and the linear probe's accuracy on the benchmark.

    Raises:
        LabkitError: unknown name or size, or an option of `fit` that is wrong.
    """
    if name not in STEPS:
        raise unknown("network to pretrain", name, STEPS)
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    amount = SIZES[size]
    data = generic(amount.train, amount.val)
    seed_everything(seed)
    model = build(name, data.num_classes).to(memory_format=torch.channels_last)
    fused = _fused_attention(model, False)
    options = {
        "batch_size": _BATCH,
        "lr": RATES.get(name, _RATE),
        "weight_decay": 0.05,
        "warmup": 0.1,
        "clip": 1.0,
        "validate_every": 2,
        "precision": precision or ("bf16" if _computes_bf16() and name not in DEPTHWISE else "fp32"),
        "augment": AUGMENT,
        **recipe,
    }
    method = create("label_smoothing", student=model, smoothing=0.1)
    count = steps or max(2, round(STEPS[name] * amount.steps))
    fit(method, data, steps=count, seed=seed, progress=progress, **options)
    for module in fused:
        module.fused_attn = True
    write(model, out)
    return measures(model, data, load("aviary", size=amount.benchmark), steps=count)


def _computes_bf16() -> bool:
    """Whether the CPU multiplies in bfloat16; emulated it is ten times slower than float32."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("amx_bf16") or known.get("avx512_bf16"))


def generic(train: int, val: int) -> DataModule:
    """The generic species as a data module; validation and test are one and the same held-out set.

    The first `val` images are held out, so that every size keeps the same ones from its training set.
    """
    drawn = pretraining(val + train, kind="generic")
    classes = [species.name for species in GENERIC]
    whole = ImageSet(drawn.images[:, 0], drawn.labels, classes)
    held = whole.subset(range(val))
    return DataModule("generic", whole.subset(range(val, val + train)), held, held, augment=AUGMENT)


def measures(model: Classifier, data: DataModule, benchmark: DataModule, **facts: Any) -> dict[str, Any]:
    """What the manifest says of the weights, all accuracies in [0, 1]."""
    model.cpu().eval()  # where `report` has the pictures
    probe = report(lambda x: model(x).embedding, benchmark)
    return {
        "generic_val_accuracy": round(evaluate(model, data.val).accuracy, 4),
        "probe_val_accuracy": probe["val"],
        "probe_test_accuracy": probe["test"],
        "probe_c": probe["c"],
        **facts,
    }


def write(model: Classifier, out: Path) -> None:
    """The network's files, in its own precision."""
    state = {name: t.detach().cpu().contiguous() for name, t in model.net.state_dict().items()}
    save_file(state, Path(out) / "model.safetensors", metadata={"format": "pt"})
    if model.name == VIT_NAME:
        config = vit_config(model)
        (Path(out) / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def vit_config(model: Classifier) -> dict[str, Any]:
    """`config.json` for transformers' wrapper of timm's networks, its image processor included."""
    side = model.image_size
    mean, std = (values.flatten().tolist() for values in (model.mean, model.std))
    return {
        "model_type": "timm_wrapper",
        "architectures": ["TimmWrapperForImageClassification"],
        "architecture": VIT,
        "model_args": VIT_SETTINGS,
        "num_classes": model.num_classes,
        "num_features": model.embedding_dim,
        "label_names": [species.name for species in GENERIC],
        "dtype": "float32",
        "pretrained_cfg": {
            "input_size": [3, side, side],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": mean,
            "std": std,
            "num_classes": model.num_classes,
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": "cc-by-4.0",
        },
    }


def _fused_attention(model: torch.nn.Module, on: bool) -> list[torch.nn.Module]:
    """Switch timm's fused attention; returns the modules that were switched."""
    found = [m for m in model.modules() if getattr(m, "fused_attn", on) != on]
    for module in found:
        module.fused_attn = on
    return found
