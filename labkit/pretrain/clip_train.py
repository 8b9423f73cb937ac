"""The training loop of `aviary-clip`: open_clip's loss, two optimisers, one schedule."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip import ClipLoss
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from ..data.aviary import SCENES, Pretraining, caption
from ..models.vlm import VisionLanguage
from ..rng import keyed_uniform, permutation
from .muon import muon_and_adamw, set_rates

_ORDER, _FLIP, _CAPTION = 1, 2, 3  # purposes of random numbers
_MAX_SCALE = math.log(100.0)


@dataclass(frozen=True)
class Settings:
    """How it is trained.

    Attributes:
        epochs: passes over the photographs.
        batch: pairs per step, each other's wrong answers.
        seed: of order, captions and augmentation.
        muon: learning rate of the matrices inside the towers.
        lr: learning rate of everything else.
        decay: weight decay of all matrices but embeddings.
        warmup: steps until the full learning rate; then it falls to 0 as half a cosine.
        shift: images are moved by up to this many pixels, wrapped around the edge.
        clip: largest norm of the gradient.
    """

    epochs: int
    batch: int
    seed: int = 0
    muon: float = 0.02
    lr: float = 2e-3
    decay: float = 0.1
    warmup: int = 50
    shift: int = 3
    clip: float = 1.0

    @property
    def key(self) -> str:
        """Tells runs apart."""
        return hashlib.sha256(repr(asdict(self)).encode()).hexdigest()[:12]


def train(
    vlm: VisionLanguage, corpus: Pretraining, settings: Settings, *, place: Path, progress: bool | None = None
) -> list[float]:
    """Train the model in place; it is frozen and in eval mode again afterwards.

    Args:
        vlm: wraps an open_clip model.
        corpus: captioned birds.
        settings: how.
        place: a file for the state after each epoch, from which the same call goes on.
        progress: show a bar; None shows it unless LABKIT_QUIET is set.

    Returns:
        The mean loss of each epoch.
    """
    clip = vlm.clip.train().requires_grad_(True)
    optimizers = make_optimizers(clip, settings)
    per_epoch = len(corpus) // settings.batch
    losses: list[float] = _resume(place, clip, optimizers) if place.exists() else []
    quiet = bool(os.environ.get("LABKIT_QUIET")) if progress is None else not progress
    bar = tqdm(total=per_epoch * settings.epochs, initial=per_epoch * len(losses), unit="step", disable=quiet)
    contrast = ClipLoss()
    for epoch in range(len(losses), settings.epochs):
        ids = vlm.tokenizer(captions(corpus, settings.seed, epoch))
        order = permutation(len(corpus), settings.seed, epoch, _ORDER)
        total = 0.0
        for step, index in enumerate(order[: per_epoch * settings.batch].split(settings.batch)):
            factor = rate(step + epoch * per_epoch, per_epoch * settings.epochs, settings.warmup)
            set_rates(optimizers, factor, settings.decay)
            images = augment(corpus.images[index, 0], index, epoch, settings)
            seen = clip.encode_image((images - vlm.mean) / vlm.std, normalize=True)
            read = clip.encode_text(ids[index], normalize=True)
            loss = contrast(seen, read, clip.logit_scale.exp())
            clip.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(clip.parameters(), settings.clip)
            for optimizer in optimizers:
                optimizer.step()
            with torch.no_grad():
                clip.logit_scale.clamp_(0, _MAX_SCALE)  # as the authors do
            total += loss.item()
            bar.update()
            bar.set_postfix(epoch=epoch + 1, loss=f"{loss.item():.3f}")
        losses.append(total / per_epoch)
        _save(place, clip, optimizers, losses)
    bar.close()
    clip.requires_grad_(False)
    vlm.train()  # which is eval
    return losses


def captions(corpus: Pretraining, seed: int, epoch: int) -> list[str]:
    """Another caption for every photograph in every epoch."""
    draw = seed * 1000 + _CAPTION
    pairs = enumerate(zip(corpus.species, corpus.scene.tolist(), strict=True))
    return [caption(bird, SCENES[at], draw, i + epoch * len(corpus)) for i, (bird, at) in pairs]


def augment(images: Tensor, index: Tensor, epoch: int, settings: Settings) -> Tensor:
    """Flipped at random and moved a little: (B, 3, S, S) float32 in [0, 1] of uint8 ones.

    Each image has its own flip; the batch moves as one. There is no crop: captions speak of small parts.
    """
    draws = keyed_uniform((settings.seed, epoch, _FLIP), index, 3)  # (B, 3)
    flip = draws[:, 0] < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    down, right = ((draws[0, 1:] * (2 * settings.shift + 1)).long() - settings.shift).tolist()
    images = images.roll((down, right), (2, 3))
    return (images.float() / 255).contiguous(memory_format=torch.channels_last)


def rate(step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rates: a ramp times half a cosine."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def make_optimizers(clip: nn.Module, settings: Settings) -> tuple[Optimizer, Optimizer]:
    """Muon for the matrices inside the towers; AdamW for embeddings, convolutions and whatever is left."""
    outer = ("token_embedding", "positional_embedding", "text_projection", "visual.head")
    return muon_and_adamw(
        clip,
        lambda name: not name.startswith(outer),
        matrix_lr=settings.muon,
        lr=settings.lr,
        plain=lambda name: "embedding" in name,
        betas=(0.9, 0.98),
        eps=1e-6,
    )


def _save(place: Path, clip: nn.Module, optimizers: tuple[Optimizer, ...], losses: list[float]) -> None:
    state: dict[str, Any] = {"clip": clip.state_dict(), "losses": losses}
    state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_suffix(f".{os.getpid()}.tmp")
    torch.save(state, temporary)
    os.replace(temporary, place)


def _resume(place: Path, clip: nn.Module, optimizers: tuple[Optimizer, ...]) -> list[float]:
    state = torch.load(place, map_location="cpu", weights_only=True)
    clip.load_state_dict(state["clip"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return list(state["losses"])
