"""One seed of `labkit distill`: its labels, its networks, and what is said of each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import LabkitError, LabkitWarning, MissingError
from . import pair

if TYPE_CHECKING:
    from ..data import DataModule
    from ..engine import Evaluation, Run
    from ..models import Classifier
    from .distill import Outcome


@dataclass(frozen=True)
class OneSeed:
    """What the networks of one seed share.

    Attributes:
        s: the settings, with a student for this data.
        found: is told what was measured.
        number, per_class: of the label budget.
        module: the data with these labels.
        out: the seed's folder.
        resume: go on with what it holds.
        say: prints, in the first process.
    """

    s: SimpleNamespace
    found: Outcome
    number: int
    per_class: int | None
    module: DataModule
    out: Path
    resume: bool
    say: Callable[..., None]

    @classmethod
    def of(
        cls,
        s: SimpleNamespace,
        found: Outcome,
        number: int,
        per_class: int | None,
        out: Path,
        resume: bool,
        say: Callable[..., None],
    ) -> OneSeed:
        """With the data of this seed; the first is described."""
        module = pair.few(s, per_class, number)
        s = SimpleNamespace(**vars(s) | {"student": _sized(s.student, module)})
        if number == 0:
            found.module = module
            say(module.describe())
        return cls(s, found, number, per_class, module, out, resume, say)

    def note(self, name: str, words: str, test: Evaluation) -> None:
        """Keep and say what a network was measured at."""
        found, classes = self.found, self.module.num_classes
        found.words[name] = words
        found.tests.setdefault(name, []).append(test)
        self.say(f"seed {self.number}: {words}: {test.accuracy:.1%} test accuracy")
        if name not in ("scratch", found.method) and test.accuracy < 2 / classes:
            self.say(_near_chance(name, classes))

    def network(self, net: dict[str, Any], role: str) -> Classifier | dict[str, Any]:
        """The network of a finished run, frozen; or options of `build` for one to be trained."""
        name, module = net["name"], self.module
        if not Path(name).is_dir():
            if os.sep in name and not name.startswith("torchvision/"):
                raise MissingError(f"There is no folder {name} with a run, and no network of that name.")
            return {**_sized(net, module), "weights": net.get("weights") or _weights(name, module)}
        from ..engine import load_run

        run = load_run(Path(name))
        learnt = run.config.get("data", {}).get("classes", [])
        if run.model.num_classes != module.num_classes or (learnt and tuple(learnt) != tuple(module.classes)):
            raise LabkitError(
                f"The {role} in {name} knows {run.model.num_classes} classes ({_few(learnt)}), but"
                f" '{module.name}' has {module.num_classes} ({_few(module.classes)}): name one of these."
            )
        return run.model.requires_grad_(False).eval()

    def teacher(self) -> Classifier:
        """The teacher: a finished run as it is, or a network adapted to the seed's labels."""
        net = self.network(self.s.teacher, "teacher")
        if not isinstance(net, dict):
            return net
        told = dict(self.s.teacher_training)
        if net["weights"] is None:
            told |= {"head_share": 0.0}
        own = SimpleNamespace(**vars(self.s) | {"teacher_training": told})
        where = {"out": self.out / "teacher", "resume": self.resume}
        return pair.adapted(own, self.number, self.per_class, net, **where)[0]

    def student(self, name: str, guide: Classifier | None, options: dict[str, Any]) -> Run:
        """The student's run, named after what it learns by."""
        from .adapt import passes

        recipe = {k: v for k, v in options.items() if k in pair.RECIPE}
        own = {k: v for k, v in options.items() if k not in recipe}
        if own.get("e") == "epoch":
            own["epochs"] = passes(pair.changed(self.s.training, recipe), len(self.module.train))
        method = pair.create(self.s, name, self.number, self.per_class, guide=guide, **own)
        where = {"out": self.out / name, "resume": self.resume}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LabkitWarning)  # a teacher near chance: said already
            told = where | recipe
            return pair.fit(self.s, method, self.number, self.per_class, bank=bool(self.s.views), **told)


def _near_chance(name: str, classes: int) -> str:
    """What is said of a network that guesses."""
    words = f"  That is near chance ({1 / classes:.1%})"
    if name in ("zero-shot", "calibrated"):
        return f"{words}: it hardly knows these classes."
    return f"{words}, so its student learns noise: train it longer, or name the folder of a trained run."


def _few(names: Any) -> str:
    return ", ".join(list(names)[:3]) + ", ..." * (len(names) > 3)


def _sized(net: dict[str, Any], module: DataModule) -> dict[str, Any]:
    """The network for this data's channels and size, where its preset doesn't say."""
    return {"in_chans": module.channels, "image_size": module.image_size, **net}


def _weights(name: str, module: DataModule) -> str | None:
    """'pretrained' unless the network is one of ours that ships without, or for other channels."""
    from ..models.registry import own_names
    from ..models.shipped import SHIPPED

    return None if name in own_names() and (name not in SHIPPED or module.channels != 3) else "pretrained"
