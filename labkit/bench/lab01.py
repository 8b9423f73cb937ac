"""The runs behind lab 01: tuning and budget on validation, then the comparison and the two sweeps on test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

from ..profiles import Profile

TUNING_SEEDS = (100, 101, 102)  # never reported
# Six configurations for each method, tried on validation alone.
CONFIGURATIONS: dict[str, list[dict[str, Any]]] = {
    "scratch": [{"lr": lr, "weight_decay": wd} for lr, wd in product((0.001, 0.003, 0.01), (0.0, 0.01))],
    "label_smoothing": [{"lr": lr, "smoothing": s} for lr, s in product((0.003, 0.01), (0.05, 0.1, 0.2))],
    "hinton": [{"temperature": t, "hard_weight": w} for t, w in product((2.0, 4.0, 8.0), (0.1, 0.5))],
}


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict; equal dicts are one run."""
    s = profile.lab(1)
    best = chosen(s)
    for seed in TUNING_SEEDS:
        for method, options in CONFIGURATIONS.items():
            for option in options:
                yield _job("tuning", method, seed, s.per_class, option)
        for budget, method in product(s.budgets, ("scratch", "hinton")):
            yield _job("budget", method, seed, budget, best[method])
    for seed in range(seeds):
        yield _job("main", "teacher", seed, None, {})
        for method, option in best.items():
            yield _job("main", method, seed, s.per_class, option)
        for t in s.temperatures:
            yield _job(
                "temperature",
                "hinton",
                seed,
                s.per_class,
                {"temperature": float(t), "hard_weight": s.hard_weight},
            )
        for w in s.hard_weights:
            yield _job(
                "hard_weight", "hinton", seed, s.per_class, {"temperature": s.temperature, "hard_weight": w}
            )


def chosen(settings) -> dict[str, dict[str, Any]]:
    """The options of each method that the preset took from the tuning runs."""
    return {
        "scratch": {"weight_decay": settings.scratch_weight_decay},
        "label_smoothing": {"smoothing": settings.smoothing},
        "hinton": {"temperature": settings.temperature, "hard_weight": settings.hard_weight},
    }


def _job(
    experiment: str, method: str, seed: int, per_class: int | None, options: dict[str, Any]
) -> dict[str, Any]:
    return {"experiment": experiment, "method": method, "seed": seed, "per_class": per_class, **options}


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with its validation accuracy and, outside tuning, its test accuracy."""
    from .. import data, engine

    s = profile.lab(1)
    reported = job["seed"] not in TUNING_SEEDS
    if job["method"] == "teacher":
        model, accuracy = teacher(profile, job["seed"])
    else:
        module = data.load(s.data, seed=job["seed"], per_class=job["per_class"])
        options = {k: v for k, v in job.items() if k not in ("experiment", "method", "seed", "per_class")}
        guide = teacher(profile, job["seed"])[0] if job["method"] == "hinton" else None
        done = train(profile, job["method"], module, job["seed"], guide, **options)
        model, accuracy = done.model, done.accuracy
    row = {**job, "val": round(accuracy, 5)}
    if reported:
        row["test"] = round(engine.evaluate(model, data.load(s.data, seed=job["seed"]).test).accuracy, 5)
    return row


@cache
def teacher(profile: Profile, seed: int):
    """The seed's teacher, trained on all its training labels, and its validation accuracy."""
    from .. import data, engine, methods, models
    from ..rng import seed_everything

    s = profile.lab(1)
    module = data.load(s.data, seed=seed)
    seed_everything(seed)
    model = models.build(num_classes=module.num_classes, **s.teacher)
    done = engine.fit(methods.create("scratch", student=model), module, seed=seed, **s.teacher_training)
    return done.model, done.accuracy


def train(
    profile: Profile, method: str, module, seed: int, guide=None, *, out=None, progress=None, **options
):
    """Train one student on `module`: fixed steps at every budget, initialised from the seed.

    `options` are the method's own and, of the recipe, `lr` and `weight_decay`.
    """
    from .. import engine, methods, models
    from ..rng import seed_everything

    s = profile.lab(1)
    recipe = s.training | {k: options.pop(k) for k in ("lr", "weight_decay") if k in options}
    seed_everything(seed)
    student = models.build(num_classes=module.num_classes, **s.student)
    made = methods.create(method, student=student, teacher=guide, **options)
    return engine.fit(made, module, seed=seed, out=out, overwrite=True, progress=progress, **recipe)
