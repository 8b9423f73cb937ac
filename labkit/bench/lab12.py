"""The runs behind lab 12: KD(CLIP)'s logit scale, the halves of VL2Lite, a target that moves, and looks.

`labkit bench --data aviary-vlm` compares the methods; here, at one budget and with that comparison's chosen
options, one question each.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..profiles import Profile, preset
from ..profiles import profile as current

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Batch, ImageSet
    from ..engine import Evaluation, FeatureBank, PartAttention, Run
    from ..methods import Method
    from ..models import Classifier, VisionLanguage

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
    """Every run as a flat dict, the most telling first; equal dicts are one run."""
    s = settings(profile)

    def job(experiment: str, method: str, **how: Any) -> list[dict[str, Any]]:
        labels = {"per_class": s.per_class}
        return [
            {"experiment": experiment, "method": method, "seed": i, **labels, **how} for i in range(seeds)
        ]

    for method in STUDENTS:
        if method != "vl2lite":  # that is among the terms
            yield from job("alone" if method == "scratch" else "scale", method, **_own(s, method))
        for at in ("share", "fixed"):
            yield from job("looks", method, at=at)
    for control in CONTROLS:
        yield from job("looks", control, at="share")
    for terms in ("both", "stopped"):
        yield from job("terms", "vl2lite", terms=terms)
        yield from job("spread", "vl2lite", terms=terms)
    scales = sorted(set(s.scales) - {s.own}, key=lambda x: -abs(math.log(x / s.own)))
    for scale in scales[:2]:  # the ends
        yield from job("scale", "kd_clip", scale=float(scale))
    for terms in ("image", "text"):
        yield from job("terms", "vl2lite", terms=terms)
    for scale in scales[2:]:
        yield from job("scale", "kd_clip", scale=float(scale))
    yield from job("alone", "label_smoothing")


def _own(s: SimpleNamespace, method: str) -> dict[str, float]:
    return {"scale": float(s.own)} if method == "kd_clip" else {}


def asked_for(job: dict[str, Any], own: float) -> tuple[str, dict[str, Any]]:
    """The method that a job trains and its options; `own` is the model's scale, the methods' default.

    The controls of 'looks' are measured on the images of the student alone.
    """
    method = job["method"] if job["method"] not in CONTROLS else "scratch"
    how = {"terms": job.get("terms", "both")} if method == "vl2lite" else {}
    return method, how | ({"logit_scale": job["scale"]} if job.get("scale", own) != own else {})


def group(job: dict[str, Any]) -> str:
    """Jobs that share a run belong together."""
    return json.dumps([job["seed"], *asked_for(job, settings(current()).own)])


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with what was measured.

    'looks' measures as 'mass' the attention-on-part score of a student or of a control on the same images,
    'spread' as 'examples' the spread of the condensed images in each epoch.
    """
    s, seed, experiment = settings(profile), job["seed"], job["experiment"]
    method, how = asked_for(job, s.own)
    model, accuracy, history = _trained(profile, method, seed, json.dumps(how))
    if experiment == "spread":
        return job | {"examples": [round(x, 4) for x in history["spread"]]}
    if experiment == "looks":
        found = _looked(profile, method, seed, json.dumps(how))
        name = "fixed" if job["at"] == "fixed" else job["method"]
        return job | {"mass": round(found.controls.get(name, found.mean), 5)}
    return job | {"val": round(accuracy, 5), "test": round(_on_test(s, seed, model), 5)}


def student(profile: Profile, method: str, seed: int, terms: str = "both", **how: Any) -> Run:
    """The run of one student with the comparison's chosen options.

    Args:
        profile: of which the settings are.
        method: a name of `methods.available()`.
        seed: draws labels, initialisation and order.
        terms: of VL2Lite, a name of TERMS.
        how: other options of the method, and `progress`.
    """
    from . import pair

    s, progress = settings(profile), how.pop("progress", None)
    options = {**s.methods[method], **how}
    recipe = {name: options.pop(name) for name in pair.RECIPE if name in options}
    made = create(s, method, seed, terms, **options)
    return pair.fit(s, made, seed, s.per_class, progress=progress, **recipe)


def create(s: SimpleNamespace, method: str, seed: int, terms: str = "both", **options: Any) -> Method:
    """A method with its student; of VL2Lite with these terms."""
    from . import pair

    made = pair.create(s, method, seed, s.per_class, **options, **TERMS[terms])
    if terms == "stopped":
        made.image_layer.requires_grad_(False)
    return made


@cache  # several experiments share a run
def _trained(profile: Profile, method: str, seed: int, asked: str) -> tuple[Classifier, float, Any]:
    """A student of one method with its options, as JSON; its validation accuracy and its history."""
    done = student(profile, method, seed, **json.loads(asked))
    return done.model, done.accuracy, done.history


@cache
def _looked(profile: Profile, method: str, seed: int, asked: str) -> PartAttention:
    model, _, _ = _trained(profile, method, seed, asked)
    return attention({method: model}, some(settings(profile)))[method]


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
    from ..data import stream

    shown = {"augment": bank.augment, "views": bank.views, "view_seed": bank.seed}
    for batch in stream(bank.split, batch_size, steps, seed=seed, device=device, **shown):
        yield batch._replace(stored=bank.stored(batch.index, batch.view))


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
            module.drop_path = DropPath(rate).eval()
        elif hasattr(module, "ls_1") and hasattr(module, "ls_2"):  # open_clip's own transformer
            module.ls_1, module.ls_2 = (
                nn.Sequential(m, DropPath(rate)).eval() for m in (module.ls_1, module.ls_2)
            )
    return other
