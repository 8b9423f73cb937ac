"""The runs behind lab 04: which layer, which weight, features with and without responses, what they change.

`labkit bench --data aviary` compares the methods; here one question each: the layer of the hint, hints and
responses together (each alone stands in that comparison), how alike the layers of student and teacher are
(CKA), and, on digits, the weight of the matched embedding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..profiles import Profile

if TYPE_CHECKING:
    from ..data import ImageSet
    from ..engine import Evaluation
    from ..models import Classifier

LAYERS = range(4)
PARTS = ("bird", "telling parts")
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
    s = profile.lab(4)
    asked = s.kinds[method] if experiment == "combine" else s.layer_options[method]
    if experiment == "layer":
        asked = {"method": method, **asked, "layers": [job["layer"]]}
    return {**job, **_accuracies(profile, seed, json.dumps(asked, sort_keys=True))}


def student(profile: Profile, kind: str, seed: int, **how: Any) -> Classifier:
    """One of the compared students, trained.

    Args:
        profile: of which the settings are.
        kind: one of the preset's `kinds`, or 'untrained'.
        seed: draws labels, initialisation and order.
        how: options of `pair.train`, such as `progress`.
    """
    from . import pair

    s = profile.lab(4)
    if kind == "untrained":
        return pair.create(s, "scratch", seed, s.per_class).deployed().eval()
    options = dict(s.kinds[kind])
    return pair.train(s, options.pop("method"), seed, s.per_class, bank=s.bank, **options, **how).model


@cache  # several experiments share a run
def _trained(profile: Profile, seed: int, asked: str) -> Classifier:
    """The student of one method with its options, as JSON."""
    from . import pair

    s, options = profile.lab(4), json.loads(asked)
    if s.bank:  # what any of the methods needs of the seed's teacher, encoded once
        teacher, _ = pair.adapted(s, seed, s.per_class)
        pair.teacher_bank(s, seed, s.per_class, teacher, EVERYTHING)
    return pair.train(s, options.pop("method"), seed, s.per_class, bank=s.bank, **options).model


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


# What networks see ------------------------------------------------------------------------------------------


@torch.no_grad()
def maps_of(
    model: Classifier, split: ImageSet, layers: Sequence[int] = LAYERS, side: int | None = None
) -> list[Tensor]:
    """Feature maps of every image of a split at some layers, each (N, C, h, w) on the CPU, in eval mode.

    Args:
        model: its mode is put back.
        split: N images.
        layers: positions 0..3 among the maps.
        side: larger maps are average-pooled to this side; None keeps them as they are.
    """
    from ..data import batches

    device, mode = next(model.parameters()).device, model.training
    found: list[list[Tensor]] = [[] for _ in layers]
    model.eval()
    for batch in batches(split, 128, device=device):
        maps = model(batch.image).maps
        for kept, layer in zip(found, layers, strict=True):
            x = maps[layer].float()
            kept.append((F.adaptive_avg_pool2d(x, side) if side and x.shape[-1] > side else x).cpu())
    model.train(mode)
    return [torch.cat(kept) for kept in found]


def layer_cka(
    student: Classifier, teacher: Classifier, split: ImageSet, side: int = 4, unbiased: bool = True
) -> Tensor:
    """Linear CKA of every student layer with every teacher layer, (4, 4) float64.

    Args:
        student, teacher: run in eval mode on the same images.
        split: N images, at least 4.
        side: maps are average-pooled to this side, then flattened: coarse places count, fine ones don't.
        unbiased: see `models.cka`.
    """
    from ..models import cka

    ours, theirs = ([x.flatten(1) for x in maps_of(net, split, side=side)] for net in (student, teacher))
    values = [[cka(x, y, unbiased=unbiased) for y in theirs] for x in ours]
    return torch.tensor(values, dtype=torch.float64)


def strongest(model: Classifier, split: ImageSet, layer: int = 3, p: float = 2) -> Tensor:
    """Attention of a network on every image, (N, h, w): mean over channels of |F|^p, each adding up to 1."""
    (features,) = maps_of(model, split, (layer,))
    attention = features.abs().pow(p).mean(1)
    return attention / attention.sum((1, 2), keepdim=True).clamp(min=1e-12)


def telling(teacher: Evaluation, student: Evaluation, n: int = 4) -> Tensor:
    """Positions of n images that the teacher gets right and the student takes for one other class.

    They show the student's most frequent mistake of this kind; where it was made fewer than n times, the next
    most frequent ones follow.
    """
    lost = ((teacher.predictions == teacher.labels) & (student.predictions != student.labels)).nonzero()[:, 0]
    kind = student.labels[lost] * len(student.classes) + student.predictions[lost]
    _, inverse, counts = kind.unique(return_inverse=True, return_counts=True)
    order = (counts[inverse] * len(counts) + inverse).argsort(descending=True, stable=True)
    return lost[order][:n]


def moved(before: nn.Module, after: nn.Module) -> dict[str, float]:
    """How far each part of a network went in training: |after - before| / |before| over its parameters.

    Parts are the first level of names, such as 'stem' and 'head'; of `stages` each for itself.
    """
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        path = name.removeprefix("net.").split(".")
        part = path[1] if path[0] == "stages" else path[0]
        parts.setdefault(part, []).append((old.detach().flatten(), new.detach().flatten()))
    joined = {part: [torch.cat(side) for side in zip(*pairs, strict=True)] for part, pairs in parts.items()}
    return {part: ((new - old).norm() / old.norm()).item() for part, (old, new) in joined.items()}


def looks(split: Any, attention: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """The share of each network's attention that lies on the bird, and on the parts that tell its species.

    Args:
        split: N images of the Aviary; others have no part maps, and give an empty answer.
        attention: name -> (N, h, w), each image's adding up to 1.

    Returns:
        name -> part -> mean share in [0, 1]; 'chance' is the parts' share of the picture, 'centre' what a
        network would reach that always looks at the middle.
    """
    from ..data.aviary import AviarySet, annotate

    if not isinstance(split, AviarySet):
        return {}
    birds = annotate(split)
    masks = dict(zip(PARTS, (birds.parts > 0, birds.discriminative()), strict=True))
    side = next(iter(attention.values())).shape[-1]
    flat = {"chance": torch.ones(1, side, side), "centre": _middle(side)}
    flat = {name: (x / x.sum()).expand(len(split), -1, -1) for name, x in flat.items()}
    return {
        name: {part: _share(mask, values) for part, mask in masks.items()}
        for name, values in (flat | attention).items()
    }


def _share(mask: Tensor, attention: Tensor) -> float:
    covered = F.adaptive_avg_pool2d(mask[:, None].float(), attention.shape[-1])[:, 0]  # of each cell
    return (covered * attention).sum((1, 2)).mean().item()


def _middle(side: int) -> Tensor:
    """A Gaussian over the picture, a quarter of its side wide: (1, side, side)."""
    x = (torch.arange(side) + 0.5) / side - 0.5
    bell = torch.exp(-0.5 * (x / 0.25) ** 2)
    return torch.outer(bell, bell)[None]
