"""The runs behind lab 04: which layer, which weight, features with and without responses, what they change.

`labkit bench --data aviary` compares the methods; here one question each: the layer of the hint and of the
attention map, what is left of the hint when the maps are pooled, variants that take a method apart, hints and
responses together (each alone stands in that comparison), how alike the layers of student and teacher are
(CKA), and, on digits, the weight of the matched embedding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

from ..profiles import Profile
from .lab04_seen import LAYERS, layer_cka

if TYPE_CHECKING:
    from ..methods import Method
    from ..models import Classifier

EVERYTHING = ("logits", "embedding", *(f"maps.{layer}" for layer in LAYERS))  # of a teacher, encoded once


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict; equal dicts are one run. Jobs of one seed follow each other."""
    s = profile.lab(4)
    for seed in range(seeds):
        for kind in s.combined:
            yield {"experiment": "combine", "method": kind, "seed": seed}
        if seed < s.sweep_seeds:
            yield from _sweeps(s, seed)
    for seed, weight in product(range(s.digits["seeds"]), s.digits["weights"]):
        yield {"experiment": "weight", "method": "pre_fc on digits", "seed": seed, "weight": float(weight)}


def _sweeps(s: Any, seed: int) -> Iterator[dict[str, Any]]:
    for kind in ("untrained", *s.compared):
        for student_layer, teacher_layer in product(LAYERS, LAYERS):
            where = {"student_layer": student_layer, "teacher_layer": teacher_layer}
            yield {"experiment": "cka", "method": kind, "seed": seed, **where}
    for method, layer in product(s.layer_options, LAYERS):
        yield {"experiment": "layer", "method": method, "seed": seed, "layer": layer}
    for side in s.pooled:
        yield {"experiment": "pool", "method": "fitnet", "seed": seed, "pool": side}
    for name in s.variants:
        yield {"experiment": "variant", "method": name, "seed": seed}


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with its validation and test accuracy, or as 'test' what was measured on test images.

    For 'cka' that is the similarity of two layers.
    """
    experiment, method, seed = job["experiment"], job["method"], job["seed"]
    if experiment == "cka":
        found = _similarities(profile, method, seed)[job["student_layer"]][job["teacher_layer"]]
        return {**job, "test": round(float(found), 5)}
    if experiment == "weight":
        return {**job, "test": round(pre_fc_on_digits(profile, job["weight"], seed), 5)}
    return {**job, **_accuracies(profile, seed, json.dumps(_asked(profile.lab(4), job), sort_keys=True))}


def _asked(s: Any, job: dict[str, Any]) -> dict[str, Any]:
    """The method of a job with its options."""
    method = job["method"]
    match job["experiment"]:
        case "combine":
            return s.kinds[method]
        case "variant":
            return s.variants[method]
        case "layer":
            return {"method": method, **s.layer_options[method], "layers": [job["layer"]]}
    return {"method": method, **s.layer_options[method], "layers": [LAYERS[-1]], "pool": job["pool"]}


def student(profile: Profile, kind: str, seed: int, **how: Any) -> Classifier:
    """One of the compared students, trained.

    Args:
        profile: of which the settings are.
        kind: one of the preset's `kinds`, or 'untrained'.
        seed: draws labels, initialisation and order.
        how: options of `pair.fit`, such as `progress`.
    """
    from . import pair

    s = profile.lab(4)
    if kind == "untrained":
        return pair.create(s, "scratch", seed, s.per_class).deployed().eval()
    return distil(s, s.kinds[kind], seed, **how)[1]


def distil(s: Any, options: dict[str, Any], seed: int, **how: Any) -> tuple[Method, Classifier]:
    """Train by a method and its options: the method, whose connectors were trained too, and the student.

    Args:
        s: the lab's settings.
        options: `method`, its own options and, of the recipe, `pair.RECIPE`. With `fused: false` ReviewKD
            compares every level by itself: no gate lets in what the deeper levels know.
        seed: draws labels, initialisation and order.
        how: options of `pair.fit`, such as `progress`.
    """
    from . import pair

    options = dict(options)
    recipe = {name: options.pop(name) for name in pair.RECIPE if name in options}
    fused = options.pop("fused", True)
    made = pair.create(s, options.pop("method"), seed, s.per_class, **options)
    for fusion in () if fused else made.fusions:
        fusion.gate = None
    return made, pair.fit(s, made, seed, s.per_class, bank=s.bank, **recipe, **how).model


@cache  # several experiments share a run
def _trained(profile: Profile, seed: int, asked: str) -> Classifier:
    """The student of one method with its options, as JSON."""
    from . import pair

    s = profile.lab(4)
    if s.bank:  # what any of the methods needs of the seed's teacher, encoded once
        teacher, _ = pair.adapted(s, seed, s.per_class)
        pair.teacher_bank(s, seed, s.per_class, teacher, EVERYTHING)
    return distil(s, json.loads(asked), seed)[1]


@cache
def _accuracies(profile: Profile, seed: int, asked: str) -> dict[str, float]:
    from .. import engine
    from . import pair

    model, s = _trained(profile, seed, asked), profile.lab(4)
    module = pair.few(s, s.per_class, seed)
    splits = {name: getattr(module, name) for name in ("val", "test")}
    return {name: round(engine.evaluate(model, split).accuracy, 5) for name, split in splits.items()}


def _student(profile: Profile, kind: str, seed: int) -> Classifier:
    if kind == "untrained":
        return student(profile, kind, seed)
    return _trained(profile, seed, json.dumps(profile.lab(4).kinds[kind], sort_keys=True))


@cache
def _similarities(profile: Profile, kind: str, seed: int) -> list[list[float]]:
    from . import pair

    s = profile.lab(4)
    teacher, _ = pair.adapted(s, seed, s.per_class)
    split = pair.few(s, s.per_class, seed).test.few(s.cka_per_class, seed=0)
    return layer_cka(_student(profile, kind, seed), teacher, split).tolist()


@cache
def digits_teacher(profile: Profile) -> Classifier:
    """Lab 01's teacher, trained on all labelled digits: frozen, in eval mode."""
    from .. import data, engine, methods, models
    from ..rng import seed_everything

    seed_everything(0)
    teacher = models.build("digit_teacher", 10)
    options = profile.lab(4).digits["teacher_training"]
    engine.fit(
        methods.create("scratch", student=teacher),
        data.load("digits", seed=0),
        seed=0,
        progress=False,
        **options,
    )
    return teacher.requires_grad_(False).eval()


def pre_fc_on_digits(profile: Profile, weight: float, seed: int) -> float:
    """Test accuracy of lab 01's student on few digits, with `weight` times the embedding's difference."""
    from .. import data, engine, methods, models
    from ..rng import seed_everything

    s = profile.lab(4).digits
    digits = data.load("digits", seed=0, per_class=s["per_class"])
    seed_everything(seed)
    student = models.build("digit_student", 10)
    method = methods.create("pre_fc", student=student, teacher=digits_teacher(profile), weight=weight)
    run = engine.fit(method, digits, seed=seed, progress=False, **s["training"])
    return engine.evaluate(run.model, digits.test).accuracy
