"""`aviary-clip`: images and captions, a contrastive loss, and nothing else (CLIP, arXiv 2103.00020).

The captions are what the web would write: incomplete, sometimes wrong, sometimes about nothing. Every epoch
each photograph gets another one. No label, no attribute and no benchmark species is ever seen: what the model
makes of a benchmark name, it composes from words. open_clip brings the model, the tokenizer and the loss.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from ..data import load
from ..data.aviary import pretraining
from ..errors import LabkitError, unknown
from ..models.vlm import AVIARY_CLIP, VisionLanguage
from ..models.vlm_aviary import CONFIG, register_aviary_clip
from ..paths import cache
from ..rng import seed_everything
from .clip_measure import measure
from .clip_train import Settings, train


@dataclass(frozen=True)
class Size:
    """How much: captioned photographs, passes over them, and the benchmark that measures."""

    birds: int
    epochs: int
    batch: int
    benchmark: str


SIZES = {
    "full": Size(40_000, 2, 256, "lab"),
    "small": Size(16_000, 1, 256, "lab"),
    "test": Size(256, 2, 64, "mini"),
}


def pretrain(
    out: Path,
    *,
    seed: int = 0,
    size: str = "full",
    birds: int | None = None,
    epochs: int | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train `aviary-clip` and leave `model.safetensors` and `open_clip_config.json` in the folder `out`.

    A run that was cut off goes on after its last whole epoch.

    Args:
        out: the folder.
        seed: of the weights, the order, the captions and the augmentation; the photographs are the same.
        size: 'full' is what ships, 'small' takes minutes, 'test' seconds.
        birds: captioned photographs; None takes the size's.
        epochs: passes over them; None takes the size's.
        progress: show a bar; None shows it unless LABKIT_QUIET is set.
        settings: other fields of `clip_train.Settings`.

    Returns:
        Zero-shot accuracy by description and by name, and the linear probe's, on the benchmark.

    Raises:
        LabkitError: unknown size, fewer birds than one batch, or no epoch.
    """
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    amount = SIZES[size]
    birds, epochs = birds or amount.birds, epochs or amount.epochs
    chosen = Settings(**{"epochs": epochs, "batch": amount.batch, "seed": seed, **settings})
    if birds < chosen.batch or epochs < 1:
        raise LabkitError(
            f"Pretraining needs a batch of {chosen.batch} birds and an epoch at least, not birds={birds} and"
            f" epochs={epochs}."
        )
    corpus = pretraining(birds, kind="wild")
    vlm = fresh(seed)
    place = cache() / "pretrain" / f"{AVIARY_CLIP}-{birds}-{chosen.key}.pt"
    history = train(vlm, corpus, chosen, place=place, progress=progress)
    write(vlm, out)
    metrics = measure(vlm, load("aviary", size=amount.benchmark))
    place.unlink(missing_ok=True)
    return {**metrics, "loss": round(history[-1], 3), "birds": birds, "epochs": epochs}


def fresh(seed: int) -> VisionLanguage:
    """The untrained model."""
    register_aviary_clip()
    seed_everything(seed)
    logging.disable(logging.WARNING)  # open_clip warns that nothing is pretrained
    try:
        clip = open_clip.create_model(AVIARY_CLIP).to(memory_format=torch.channels_last)
    finally:
        logging.disable(logging.NOTSET)
    return VisionLanguage(clip, open_clip.get_tokenizer(AVIARY_CLIP), AVIARY_CLIP)


def write(vlm: VisionLanguage, out: Path) -> None:
    """The model's files: its weights under open_clip's names, and the configuration `local-dir:` reads."""
    state = {name: t.detach().cpu().contiguous() for name, t in vlm.clip.state_dict().items()}
    save_file(state, Path(out) / "model.safetensors", metadata={"format": "pt"})
    steps = {k: v for k, v in vlm.clip.visual.preprocess_cfg.items() if k in ("mean", "std", "interpolation")}
    config = {"model_cfg": json.loads(CONFIG.read_text(encoding="utf-8")), "preprocess_cfg": steps}
    path = Path(out) / "open_clip_config.json"
    path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
