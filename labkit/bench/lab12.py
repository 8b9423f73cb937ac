"""The runs behind lab 12: KD(CLIP)'s logit scale, the halves of VL2Lite, a target that moves, and looks.

`labkit bench --data aviary-vlm` compares the methods; here, at one budget and with that comparison's chosen
options, one question each.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain, count, islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..profiles import Profile, preset

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Batch, ImageSet
    from ..engine import Evaluation, FeatureBank, PartAttention
    from ..models import Classifier, VisionLanguage
    from ..views import Table
    from .results import Results

# What of VL2Lite's alignment is there; 'stopped' keeps the image layer as it was initialised, which is what a
# stop-gradient on the target of L_img leaves of it.
TERMS = {
    "both": {},
    "image": {"linguistic": 0.0},
    "text": {"visual": 0.0},
    "stopped": {},
}
COMPARISON = "aviary-vlm"
STUDENTS = ("scratch", "kd_clip", "vl2lite")  # whose looks are measured
CONTROLS = ("chance", "centre", "bird", "best")


def settings(profile: Profile) -> SimpleNamespace:
    """Lab 12's settings, with those of the comparison that they name."""
    own = vars(profile.lab(12))
    return SimpleNamespace(**(vars(preset(own["like"])) if "like" in own else {}) | own)


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict, seed by seed; equal dicts are one run."""
    s = settings(profile)
    for seed in range(seeds):

        def job(experiment: str, method: str, seed: int = seed, **how: Any) -> dict[str, Any]:
            return {"experiment": experiment, "method": method, "seed": seed, "per_class": s.per_class, **how}

        for terms in TERMS:
            yield job("terms", "vl2lite", terms=terms)
        for terms in ("both", "stopped"):
            yield job("spread", "vl2lite", terms=terms)
        for method in STUDENTS:
            yield job("looks", method, at="share")
            yield job("looks", method, at="fixed")
        for control in CONTROLS:
            yield job("looks", control, at="share")
        yield job("control", "label_smoothing")
        for scale in s.scales:
            yield job("scale", "kd_clip", scale=float(scale))


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with what was measured.

    'looks' measures as 'mass' the attention-on-part score of a student or of a control on the same images,
    'spread' as 'examples' the spread of the condensed images in each epoch.
    """
    s, seed, experiment = settings(profile), job["seed"], job["experiment"]
    if experiment == "looks":
        who = job["method"] if job["method"] in STUDENTS else STUDENTS[0]
        found = _looked(profile, who, seed)
        mass = found.mean if job["at"] == "share" and who == job["method"] else None
        name = "fixed" if job["at"] == "fixed" else job["method"]
        return job | {"mass": round(found.controls[name] if mass is None else mass, 5)}
    asked = {"terms": job["terms"]} if "terms" in job else {}
    if experiment == "scale" and job["scale"] != s.own:
        asked = {"logit_scale": job["scale"]}
    model, accuracy, history = _trained(profile, job["method"], seed, json.dumps(asked))
    if experiment == "spread":
        return job | {"examples": [round(x, 4) for x in history["spread"]]}
    return job | {"val": round(accuracy, 5), "test": round(_on_test(s, seed, model), 5)}


def student(profile: Profile, method: str, seed: int, terms: str = "both", **how: Any) -> Any:
    """The run of one student with the comparison's chosen options.

    Args:
        profile: of which the settings are.
        method: a name of `methods.available()`.
        seed: draws labels, initialisation and order.
        terms: of VL2Lite, a name of TERMS.
        how: other options of the method, and `progress`.
    """
    from . import pair

    s = settings(profile)
    progress = how.pop("progress", None)
    options = {**s.methods.get(method, s.smoothing), **how, **TERMS[terms]}
    recipe = {name: options.pop(name) for name in pair.RECIPE if name in options}
    made = pair.create(s, method, seed, s.per_class, **options)
    if terms == "stopped":
        made.image_layer.requires_grad_(False)
    return pair.fit(s, made, seed, s.per_class, progress=progress, **recipe)


@cache  # several experiments share a run
def _trained(profile: Profile, method: str, seed: int, asked: str) -> tuple[Classifier, float, Any]:
    """A student of one method with its options, as JSON; its validation accuracy and its history."""
    done = student(profile, method, seed, **json.loads(asked))
    return done.model, done.accuracy, done.history


@cache
def _looked(profile: Profile, method: str, seed: int) -> PartAttention:
    s = settings(profile)
    asked = {"terms": "both"} if method == "vl2lite" else {}
    model, _, _ = _trained(profile, method, seed, json.dumps(asked))
    return attention({method: model}, some(s))[method]


def some(s: SimpleNamespace) -> ImageSet:
    """The test images whose looks are measured, the same for every seed."""
    from . import pair

    return pair.few(s, s.per_class, 0).test.few(s.look_per_class, seed=0)


def _on_test(s: SimpleNamespace, seed: int, model: Classifier) -> float:
    from ..engine import evaluate
    from . import pair

    return evaluate(model, pair.few(s, s.per_class, seed).test).accuracy


# What the lab runs live -------------------------------------------------------------------------------------


def replay(
    bank: FeatureBank, batch_size: int, steps: int, device: str | None = None, seed: int = 0
) -> Iterator[Batch]:
    """`steps` shuffled batches of the images and views that a bank has stored, epoch after epoch."""
    from ..data import Batch

    epochs = (bank.batches(batch_size, epoch=epoch, seed=seed) for epoch in count())
    for batch in islice(chain.from_iterable(epochs), steps):
        stored = {name: rows.to(device) for name, rows in batch.stored.items()}
        yield Batch(*(column.to(device) for column in batch[:4]), stored)


def telling(first: Evaluation, second: Evaluation, n: int = 4) -> Tensor:
    """Positions of n images that the first is right about and the second takes for another class.

    The images lie evenly over the split, so that they show several classes.
    """
    import torch

    lost = ((first.predictions == first.labels) & (second.predictions != second.labels)).nonzero()[:, 0]
    return lost[torch.linspace(0, len(lost) - 1, min(n, len(lost))).long()]


def attention(nets: Mapping[str, Classifier], split: ImageSet) -> dict[str, PartAttention]:
    """The attention-on-part score of each network; none outside the Aviary, where nobody knows the parts."""
    from ..data.aviary import AviarySet
    from ..engine import attention_on_parts

    known = isinstance(split, AviarySet)
    return {name: attention_on_parts(net, split) for name, net in nets.items()} if known else {}


def with_drop_path(vlm: VisionLanguage, rate: float) -> VisionLanguage:
    """A copy of a model whose image tower drops residual branches at this rate, in train mode alone.

    In eval mode it is the model itself. VL2Lite's configuration builds its teacher so.
    """
    from timm.layers import DropPath
    from torch import nn

    other = copy.deepcopy(vlm)
    for module in other.clip.visual.modules():
        if hasattr(module, "drop_path"):  # timm's ConvNeXt
            module.drop_path = DropPath(rate)
        elif hasattr(module, "ls_1") and hasattr(module, "ls_2"):  # open_clip's own transformer
            module.ls_1, module.ls_2 = (nn.Sequential(m, DropPath(rate)) for m in (module.ls_1, module.ls_2))
    return other


# The tables -------------------------------------------------------------------------------------------------


def comparison(profile: Profile) -> SimpleNamespace:
    """The comparison's settings with those of its rows that the lab draws: others need not be done.

    Under any profile the tables are those of the miniature.
    """
    from .matrix import setting

    s = setting(COMPARISON)
    s.methods = {name: options for name, options in s.methods.items() if name in profile.lab(12).compared}
    s.references = ["zero-shot"]
    return s


def by_budget(results: Results, profile: Profile) -> Table:
    """The rows that the lab draws, at every budget where all of them are done, and differences at one."""
    from ..views import Table
    from .matrix_read import accuracy, done, gain, shown
    from .matrix_rows import KINDS, REFERENCES

    s, reported = comparison(profile), profile.lab(12).reported
    found, columns = done(results, s), shown(results, s)
    at = {"per_class": reported}
    words = {"zero-shot": REFERENCES["zero-shot"].words} | {m: KINDS[m].words for m in s.methods}
    rows = []
    for name, word in words.items():
        less = ["" if name == other else gain(found, name, other, at) for other in ("zero-shot", "scratch")]
        rows.append([word, *(accuracy(found, name, where) for where in columns.values()), *less])
    seeds = len(found.select(method="scratch", **at))
    note = f"Test accuracy, %; mean ± 95 % interval, {seeds} seeds at {reported} labels: {results.command}"
    heads = [f"minus {word}, {reported} labels" for word in ("zero-shot", "alone")]
    return Table(["", *columns, *heads], rows, note=note)


def gains(runs: Mapping[str, list[float]], against: list[str], label: str, note: str = "") -> Table:
    """Accuracy of each row, and its paired difference from some of them.

    Args:
        runs: name -> accuracies by seed, the same seeds for all.
        against: names of rows.
        label: head of the first column.
        note: a line below.
    """
    from ..views import Table
    from .stats import interval, paired

    rows = [
        [name, interval(values), *("" if name == other else paired(values, runs[other]) for other in against)]
        for name, values in runs.items()
    ]
    return Table([label, "test accuracy, %", *(f"minus {other}" for other in against)], rows, note=note)


def looks(results: Results) -> dict[str, list[float]]:
    """The attention-on-part scores by seed of every student, in words, and beside it its own fixed map's."""
    from .matrix_rows import KINDS

    found = {}
    for method in STUDENTS:
        for at, words in (("share", KINDS[method].words), ("fixed", "its mean map, for every image")):
            where = {"experiment": "looks", "method": method, "at": at}
            found[words if at == "share" else f"{KINDS[method].words}: {words}"] = results.values(
                "mass", **where
            )
    return found
