"""The runs behind lab 14: PAND's two halves, its k, its weight, its prompts, and what neighbourhoods become.

`labkit bench --data aviary-vlm` compares PAND with other methods; here its own parts are taken apart, at one
budget of labels. Every student has the same steps, and what differs between two rows is one option.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data import Batch
from ..losses import neighborhood_relation
from ..losses._inputs import full, unit
from ..methods.pand import PAND
from ..profiles import Profile
from ..rng import permutation

if TYPE_CHECKING:
    from types import SimpleNamespace

    from ..models import Classifier

# PAND's two halves, apart and together. The baseline aligns with fixed anchors, as VL2Lite does.
HALVES: dict[str, dict[str, Any]] = {
    "baseline": {"anchors": "fixed", "weight": 0.0},
    "calibration": {"weight": 0.0},
    "neighbourhood": {"anchors": "fixed"},
    "both": {},
}
# Beside them: what VL2Lite is in the same words, with its text term at half PAND's weight.
VL2LITE = HALVES["baseline"] | {"linguistic": 0.5}
K = 3  # the published number of neighbours
_ORDER = 14  # purpose of a draw: which images share a batch


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict; equal dicts are one run. A seed's most important runs come first."""
    s = profile.lab(14)
    prompts = ["fixed", "ensemble", *(["description"] if s.described else []), "calibrated"]
    for seed in range(seeds):
        for half in HALVES:
            yield {"experiment": "halves", "method": half, "seed": seed}
        yield {"experiment": "halves", "method": "vl2lite", "seed": seed}
        for kind in prompts:
            yield {"experiment": "anchors", "method": kind, "seed": seed}
        for kind in prompts:
            yield {"experiment": "prompts", "method": kind, "seed": seed}
        swept = {"k": s.k, "weight": s.weights, "temperature": s.temperatures}
        for name, values in swept.items():
            for value in values:
                yield {"experiment": name, "method": "pand", "seed": seed, name: value}


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with its validation and test accuracy.

    Of students also 'inside', the share of their neighbours among test images that are of the same species,
    and 'agreement', the share of the teacher's neighbours that are theirs, too.
    """
    experiment, method, seed = job["experiment"], job["method"], job["seed"]
    if experiment == "anchors":
        return {**job, **zero_shot(profile, method, seed)}
    asked = {**HALVES, "vl2lite": VL2LITE}[method] if experiment == "halves" else {}
    if experiment == "prompts":
        asked = {"anchors": method}
    if experiment in ("k", "weight", "temperature"):
        asked = {experiment: job[experiment]}
    return {**job, **_measured(profile, seed, json.dumps(_full(profile.lab(14), asked), sort_keys=True))}


def _full(s: SimpleNamespace, asked: dict[str, Any]) -> dict[str, Any]:
    """All options of a run, so that two experiments know when they mean the same one."""
    usual = {"anchors": "calibrated", "k": K, "temperature": 1, "weight": s.pand["weight"], "linguistic": 1.0}
    found = usual | asked
    return found | {"weight": float(found["weight"])}


@cache  # the sweeps meet in the published setting
def _measured(profile: Profile, seed: int, asked: str) -> dict[str, float]:
    from .. import engine
    from . import pair

    s = profile.lab(14)
    model, module = train(profile, seed, **json.loads(asked)), pair.few(s, s.per_class, seed)
    val, test = engine.evaluate(model, module.val), engine.evaluate(model, module.test)
    teacher = teacher_logits(profile, "calibrated", seed, "test")
    found = {"val": val.accuracy, "test": test.accuracy}
    found |= structure(test.logits, teacher, test.labels, s.training["batch_size"])
    return {name: round(value, 5) for name, value in found.items()}


# Anchors ----------------------------------------------------------------------------------------------------


def anchors_of(profile: Profile, kind: str, seed: int) -> Tensor:
    """One unit vector (C, E) per class, on the CPU.

    Args:
        profile: of which the settings are.
        kind: 'fixed' for the preset's sentence; 'ensemble' for all templates of the data set around the
            names; 'description' for the sentence with every attribute; 'calibrated' for a learned context.
        seed: of the labels that the calibration sees.
    """
    from ..data.prompts import templates
    from . import pair, vlm

    s = profile.lab(14)
    if kind == "calibrated":
        return vlm.calibrated(s, seed, s.per_class).text.cpu()
    module = pair.few(s, s.per_class, seed)
    name = s.data if isinstance(s.data, str) else s.data["name"]
    written = {"fixed": [s.prompts], "ensemble": templates(name), "description": [s.described]}[kind]
    return vlm.load(s).zero_shot([module.prompts(template) for template in written]).cpu()


def teacher_logits(profile: Profile, kind: str, seed: int, split: str) -> Tensor:
    """What the vision-language model says of a split's images (N, E) by these anchors: (N, C) logits.

    With the scale that VL2Lite and PAND use, and the images as they are.
    """
    from . import pair, vlm

    s = profile.lab(14)
    features = vlm.features(s, getattr(pair.few(s, s.per_class, seed), split)).features()
    return PAND.published_scale * features @ anchors_of(profile, kind, seed).T


def zero_shot(profile: Profile, kind: str, seed: int) -> dict[str, float]:
    """Validation and test accuracy of the model itself with these anchors."""
    from . import pair

    s = profile.lab(14)
    module = pair.few(s, s.per_class, seed)
    hits = {
        split: teacher_logits(profile, kind, seed, split).argmax(1) == getattr(module, split).labels.cpu()
        for split in ("val", "test")
    }
    return {split: round(hit.double().mean().item(), 5) for split, hit in hits.items()}


# Students ---------------------------------------------------------------------------------------------------


class Own(PAND):
    """PAND with an objective, or a neighbourhood term, that is handed over: the notebook's, or a variant.

    Args:
        objective: (student's output, labels, v, anchors, condensed images, condensed texts, w, k, weight,
            T of the text term) -> the loss of a batch; None takes PAND's.
        temperature: what the teacher's logits are divided by in the neighbourhood term.
        options: of `PAND`; its own `temperature` stays that of the text term.
    """

    def __init__(
        self, *args: Any, objective: Callable[..., Tensor] | None = None, nlrd_temperature: float = 1.0,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(*args, **options)
        self.objective, self.nlrd_temperature = objective, nlrd_temperature

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        if self.objective is None and self.nlrd_temperature == 1:
            return super().losses(batch, progress)
        if self.objective is None:
            terms, student, teacher = self.aligned(batch, progress)
            nlrd = neighborhood_relation(student.logits, teacher.logits / self.nlrd_temperature, self.k)
            return terms | {"total": terms["total"] + self.weight * nlrd, "nlrd": nlrd}
        student, v = self.student(batch.image), self.ask_teacher(batch).embedding
        student = student._replace(logits=full(student.logits), embedding=full(student.embedding))
        t, share = self.teacher.anchors, self.balance(progress)
        condensed = full(self.image_layer(v)), full(self.text_layer(t))
        with torch.autocast(v.device.type, enabled=False):
            total = self.objective(
                student, batch.label, v, t, *condensed, share, self.k, self.weight, self.temperature
            )
        return {"total": total}


def train(
    profile: Profile,
    seed: int,
    *,
    anchors: str | Tensor = "calibrated",
    objective: Callable[..., Tensor] | None = None,
    k: int = K,
    weight: float | None = None,
    temperature: float = 1.0,
    linguistic: float = 1.0,
    progress: bool | None = None,
) -> Classifier:
    """One student of PAND's second stage, trained.

    Args:
        profile: of which the settings are.
        seed: draws labels, initialisation and order.
        anchors: a kind of anchors, or (C, E) unit vectors.
        objective, k: see `Own`.
        weight: of the neighbourhood term; None takes the preset's.
        temperature: of the teacher's logits in the neighbourhood term.
        linguistic: weight of the text term.
        progress: show bars.

    Returns:
        The student with the weights that were best on validation images.
    """
    from . import pair, vlm

    s = profile.lab(14)
    made = anchors_of(profile, anchors, seed) if isinstance(anchors, str) else anchors
    options = dict(s.pand) if weight is None else {**s.pand, "weight": weight}
    recipe = {name: options.pop(name) for name in pair.RECIPE if name in options}
    student = pair.create(s, "scratch", seed, s.per_class).deployed()  # the same for every run of a seed
    told = {"objective": objective, "k": k, "nlrd_temperature": temperature, "linguistic": linguistic}
    method = Own(student, vlm.load(s), anchors=made, **told, **options)
    return pair.fit(s, method, seed, s.per_class, progress=progress, **recipe).model


# Neighbourhoods ---------------------------------------------------------------------------------------------


def nearest(logits: Tensor, k: int) -> Tensor:
    """Positions (B, k) of the k nearest rows of logits (B, C) by cosine, without the row itself."""
    direction = unit(full(logits))
    return (direction @ direction.T).fill_diagonal_(-torch.inf).topk(k, dim=1).indices


def structure(logits: Tensor, teacher: Tensor, labels: Tensor, size: int, k: int = K) -> dict[str, float]:
    """What a network's neighbourhoods look like, over fixed random batches.

    Args:
        logits: (N, C) of the network.
        teacher: (N, C) of its teacher.
        labels: (N,).
        size: of a batch; what fills none is left out.
        k: neighbours.

    Returns:
        'inside', the share of neighbours of the same class; 'agreement', the share of the teacher's
        neighbours that are the network's, too.
    """
    same, shared = [], []
    for rows in permutation(len(labels), 0, _ORDER).split(size):
        if len(rows) == size:
            ours, theirs = nearest(logits[rows], k), nearest(teacher[rows], k)
            same.append((labels[rows][ours] == labels[rows][:, None]).double().mean())
            shared.append((ours[:, :, None] == theirs[:, None]).any(2).double().mean())
    return {"inside": torch.stack(same).mean().item(), "agreement": torch.stack(shared).mean().item()}


def same_class(
    logits: Tensor, labels: Tensor, size: int, k: int = K, each: int | None = None, draws: int = 20
) -> tuple[float, float]:
    """Share of the k nearest neighbours in a batch that are of the same class, and the most it could be.

    Args:
        logits: (N, C) of the network that chooses.
        labels: (N,).
        size: images in a batch.
        k: neighbours.
        each: images of every class in a class-balanced batch; None for a random batch.
        draws: batches to average over.
    """
    found, possible = [], []
    for draw in range(draws):
        rows = _batch(labels, size, each, draw)
        same = labels[rows][nearest(logits[rows], k)] == labels[rows][:, None]
        partners = (labels[rows][:, None] == labels[rows]).sum(1) - 1
        found.append(same.double().mean())
        possible.append((partners.clamp(max=k) / k).double().mean())
    return torch.stack(found).mean().item(), torch.stack(possible).mean().item()


def _batch(labels: Tensor, size: int, each: int | None, draw: int) -> Tensor:
    """Positions of a random batch; with `each`, so many images of each of some classes."""
    order = permutation(len(labels), draw, _ORDER)
    if each is None:
        return order[:size]
    classes = permutation(int(labels.max()) + 1, draw, _ORDER).tolist()
    kept: Sequence[Tensor] = [order[labels[order] == c][:each] for c in classes]
    return torch.cat([rows for rows in kept if len(rows) == each][: size // each])
