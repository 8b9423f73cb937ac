"""The runs behind lab 13: lambda in both stages, the terms of stage 1, frozen or adapted, views, and looks.

`labkit bench --data aviary-vlm` compares the methods, `labkit intermediates` the networks between; here, at
one budget and with that comparison's chosen options, one question each. 'adapted' is the test accuracy of the
intermediate, 'val' and 'test' are its student's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..profiles import Profile, preset

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..data import ImageSet
    from ..engine import PartAttention
    from ..models import Classifier

# What trains the intermediate beside the labels; 'frozen' is its generic weights, under a trained head.
TERMS = {
    "both": {},
    "labels": {"sia_weight": 0.0, "ira_weight": 0.0},
    "sia": {"ira_weight": 0.0},
    "ira": {"sia_weight": 0.0},
    "frozen": None,
}
STUDENTS = ("scratch", "direct", "dait-f")  # whose features are drawn
LOOKING = (*STUDENTS, "pand", "intermediate")  # whose looks are compared
CONTROLS = ("chance", "centre", "bird", "best")
_FIELDS = ("experiment", "method", "seed", "per_class")


def settings(profile: Profile) -> SimpleNamespace:
    """Lab 13's settings, with those of the comparison that they name."""
    own = vars(profile.lab(13))
    return SimpleNamespace(**(vars(preset(own["like"])) if "like" in own else {}) | own)


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict, the most telling first; equal dicts are one run."""
    s = settings(profile)
    every = [job for seed in range(seeds) for job in _of_seed(s, seed)]
    order = ("both", "labels", "frozen", "lambda", "looks", "map", "sia", "ira", "views", "first lambda")
    yield from sorted(every, key=lambda job: order.index(job.get("terms") or job["experiment"]))


def _of_seed(s: SimpleNamespace, seed: int) -> Iterator[dict[str, Any]]:
    def job(experiment: str, method: str, **how: Any) -> dict[str, Any]:
        return {"experiment": experiment, "method": method, "seed": seed, "per_class": s.per_class, **how}

    for terms in TERMS:
        yield job("terms", "dait-f", terms=terms)
    for experiment, lines in (("lambda", s.lambdas), ("first lambda", s.first_lambdas)):
        for k, b in lines:
            yield job(experiment, "dait-f", k=float(k), b=float(b), e="progress")
        yield job(experiment, "dait-f", k=float(s.raw[0]), b=float(s.raw[1]), e="epoch")
    for method in (*LOOKING, *CONTROLS):
        yield job("looks", method)
    for views in s.views_tried:
        yield job("views", "dait-f", views=views)
    if seed == 0:
        for method in STUDENTS:
            yield job("map", method)


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with what was measured.

    'looks' measures as 'mass' the attention-on-part score, 'map' as 'examples' a place (x, y) for every
    picture of `mapped`, by t-SNE of the student's features.
    """
    s, seed, experiment = settings(profile), job["seed"], job["experiment"]
    if experiment == "looks":
        return job | {"mass": round(score(profile, job["method"], seed), 5)}
    if experiment == "map":
        return job | {"examples": places(profile, job["method"], seed).round(1).tolist()}
    first = experiment == "first lambda"
    how = _changes(s, {k: v for k, v in job.items() if k not in _FIELDS}, first)
    if first:
        return job | {"adapted": _on_test(s, seed, _between(profile, seed, _text(how)))}
    student, between, val = _distilled(profile, seed, _text(how))
    measured = {"test": _on_test(s, seed, student), "adapted": _on_test(s, seed, between)}
    return job | {"val": round(val, 5)} | measured


def _changes(s: SimpleNamespace, how: dict[str, Any], first: bool) -> dict[str, Any]:
    """What of a job's options differs from the comparison's, so that no run is made twice."""
    usual = {"terms": "both", "views": s.views, "e": "progress"}
    usual |= {name: (s.stage1 if first else s.methods["dait-f"])[name] for name in "kb"}
    if how.get("e") == "epoch":
        return how | {"epochs": passes(s, first)}
    return {name: value for name, value in how.items() if value != usual[name]}


def _text(options: dict[str, Any]) -> str:
    return json.dumps(options, sort_keys=True)


def passes(s: SimpleNamespace, first: bool = False) -> int:
    """How many epochs a stage has: what the raw form of lambda counts.

    Args:
        s: the settings.
        first: of stage 1, without the steps that the head trains alone.
    """
    from . import adapt, pair

    images = len(pair.few(s, s.per_class, 0).train)
    if first:
        return adapt.passes(s.intermediate_training, images, 1 - s.intermediate_training["head_share"])
    return adapt.passes(s.training, images)


@cache
def _distilled(profile: Profile, seed: int, asked: str) -> tuple[Classifier, Classifier, float]:
    """A student of DAIT-F, its intermediate, and the student's validation accuracy.

    `asked` is JSON: the `terms` of stage 1, the number of `views`, or k, b and e of stage 2.
    """
    from . import pair, vlm

    s, options = settings(profile), json.loads(asked)
    terms, views = options.pop("terms", "both"), options.pop("views", s.views)
    told = SimpleNamespace(**vars(s) | {"views": views})
    if TERMS[terms] is None:
        net = generic(s, seed)
    else:
        net, _ = vlm.intermediate(told, seed, s.per_class, **TERMS[terms])
    chosen = s.methods["dait-f"] | options
    recipe = {
        name: chosen.pop(name) for name in ("lr", "weight_decay") if name in chosen
    }  # not lambda's epochs
    made = pair.create(told, "dait", seed, s.per_class, transfer="feature", intermediate=net, **chosen)
    done = pair.fit(told, made, seed, s.per_class, **recipe)
    return done.model, net, done.accuracy


@cache
def _between(profile: Profile, seed: int, asked: str) -> Classifier:
    """An intermediate whose stage 1 had another lambda."""
    from . import vlm

    s = settings(profile)
    told = SimpleNamespace(**vars(s) | {"stage1": {**s.stage1, **json.loads(asked)}})
    return vlm.intermediate(told, seed, s.per_class)[0]


@cache
def trained(profile: Profile, method: str, seed: int) -> Classifier:
    """One of LOOKING, with the comparison's chosen options."""
    from . import pair
    from .matrix_rows import KINDS

    s = settings(profile)
    if method in ("dait-f", "intermediate"):
        return _distilled(profile, seed, _text({}))[method == "intermediate"]
    kind = s.direct if method == "direct" else method
    options = KINDS[kind].options | s.methods[kind]
    return pair.train(s, KINDS[kind].method, seed, s.per_class, **options).model


def generic(s: SimpleNamespace, seed: int) -> Classifier:
    """The intermediate with its pretrained weights as they are, under a head that learned the few labels."""
    from .. import engine, models
    from ..rng import seed_everything
    from . import pair
    from .adapt import Adaptation

    recipe = dict(s.intermediate_training)
    head = {name: recipe.pop(name) for name in ("head_lr", "head_share")}
    module = pair.few(s, s.per_class, seed)
    seed_everything(seed)
    net = models.build(num_classes=module.num_classes, **s.intermediate)
    bank = engine.FeatureBank(net, module.train, outputs=("embedding",), keep=False, progress=False)
    engine.fit(Adaptation(net, **head, alone=True), module, bank=bank, seed=seed, progress=False, **recipe)
    return net.requires_grad_(False).eval()


def _on_test(s: SimpleNamespace, seed: int, net: Classifier) -> float:
    from ..engine import evaluate
    from . import pair

    return round(evaluate(net, pair.few(s, s.per_class, seed).test).accuracy, 5)


# Where students look, and what their features are like ------------------------------------------------------


def score(profile: Profile, method: str, seed: int) -> float:
    """The attention-on-part score of a student or of the intermediate, or that of a control."""
    found = looks(profile, "intermediate" if method in CONTROLS else method, seed)
    return found.controls[method] if method in CONTROLS else found.mean


@cache
def looks(profile: Profile, method: str, seed: int) -> PartAttention:
    """Grad-CAM on the discriminative parts, over the same test images for every network and seed."""
    from ..engine.grad_cam import attention_on_parts
    from . import pair

    s = settings(profile)
    some = pair.few(s, s.per_class, seed).test.few(s.looked_at, seed=0)
    return attention_on_parts(trained(profile, method, seed), some)


def parts(split: ImageSet) -> Tensor:
    """(N, S, S) bool: the parts that tell the Aviary's birds apart; nothing for other images."""
    import torch

    from ..data.aviary import AviarySet, annotate

    if isinstance(split, AviarySet):
        return annotate(split).discriminative()
    return torch.zeros(len(split), split.image_size, split.image_size, dtype=torch.bool)


def mapped(s: SimpleNamespace) -> ImageSet:
    """The test images that are drawn as a map: some of a few look-alike species."""
    from ..views.embedding import some_groups
    from . import pair

    test = pair.few(s, s.per_class, 0).test
    names = [test.classes[label] for label in test.labels.tolist()]
    return test.subset(sorted(some_groups(names, s.mapped["classes"], s.mapped["images"])))


def places(profile: Profile, method: str, seed: int) -> np.ndarray:
    """t-SNE of a student's embeddings of the `mapped` images: (n, 2)."""
    from ..views.embedding import tsne

    s = settings(profile)
    return tsne(embeddings(trained(profile, method, seed), mapped(s)), perplexity=s.mapped["perplexity"])


def embeddings(net: Classifier, split: ImageSet) -> Tensor:
    """(n, D) embeddings of a split as it is, on the CPU."""
    from ..engine import FeatureBank

    bank = FeatureBank(net, split, outputs=("embedding",), keep=False, progress=False)
    return bank.features()
