"""PAND's first stage, prompt-aware semantic calibration (arXiv 2602.07768): CoOp on cached image features.

A context of M vectors before each class's sentence is learned by cross-entropy, and what is kept is the text
embedding of every class, t* (C, E): a file of anchors that any method with a vision-language teacher reads.
The recipe is that of the authors' code (LLLVTA/PAND): SGD with momentum, no weight decay, a cosine without
warm-up, gradients clipped to 1, at most 200 epochs. They choose the epoch on test images for most data sets;
here it is chosen on validation features. They leave out the full stop with which CoOp's prompts end; here,
where the learner is lab 10's, it is kept.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn

from ..engine import FeatureBank, checkpoint
from ..errors import LabkitError, MissingError
from ..models import VisionLanguage
from .coop import PromptRun, train_prompts

FILE = "learned_text_features.safetensors"
Cached = FeatureBank | tuple[Tensor, Tensor]  # or (features (N, E), labels (N,))


@dataclass
class Calibration:
    """Calibrated class anchors.

    Attributes:
        text: (C, E) unit vectors.
        names: what was written for each class: its name, or a sentence with it.
        settings: how they were made.
        run: the training, where it was done just now.
    """

    text: Tensor
    names: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    run: PromptRun | None = None

    def check_classes(self, classes: Sequence[str]) -> None:
        """Raise LabkitError unless each name is, or contains, the class of the same position.

        The authors' files name classes as folders do: without apostrophes, and cars with the year at the end.
        """
        if len(classes) != len(self.names):
            raise LabkitError(
                f"The anchors are for {len(self.names)} classes, not {len(classes)}: calibrate them on the"
                " same classes."
            )
        for name, own in zip(self.names, classes, strict=True):
            if not any(f" {form} " in f" {_plain(name)} " for form in _forms(own)):
                raise LabkitError(
                    f"The anchors are for other classes, or for these in another order: one is for '{name}'"
                    f" where '{own}' is wanted; calibrate them on the same classes."
                )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a .safetensors file, or `learned_text_features.safetensors` into a folder."""
        meta = {"classnames": list(self.names), "settings": self.settings}
        return checkpoint.save(_file(path), {"text_features": self.text}, meta)


def calibrate(
    vlm: VisionLanguage,
    prompts: Sequence[str],
    train: Cached,
    *,
    val: Cached | None = None,
    classes: Sequence[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    n_ctx: int = 16,
    epochs: int = 200,
    lr: float = 0.002,
    batch_size: int = 32,
    patience: int | None = 50,
    seed: int = 0,
    chunk: int | None = None,
    progress: bool | None = None,
) -> Calibration:
    """Learn a context in front of each class's sentence; stage 1 of PAND.

    Args:
        vlm: the frozen model.
        prompts: one sentence per class, such as `data.prompts(template)`.
        train: the model's embeddings of the training images: a `FeatureBank` (all of its views count) or a
            pair of unit vectors (N, E) and labels (N,).
        val: the same of images that choose the epoch; None keeps the last.
        classes: class names, which each sentence must contain; None doesn't check.
        out: a .safetensors file or a folder to write to. A file of the same settings is read in place of a
            new training, so that an interrupted run goes on with its anchors.
        overwrite: replace a file of other settings.
        n_ctx: number M of vectors.
        epochs, lr, batch_size, patience: of the training; patience only with `val`.
        seed: of the vectors' start and of the order.
        chunk: prompts in one pass of the text tower, see `PromptLearner`.
        progress: show a bar; None shows one unless LABKIT_QUIET is set.

    Raises:
        LabkitError: prompts and features don't fit together, a prompt is too long, or `out` holds others.
    """
    features, labels = _cached(train)
    names = _names(vlm, prompts, features, labels)
    settings = {"vlm": getattr(vlm, "name", type(vlm).__name__), "images": _digest(train), "n_ctx": n_ctx}
    settings |= {"epochs": epochs, "lr": lr, "batch_size": batch_size, "seed": seed}
    settings |= {"patience": patience, "chosen on": _digest(val)} if val is not None else {"patience": None}
    made = Calibration(torch.empty(0), names, settings)
    if classes is not None:
        made.check_classes(classes)
    if out is None:
        return _learned(made, vlm, features, labels, val, chunk, progress)
    path = _file(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # of several processes one calibrates, the others read
        if path.exists() and not overwrite:
            return _same(read_calibration(path), made, path)
        _learned(made, vlm, features, labels, val, chunk, progress)
        made.text = read_calibration(made.save(path)).text  # the numbers with which a later run goes on
    return made


def _learned(
    made: Calibration,
    vlm: VisionLanguage,
    features: Tensor,
    labels: Tensor,
    val: Cached | None,
    chunk: int | None,
    progress: bool | None,
) -> Calibration:
    """The anchors, trained as the settings say."""
    from ..models.prompts import PromptLearner

    told = made.settings
    learner = PromptLearner(vlm, made.names, told["n_ctx"], seed=told["seed"], chunk=chunk)
    recipe = {name: told[name] for name in ("epochs", "lr", "batch_size", "patience", "seed")}
    recipe |= {"weight_decay": 0.0, "warmup": 0, "step": clipped_step, "progress": progress}
    held = _cached(val) if val is not None else None
    made.run = train_prompts(learner, features, labels, scale=vlm.logit_scale, validation=held, **recipe)
    with torch.no_grad():
        made.text = learner().cpu()
    return made


def clipped_step(
    learner: nn.Module, optimizer: torch.optim.Optimizer, features: Tensor, labels: Tensor, scale: float
) -> float:
    """`coop.prompt_step` with the gradient's norm clipped to 1."""
    loss = F.cross_entropy(scale * features @ learner().T, labels)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in learner.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    return loss.item()


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Anchors written by `Calibration.save`, or a .pt of the authors' code (read without running anything).

    Args:
        path: the file, or the folder that it lies in.

    Raises:
        MissingError: there is none.
        LabkitError: it is damaged, or holds something else.
    """
    given = Path(path).expanduser()
    path = given if given.is_file() else _file(path)
    if path.suffix not in (".pt", ".pth"):
        tensors, meta = checkpoint.load(path)
        found = {**meta, **tensors}
    elif not path.is_file():
        raise MissingError(f"There is no file of anchors {path}: run the calibration first, or name another.")
    else:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
            raise LabkitError(
                f"{path} can't be read as tensors and plain values: fetch or make it again."
            ) from error
    text, names = (
        found.get(key) if isinstance(found, dict) else None for key in ("text_features", "classnames")
    )
    listed = isinstance(names, list | tuple) and isinstance(text, Tensor) and text.ndim == 2
    if not listed or not names or len(names) != len(text):
        raise LabkitError(
            f"{path} holds no class anchors, which are text_features (C, E) and C classnames: calibrate"
            " writes such files."
        )
    return Calibration(F.normalize(text.float(), dim=1), tuple(map(str, names)), found.get("settings", {}))


def _same(found: Calibration, wanted: Calibration, path: Path) -> Calibration:
    """`found`, if it is what would be made."""
    if found.names != wanted.names:
        raise LabkitError(
            f"{path} holds anchors for other classes or prompts: pass overwrite=True, or move it."
        )
    for name, value in wanted.settings.items():
        if found.settings.get(name) != value:
            raise LabkitError(
                f"{path} holds anchors made with {name} = {found.settings.get(name)}, not {value}:"
                " pass overwrite=True, or another place."
            )
    return found


def _cached(source: Cached) -> tuple[Tensor, Tensor]:
    if isinstance(source, FeatureBank):
        views = range(source.views)
        features = torch.cat([source.features(view=view) for view in views])
        return features, source.labels.repeat(source.views)
    features, labels = source
    return features.detach().float().cpu(), labels.cpu()


def _names(vlm: VisionLanguage, prompts: Sequence[str], features: Tensor, labels: Tensor) -> tuple[str, ...]:
    """The sentences without their full stop, which the learner adds; refused where they can't be meant."""
    if isinstance(prompts, str) or not prompts or not all(isinstance(text, str) for text in prompts):
        raise LabkitError("calibrate takes one sentence per class, in a list: data.prompts(template).")
    if features.ndim != 2 or features.shape[1] != vlm.embed_dim:
        raise LabkitError(
            f"The features are {tuple(features.shape)}, but the model's embeddings are {vlm.embed_dim} wide:"
            " build the bank over this vision-language model."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(prompts):
        raise LabkitError(
            f"There are {len(prompts)} prompts for labels up to {int(labels.max())}: give one per class."
        )
    return tuple(re.sub(r"\s*\.$", "", text) for text in prompts)


def _digest(source: Cached) -> str:
    """What features are told apart by: a bank's key (images, model, views), or the numbers themselves."""
    if isinstance(source, FeatureBank):
        return source.key[:12]
    parts = [part.contiguous().numpy().tobytes() for part in _cached(source)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path).expanduser()
    return path if path.suffix in (".safetensors", ".pt", ".pth") else path / FILE


def _plain(name: str) -> str:
    """Lower case, words apart by single spaces, "Baird's" without its ending."""
    return " ".join(re.findall(r"\w+", re.sub(r"['’]s?\b", "", name.lower().replace("_", " "))))


def _forms(name: str) -> list[str]:
    """How a class may be written in a sentence: a year that stands first also last."""
    plain = _plain(name)
    year, _, rest = plain.partition(" ")
    return [plain, f"{rest} {year}"] if re.fullmatch(r"(19|20)\d\d", year) else [plain]
