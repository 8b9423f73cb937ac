"""The runs behind lab 10: templates, calibration, and few-shot learning from cached features.

Images are encoded once (`FeatureBank`); a run is then a pass of the text tower, a logistic regression, or
CoOp's loop. Whatever is chosen, a template or a setting, is chosen on validation images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ..profiles import Profile

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import DataModule
    from ..engine import FeatureBank
    from ..models import VisionLanguage
    from ..models.prompts import PromptLearner

TUNING_SEEDS = (100, 101)  # never reported
SWEEP_SEEDS = 3  # of what is drawn as a curve or a sweep; claims have all seeds
# Six configurations of the probe, tried on validation alone. CoOp runs as published, but for the epochs.
CONFIGURATIONS: dict[str, list[dict[str, Any]]] = {
    "probe": [{"shots": 16, "c": c} for c in (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)],
}
_UNSEEN = 10  # purpose of a draw: which half of the classes is left out


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict; equal dicts are one run."""
    s = profile.lab(10)
    for template in [*_named(s), *s.described, "ensemble of names"]:
        yield _job("templates", "zero-shot", 0, template=template)
    for scale in ("learned", "one", "fitted"):
        yield _job("calibration", "zero-shot", 0, scale=scale)
    for seed in TUNING_SEEDS:
        for method, options in CONFIGURATIONS.items():
            for option in options:
                yield _job("tuning", method, seed, **option)
    most = max(s.shots)
    for seed in range(seeds):
        for shots in s.shots if seed < SWEEP_SEEDS else [most]:
            yield _job("main", "probe", seed, shots=shots)
            yield _job("main", "coop", seed, shots=shots, position="end")
        for position in s.positions[1:] if seed < SWEEP_SEEDS else []:
            yield _job("main", "coop", seed, shots=most, position=position)
        if s.described and seed < SWEEP_SEEDS:
            yield _job("described", "coop", seed, shots=most)
        for method in ("zero-shot", "coop"):
            yield _job("unseen", method, seed, shots=most)


def _job(experiment: str, method: str, seed: int, **options: Any) -> dict[str, Any]:
    return {"experiment": experiment, "method": method, "seed": seed, **options}


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with its validation and, outside tuning, its test accuracy (calibration: ECE)."""
    s = profile.lab(10)
    kind = job["experiment"] if job["experiment"] in ("calibration", "unseen") else job["method"]
    runs = {"zero-shot": _zero_shot, "calibration": _calibration, "unseen": _unseen}
    runs |= {"probe": _probe, "coop": _coop}
    scores = runs[kind](job, s)
    splits = ("val",) if job["seed"] in TUNING_SEEDS else ("val", "test")
    return {**job, **{split: round(scores(split), 5) for split in splits}}


@dataclass(frozen=True)
class World:
    """The data, the frozen model, and the features (N, E) of every split."""

    data: DataModule
    vlm: VisionLanguage
    banks: dict[str, FeatureBank]

    def features(self, split: str) -> tuple[Tensor, Tensor]:
        """Unit vectors (N, E) and labels (N,) of 'train', 'val' or 'test'."""
        return self.banks[split].features(), self.banks[split].labels

    def few(self, shots: int, seed: int) -> tuple[Tensor, Tensor]:
        """The same of `shots` training images per class, drawn by the seed; budgets are nested."""
        split = self.data.train.few(shots, seed=seed)
        return self.banks["train"].stored(split.ids)["features"].cpu(), split.labels.cpu()

    def accuracy(self, split: str, head: Tensor) -> float:
        """Share of a split's images whose nearest row of the head (C, E) is that of their class."""
        features, labels = self.features(split)
        return ((features @ head.cpu().T).argmax(1) == labels).double().mean().item()


@cache
def world(data_name: str, vlm_name: str) -> World:
    """Data, model and features by name; the features come from the cache where they are there."""
    from .. import data
    from ..engine import FeatureBank
    from ..engine.session import default_device
    from ..models import load_vlm

    module, vlm = data.load(data_name), load_vlm(vlm_name, device=default_device())
    splits = {name: getattr(module, name) for name in ("train", "val", "test")}
    banks = {name: FeatureBank(vlm, split) for name, split in splits.items()}
    return World(module, vlm, banks)


def _world(s) -> World:
    return world(s.data, s.vlm)


def _named(s) -> tuple[str, ...]:
    from ..data.prompts import templates

    return templates(s.data)


def head_of(here: World, s, template: str) -> Tensor:
    """The zero-shot head of one template, or of all templates for names together."""
    chosen = _named(s) if template == "ensemble of names" else [template]
    return here.vlm.zero_shot([here.data.prompts(t) for t in chosen]).cpu()


def best_template(here: World, s, templates: Sequence[str] | None = None) -> str:
    """The template with the best validation accuracy, the first among equals."""
    return max(
        templates or [*_named(s), *s.described], key=lambda t: here.accuracy("val", head_of(here, s, t))
    )


def _zero_shot(job: dict[str, Any], s):
    here = _world(s)
    head = head_of(here, s, job["template"])
    return lambda split: here.accuracy(split, head)


def _calibration(job: dict[str, Any], s):
    """ECE of the best template with another factor before the softmax; 'fitted' on validation."""
    from ..engine.calibration import fit_temperature, reliability

    here = _world(s)
    head = head_of(here, s, best_template(here, s))

    def logits(split: str) -> tuple[Tensor, Tensor]:
        features, labels = here.features(split)
        return here.vlm.logit_scale * features @ head.T, labels

    factor = {"learned": 1.0, "one": 1 / here.vlm.logit_scale}.get(job["scale"])
    factor = factor or 1 / fit_temperature(*logits("val"))

    def ece(split: str) -> float:
        z, labels = logits(split)
        return reliability(factor * z, labels).ece

    return ece


def _probe(job: dict[str, Any], s):
    from ..engine.probe import fit_probe

    here = _world(s)
    few, strength = here.few(job["shots"], job["seed"]), job.get("c", s.probe_c)
    _, probe = fit_probe(few, here.features("val"), [strength], standardise=False)
    return lambda split: float(probe.score(*here.features(split)))


def train_coop(
    here: World, s, texts: Sequence[str], shots: int, seed: int, *, few=None, position: str = "end", **options
) -> PromptLearner:
    """CoOp's context for these class texts, learned from `few` (features, labels) or from a draw of shots.

    `options` are the learner's (`n_ctx`) and the training's (`lr`); the preset's stand where none are given.
    """
    from ..methods.coop import train_prompts
    from ..models.prompts import PromptLearner

    mine = s.coop | {k: options.pop(k) for k in ("n_ctx",) if k in options}
    learner = PromptLearner(here.vlm, texts, position=position, seed=seed, **mine)
    few = few or here.few(shots, seed)
    recipe = s.training | options
    train_prompts(learner, *few, scale=here.vlm.logit_scale, epochs=s.epochs[shots], seed=seed, **recipe)
    return learner


def _coop(job: dict[str, Any], s):
    here = _world(s)
    texts, options = here.data.classes, {k: job[k] for k in ("position", "lr", "n_ctx") if k in job}
    if job["experiment"] == "described":
        texts, options = here.data.descriptions, {"n_ctx": s.described_ctx}
    learner = train_coop(here, s, texts, job["shots"], job["seed"], **options)
    head = learner().detach().cpu()
    return lambda split: here.accuracy(split, head)


def _unseen(job: dict[str, Any], s):
    """Half of the classes: a context learned on the other half, or the best template chosen on it."""
    from ..rng import permutation

    here = _world(s)
    order = permutation(here.data.num_classes, job["seed"], _UNSEEN)
    base, new = (part.sort().values for part in order.tensor_split(2))
    names = [here.data.classes[c] for c in new.tolist()]

    def of(classes: Tensor, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        mine = labels[:, None] == classes  # (N, C)
        rows = mine.any(1)
        return features[rows], mine[rows].long().argmax(1)

    if job["method"] == "coop":
        few = of(base, *here.few(job["shots"], job["seed"]))
        texts = [here.data.classes[c] for c in base.tolist()]
        learner = train_coop(here, s, texts, job["shots"], job["seed"], few=few)
        head = transfer(here, learner, names)().detach().cpu()
    else:
        head = head_of(here, s, best_template(here, s, _named(s)))[new]

    def score(split: str) -> float:
        features, labels = of(new, *here.features(split))
        return ((features @ head.T).argmax(1) == labels).double().mean().item()

    return score


def transfer(here: World, learner: PromptLearner, names: Sequence[str]) -> PromptLearner:
    """A learned context around other class names."""
    from ..models.prompts import PromptLearner

    other = PromptLearner(here.vlm, names, learner.n_ctx, position=learner.position)
    other.load_state_dict(learner.state_dict())
    return other
