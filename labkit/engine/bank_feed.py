"""What banks add to training: which views a stage shows, and what is stored for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from ..data import Augment, Batch, FileSet, ImageSet
from ..errors import LabkitError
from .bank import FeatureBank
from .bank_key import sample_digests
from .stage import Stage

Banks = FeatureBank | Mapping[str, FeatureBank] | None
NOTHING = Augment()


@dataclass(frozen=True)
class Shown:
    """What a stage shows: the arguments of `batches`, and the banks that saw the same images.

    Args:
        augment: of the images; None as they are.
        views: how many views there are; None for a new one in every epoch.
        seed: of the views; None for that of the run.
        banks: by the prefix of their outputs' names.
    """

    augment: Augment | None
    views: int | None = None
    seed: int | None = None
    banks: Mapping[str, FeatureBank] = field(default_factory=dict)

    def fill(self, batch: Batch) -> Batch:
        """The batch with `stored` filled from the banks, in the images' precision."""
        if not self.banks:
            return batch
        stored = {
            f"{prefix}{name}": rows.to(batch.image.dtype)
            for prefix, bank in self.banks.items()
            for name, rows in bank.stored(batch.index, batch.view).items()
        }
        return batch._replace(stored=stored)


class Feed:
    """The banks of one training run.

    Args:
        banks: one, whose outputs keep their names; several by name, which give 'name.output'; or None.
        split: the training images, all of which the banks must hold.

    Raises:
        LabkitError: something is no bank, an image is not in one or is another there, or the banks' views
            are not the same.
    """

    def __init__(self, banks: Banks, split: ImageSet | FileSet) -> None:
        given = {"": banks} if isinstance(banks, FeatureBank) else dict(banks or {})
        self.banks = {f"{name}." if name else "": bank for name, bank in given.items()}
        for bank in self.banks.values():
            if not isinstance(bank, FeatureBank):
                raise LabkitError(f"bank takes a FeatureBank, or several by name, not {type(bank).__name__}.")
            _check_images(bank, split)
        moving = [bank for bank in self.banks.values() if bank.augment != NOTHING]
        self.moving = moving[0] if moving else None
        if len({(bank.augment, bank.seed, bank.views) for bank in moving}) > 1:
            raise LabkitError(
                "Banks that train together must hold the same views: build them with one augment, one seed"
                " and one number of views."
            )

    def policy(self, default: Augment) -> Augment:
        """The augmentation of a run that names none: the banks' own, if there are any."""
        if not self.banks:
            return default
        return self.moving.augment if self.moving else NOTHING

    def config(self) -> dict[str, str]:
        """Each bank's key by its name."""
        return {prefix.rstrip(".") or "bank": bank.key for prefix, bank in self.banks.items()}

    def shown(self, stage: Stage, augment: Augment | None) -> Shown:
        """What `stage` shows where the run's augmentation is `augment`.

        Raises:
            LabkitError: the stage wants more views than the bank holds.
        """
        policy = NOTHING if stage.views == "original" else augment or NOTHING
        banks = {prefix: bank for prefix, bank in self.banks.items() if bank.augment == policy}
        views = stage.views if isinstance(stage.views, int) else None
        if not banks:
            return Shown(policy, views)
        if policy == NOTHING:
            return Shown(policy, 1, None, banks)  # every epoch shows the one view there is
        most = self.moving.views
        if views is not None and views > most:
            raise LabkitError(
                f"Stage '{stage.name}' wants {views} views, but the bank holds {most}: build it with"
                f" views={views}."
            )
        return Shown(policy, views or most, self.moving.seed, banks)

    def check(self, stages: list[Stage], augment: Augment | None) -> None:
        """Refuse a bank of images that no stage shows.

        Raises:
            LabkitError: there is one.
        """
        served = {prefix for stage in stages for prefix in self.shown(stage, augment).banks}
        for prefix, bank in self.banks.items():
            if prefix not in served:
                name = f"The bank '{prefix[:-1]}'" if prefix else "The bank"
                raise LabkitError(
                    f"{name} holds {_words(bank.augment)}, but no stage shows these: build it with the"
                    " augmentation of the training, or leave augment out and train on the bank's views."
                )


def _words(augment: Augment) -> str:
    return "the images as they are" if augment == NOTHING else f"views of {augment}"


def _check_images(bank: FeatureBank, split: ImageSet | FileSet) -> None:
    """The same id must be the same image: of the same content, or (at another size) of the same label."""
    if split is bank.split:
        return
    rows = bank.positions(split.ids)
    if _comparable(split, bank.split):
        same = sample_digests(split) == bank.samples[rows]
    else:
        same = split.labels.cpu() == bank.labels[rows]
    if not bool(same.all()):
        wrong = int(split.ids.cpu()[torch.nonzero(~same)[0, 0]])
        raise LabkitError(
            f"The image with id {wrong} is another one in the bank: build the bank over this training split."
        )


def _comparable(first: ImageSet | FileSet, second: ImageSet | FileSet) -> bool:
    if isinstance(first, ImageSet) and isinstance(second, ImageSet):
        return first.images.shape[1:] == second.images.shape[1:]
    return type(first) is type(second)
