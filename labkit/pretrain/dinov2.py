"""aviary-dinov2: a small vision transformer, self-distilled on birds without labels.

DINO's recipe (a student follows its own moving average across views, Sinkhorn-Knopp targets over prototypes)
cut down to minutes on one core, with what was measured to make up for the missing days; see `dinov2_loss` for
the sources:

- `bursts`: the two views are two photographs of the same bird, as neighbouring frames of a burst would be,
  and not two crops of one. So identity across pose, light and scene is part of what is learnt from. No label,
  attribute or caption is used, and no benchmark species occurs.
- InfoNCE beside DINO's loss; a teacher that starts close behind its student; Muon for the matrices.
- No local crops, no masked patches, no KoLeo, no colour jitter: with all of them and a slow teacher, learning
  had hardly begun after 200 steps (validation probe 8 %, without them 60 %). Which of them held it back was
  not measured one by one, nor was a full training without bursts.

What ships are the teacher's weights.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import data, paths
from ..errors import unknown
from ..models import SelfSupervised
from ..models.dinov2 import MEAN, STD, no_bar
from ..rng import seed_everything
from . import dinov2_probe as probes
from .dinov2_train import SelfDistillation, Settings

SIDE = 64
PATCH = 8
SIZES = {
    "full": Settings(),
    "small": Settings(birds=8192, steps=240),
    "test": Settings(birds=32, steps=3, batch=8, width=32, depth=2, heads=2, prototypes=32),
}
_SAVES = 50  # steps between checkpoints
_LOOKS = 12  # times a training is watched
_log = logging.getLogger(__name__)


def pretrain(out: Path, *, seed: int = 0, size: str = "full", **options: Any) -> dict[str, Any]:
    """Train aviary-dinov2 and leave it in `out` as transformers' own files.

    An interrupted training goes on from its last checkpoint, in labkit's cache, when started again.

    Args:
        out: folder for config.json, model.safetensors and preprocessor_config.json.
        seed: decides everything that is drawn.
        size: 'full', 'small' (minutes) or 'test' (seconds).
        options: other `Settings`, such as bursts=False.

    Returns:
        Under 'probe', 'random_twin' and 'raw_pixels' the accuracies in [0, 1] of linear probes on the
        Aviary's 60 species: of the class token, of that of a randomly initialised twin, and of raw pixels,
        see `dinov2_probe.report`; and what was learnt from: 'bursts', 'birds', 'steps', 'batch'.

    Raises:
        LabkitError: unknown size.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    settings = replace(SIZES[size], seed=seed, **options)
    seed_everything(seed)
    net = network(settings)
    bench = data.load("aviary", size="mini" if size == "test" else "lab")
    learner = _train(net, settings, bench)
    model = _shell(learner.teacher["net"])
    save(model, out)
    return {
        "probe": probes.report(probes.tokens(model), bench, probes.FEW),
        "random_twin": probes.report(probes.tokens(_shell(network(settings))), bench, probes.FEW),
        "raw_pixels": probes.report(probes.pixels, bench, probes.FEW),
        **{name: getattr(settings, name) for name in ("bursts", "birds", "steps", "batch")},
    }


def network(settings: Settings) -> torch.nn.Module:
    """The `Dinov2Model` of these settings, randomly initialised from torch's global seed."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        image_size=SIDE,
        patch_size=PATCH,
        hidden_size=settings.width,
        num_hidden_layers=settings.depth,
        num_attention_heads=settings.heads,
    )
    net = Dinov2Model(config)
    # On CPUs the backward pass of fused attention takes half of the time of so small a network.
    net.set_attn_implementation("eager")
    return net


def save(model: SelfSupervised, out: Path) -> None:
    """Write the model and its image processor as `from_pretrained` reads them."""
    from transformers import BitImageProcessor

    out = Path(out)
    model.net.config.dtype = torch.float32  # half precision on disk is read into single precision
    with no_bar():
        model.net.save_pretrained(out)
    BitImageProcessor(
        do_resize=True,
        size={"shortest_edge": model.image_size},
        resample=3,
        do_center_crop=True,
        crop_size={"height": model.image_size, "width": model.image_size},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(MEAN),
        image_std=list(STD),
        do_convert_rgb=True,
    ).save_pretrained(out)


def _shell(net: torch.nn.Module) -> SelfSupervised:
    return SelfSupervised(net, "aviary-dinov2", SIDE).eval()


def _train(net: torch.nn.Module, settings: Settings, bench: data.DataModule) -> SelfDistillation:
    """The trained learner; what is seen on the way is logged."""
    from tqdm.auto import trange

    from ..data.aviary import pretraining

    images = pretraining(settings.birds, seed=settings.seed, views=settings.photos, image_size=SIDE).images
    shell = _shell(net)
    learner = SelfDistillation(net, shell.mean, shell.std, settings)
    state = paths.cache() / "pretrain" / f"aviary-dinov2-{settings.steps}-seed-{settings.seed}.safetensors"
    learner.resume(state)
    started = time.process_time()
    bar = trange(learner.step, settings.steps, desc="aviary-dinov2", disable="LABKIT_QUIET" in os.environ)
    for step in bar:
        index = learner.positions(len(images))
        seen = learner.take_step(_photographs(images, index, step, settings.bursts), index)
        if (step + 1) % _SAVES == 0:
            learner.save(state)
        if (step + 1) % max(1, settings.steps // _LOOKS) == 0 or step + 1 == settings.steps:
            teacher = _shell(learner.teacher["net"])
            entry = {"step": step + 1, "cpu_minutes": (time.process_time() - started) / 60}
            entry |= seen | probes.watch(teacher, bench)
            learner.teacher.train()
            _log.info("%s", {key: round(value, 4) for key, value in entry.items()})
    state.unlink(missing_ok=True)
    return learner


def _photographs(images: Tensor, index: Tensor, step: int, bursts: bool) -> Tensor:
    """Two photographs of each bird, (B, 2, 3, S, S) uint8; without bursts twice the same."""
    views = images.shape[1]
    first = step % views
    second = (first + 1 + step // views % max(1, views - 1)) % views if bursts else first
    return torch.stack([images[index, first], images[index, second]], 1)
