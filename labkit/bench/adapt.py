"""A pretrained network becomes a teacher: a new head, trained first alone, then with all that lies below it.

A teacher whose head was never trained teaches noise (a mistake of public lab sheets); one that is fine-tuned
from the start under a random head loses much of what it knew (Kumar et al. 2022, arXiv 2202.10054).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F

from ..data import steps_per_epoch
from ..engine import Recipe, Stage
from ..errors import LabkitError
from ..methods import Scratch

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..data import Batch, DataModule
    from ..engine import Run
    from ..engine.bank_feed import Banks
    from ..methods import Method
    from ..models import Classifier


class Adaptation(Scratch):
    """Cross-entropy in two stages: the head on features of the images as they are, then the whole network.

    Args:
        student: the network to adapt, with a new head.
        head_lr: learning rate while the head trains alone; afterwards all takes that of `fit`.
        head_share: of the steps that train the head alone, in (0, 1).
        alone: leave out the second stage.

    Raises:
        LabkitError: an option is outside its range.
    """

    name = "adaptation"

    def __init__(
        self, student: Classifier, head_lr: float = 0.01, head_share: float = 0.3, alone: bool = False
    ) -> None:
        if not head_lr > 0 or not 0 < head_share < 1:
            raise LabkitError(
                "head_lr must be greater than 0 and head_share in (0, 1), but they are"
                f" {head_lr} and {head_share}."
            )
        super().__init__(student)
        self.options = {"head_lr": head_lr, "head_share": head_share}
        self.alone = alone

    def stages(self) -> list[Stage]:
        share = self.options["head_share"]
        head = self.student.head
        first = Stage("head", head, views="original", losses=self._head_losses, length=share, keep="last")
        return [first] if self.alone else [first, Stage("all", self.student, length=1 - share)]

    def _head_losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """The head alone sees what the frozen network below it said once, where a bank has stored that."""
        stored = batch.stored.get("embedding")
        logits = self.student(batch.image).logits if stored is None else self.student.head(stored)
        ce = F.cross_entropy(logits, batch.label)
        return {"total": ce, "ce": ce}

    def param_groups(self) -> list[dict[str, Any]]:
        trained = [p for p in self.student.parameters() if p.requires_grad]
        head = {p for p in self.student.head.parameters() if p.requires_grad}
        alone = len(trained) == len(head)
        return [{"params": trained, "lr": self.options["head_lr"]} if alone else {"params": trained}]


def adapt(
    net: Classifier,
    module: DataModule,
    *,
    then: Method | None = None,
    bank: Banks = None,
    seed: int = 0,
    head_lr: float = 0.01,
    head_share: float = 0.3,
    out: Path | None = None,
    resume: bool = False,
    progress: bool | None = None,
    **recipe: Any,
) -> Run:
    """Train a pretrained classifier with a new head on `module`, head first; weights chosen on validation.

    Args:
        net: as `build(name, num_classes, weights=...)` gives it; trained in place.
        module: what it learns from.
        then: a method that trains `net` after its head, in a run of its own; None goes on with cross-entropy.
        bank: of that method's frozen networks.
        seed: of the order and the augmentation.
        head_lr, head_share: see `Adaptation`; a share of 0 trains all from the start, for a network without
            pretrained weights.
        out: folder of the run, or None; with `then` the head's is 'head' in it.
        resume: go on from the folder's last checkpoint.
        progress: show a bar.
        recipe: options of `fit`, such as steps, lr and batch_size.
    """
    from .. import engine

    told = {"seed": seed, "resume": resume, "overwrite": not resume, "progress": progress}
    begun = resume and then is not None and out is not None and (out / "last.safetensors").exists()
    method, below = Scratch(net), None
    if head_share and not begun:
        method = Adaptation(net, head_lr, head_share, alone=then is not None)
        below = engine.FeatureBank(net, module.train, outputs=("embedding",), keep=False, progress=progress)
    if then is None:
        return engine.fit(method, module, augment=module.augment, bank=below, out=out, **told, **recipe)
    if below is not None:
        engine.fit(method, module, bank=below, out=out and out / "head", **told, **recipe)
    if head_share:
        recipe = _rest(recipe, head_share, module)
    return engine.fit(then, module, bank=bank, out=out, **told, **recipe)


def passes(recipe: dict[str, Any], images: int, share: float = 1.0) -> int:
    """How many epochs a training over so many images has, or a share of it: what e='epoch' counts."""
    steps, per_epoch = _length(recipe, images)
    return max(1, round(share * steps / per_epoch))


def _rest(recipe: dict[str, Any], share: float, module: DataModule) -> dict[str, Any]:
    """The recipe of what follows a head that took its share of the steps."""
    steps, _ = _length(recipe, len(module.train))
    recipe = {k: v for k, v in recipe.items() if k not in ("steps", "epochs")}
    return recipe | {"steps": max(1, round(steps * (1 - share)))}


def _length(recipe: dict[str, Any], images: int) -> tuple[int, int]:
    """The steps of a training over so many images, and those of one epoch."""
    per_epoch = steps_per_epoch(images, recipe.get("batch_size", Recipe.batch_size))
    return recipe.get("steps") or recipe["epochs"] * per_epoch, per_epoch
