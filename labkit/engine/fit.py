"""`fit`: the one entry to training. The loop itself is in `trainer`."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import Augment, DataModule
from ..errors import LabkitError, unknown
from .bank_feed import Banks, Feed
from .guards import check_frozen
from .recipe import Recipe
from .run import Run
from .trainer import Trainer


def fit(
    method: nn.Module,
    data: DataModule,
    epochs: int | None = None,
    *,
    steps: int | None = None,
    augment: Augment | str | None = "default",
    bank: Banks = None,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
    device: str | None = None,
    **recipe: Any,
) -> Run:
    """Train a method on a data module: one process, or many under `accelerate launch`, unchanged.

    The same seed on the same machine gives the same result, and a resumed run repeats an uninterrupted one:
    exactly on the CPU; on CUDA up to the rounding of kernels that add in any order, such as the gradients of
    pooling. Over several processes BatchNorm's statistics are global on CUDA (SyncBN) and per process on the
    CPU, and losses that compare the images of a batch with each other (rkd, rkd_clip, pand) see those of
    their process.

    Args:
        method: a module with `losses(batch, progress) -> {"total": ...}` and `deployed() -> Classifier`;
            optional `stages()`, `param_groups()`, `on_step_end(step)`. See `labkit.methods`.
        data: trains on `.train`, keeps the best weights by `.val`; `.test` is never touched.
        epochs: passes over the training set, of every stage that names no length itself.
        steps: optimiser steps instead of epochs (validated at most 30 times).
        augment: 'default' takes the bank's, or else the data's own, None none; or an `Augment`, or a preset's
            name.
        bank: a `FeatureBank` over images that contain the training set, or several by name. Stages that show
            the images it was made from show exactly its views, one after the other, and find its outputs in
            `Batch.stored` (of several banks as 'name.output').
        out: folder for config.yaml, history.csv, last.safetensors, best.safetensors (and stageN/);
            None keeps everything in memory.
        resume: go on from `out`'s last checkpoint if there is one.
        overwrite: allow a new run in a folder that holds one.
        progress: show a progress bar; None shows it unless LABKIT_QUIET is set.
        device: 'cpu', 'cuda', ...; None takes accelerate's choice.
        **recipe: options of `Recipe`: batch_size, optimizer, lr, weight_decay, momentum, schedule, warmup,
            precision, clip, patience, validate_every, seed.

    Returns:
        The `Run`; the method's deployed classifier holds the weights that were best on validation, and all
        of the method is left in eval mode.

    Raises:
        LabkitError: an option is wrong, the training split is empty, a bank holds other images, the loss is
            not finite (with its epoch and batch), the folder holds another run, or a checkpoint can't be
            written or read.
        KeyboardInterrupt: after saving, when `out` is given: one process saves where it is, several go on
            from the last epoch.
    """
    started = time.perf_counter()
    options = _recipe(recipe)
    _check(method, data, epochs, steps)
    feed = Feed(bank, data.train)
    policy = feed.policy(data.augment) if augment == "default" else augment
    policy = Augment.named(policy) if isinstance(policy, str) else policy
    config = _config(method, data, options, policy, epochs, steps)
    if feed.banks:
        config["banks"] = feed.config()
    trainer = Trainer(
        method,
        data,
        options,
        augment=policy,
        feed=feed,
        epochs=epochs,
        steps=steps,
        folder=_folder(out, resume, overwrite),
        config=config,
        progress=progress,
        device=device,
    )
    trainer.run(resume)
    return Run(
        model=method.deployed(),
        accuracy=trainer.at.best if trainer.at.best >= 0 else float("nan"),
        history=trainer.at.history,
        losses=trainer.at.losses,
        folder=trainer.store.folder,
        config=config,
        seconds=time.perf_counter() - started,
    )


def _check(method: nn.Module, data: DataModule, epochs: int | None, steps: int | None) -> None:
    """Refuse what can't be trained."""
    if (epochs is None) == (steps is None):
        raise LabkitError("Give fit either epochs=... or steps=..., one of the two.")
    name, length = ("epochs", epochs) if epochs is not None else ("steps", steps)
    if not isinstance(length, Integral) or isinstance(length, bool) or length < 1:
        raise LabkitError(f"{name} must be a whole number of at least 1, but it is {length!r}.")
    if not callable(getattr(method, "losses", None)) or not callable(getattr(method, "deployed", None)):
        raise LabkitError(
            f"fit trains a method, but got {type(method).__name__}:"
            " wrap a network as labkit.methods.create('scratch', student=network)."
        )
    if len(data.train) == 0:
        raise LabkitError(f"The training split of '{data.name}' is empty: give it at least one image.")
    check_frozen(method)
    classes = getattr(method.deployed(), "num_classes", data.num_classes)
    if classes != data.num_classes:
        raise LabkitError(
            f"The student has {classes} classes and '{data.name}' {data.num_classes}:"
            f" build it with num_classes={data.num_classes}."
        )


def _recipe(options: dict[str, Any]) -> Recipe:
    known = Recipe.__dataclass_fields__
    for name in options:
        if name not in known:
            raise unknown("option of fit", name, known)
    return Recipe(**options)


def _folder(out: Path | str | None, resume: bool, overwrite: bool) -> Path | None:
    if out is None:
        if resume:
            raise LabkitError("resume=True needs out=..., the folder of the run to go on with.")
        return None
    folder = Path(out)
    if (folder / "last.safetensors").exists() and not (resume or overwrite):
        raise LabkitError(
            f"{folder} already holds a run: pass resume=True to go on, overwrite=True to replace it,"
            " or another folder."
        )
    return folder


def _config(
    method: nn.Module,
    data: DataModule,
    recipe: Recipe,
    augment: Augment | None,
    epochs: int | None,
    steps: int | None,
) -> dict[str, Any]:
    """What decides the result, in plain types: written to config.yaml and compared at resume."""
    from .. import __version__

    config: dict[str, Any] = {
        "labkit": __version__,
        "method": {"name": getattr(method, "name", type(method).__name__), **getattr(method, "options", {})},
        "data": _describe(data),
        "augment": asdict(augment) if augment else None,
        "epochs": epochs,
        "steps": steps,
        "recipe": asdict(recipe),
    }
    student = method.deployed()
    if hasattr(student, "config"):
        config["model"] = dict(student.config)
    teacher = getattr(method, "teacher", None)
    if hasattr(teacher, "config"):
        config["teacher"] = dict(teacher.config)
    return json.loads(json.dumps(config, default=str))


def _describe(data: DataModule) -> dict[str, Any]:
    """The data in plain types: enough to load the same again, and to name the classes without them."""
    facts = {"classes": list(data.classes), "channels": data.channels, "image_size": data.image_size}
    facts["border"] = getattr(data.train, "border", 1.0)
    return {"name": data.name, "images": _digest(data), **facts, **getattr(data, "options", {})}


def _digest(data: DataModule) -> str:
    """Which images, with which labels, are trained on and validated: resuming with others is refused."""
    splits = [split for split in (data.train, data.val) if split is not None]
    numbers = torch.cat([t.cpu() for split in splits for t in (split.ids, split.labels)])
    return hashlib.sha256(numbers.numpy().tobytes()).hexdigest()[:12]
