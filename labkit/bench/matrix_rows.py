"""The rows of a comparison: what is trained in each, and what stands beside them for reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from . import pair

if TYPE_CHECKING:
    from ..engine import Evaluation
    from ..models import Classifier


@dataclass(frozen=True)
class Kind:
    """A row of the table: its words, the method behind it, and the options that make it what it is.

    `maps` says whether it reads the teacher's feature maps, `cost` how long a run takes beside the shortest,
    `student` what it builds the student with beside the preset's options, `first` which of the preset's
    first stages it builds on.
    """

    words: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    maps: bool = False
    cost: float = 1.0
    student: dict[str, Any] = field(default_factory=dict)
    first: tuple[str, ...] = ()


_PRETRAINED = {"weights": "pretrained"}  # where the teacher starts, too
_FEATURE, _LABELS = {"transfer": "feature"}, {"sia_weight": 0.0, "ira_weight": 0.0}
_CALIBRATED = ("stage1", "calibration")
KINDS = {
    "scratch": Kind("student alone", "scratch"),
    "label_smoothing": Kind("label smoothing", "label_smoothing"),
    "finetuned": Kind("pretrained student alone", "scratch", student=_PRETRAINED),
    "hinton": Kind("Hinton's KD", "hinton"),
    "hinton finetuned": Kind("Hinton's KD, pretrained student", "hinton", student=_PRETRAINED),
    "takd": Kind("teacher assistant", "takd", cost=2.7),
    "pre_fc": Kind("pre-fc feature", "pre_fc"),
    "fitnet": Kind("FitNet, joint", "fitnet", maps=True, cost=1.1),
    "fitnet two-phase": Kind("FitNet, two phases", "fitnet", {"phases": 2}, maps=True, cost=1.1),
    "attention": Kind("attention transfer", "attention", maps=True, cost=1.2),
    "attention + kd": Kind("attention transfer + KD", "attention", {"kd_weight": 1.0}, maps=True, cost=1.2),
    "reviewkd": Kind("ReviewKD", "reviewkd", maps=True, cost=1.8),
    "rkd": Kind("RKD", "rkd"),
    "kd_clip": Kind("KD(CLIP)", "kd_clip"),
    "rkd_clip": Kind("RKD(CLIP)", "rkd_clip"),
    "takd_clip": Kind("TAKD(CLIP)", "takd_clip", cost=2.5),
    "vl2lite": Kind("VL2Lite", "vl2lite"),
    "dait ce": Kind("DAIT-F, intermediate by labels alone", "dait", _FEATURE | _LABELS),
    "dait-l": Kind("DAIT-L", "dait", {"transfer": "logit"}, first=("stage1",)),
    "dait-f": Kind("DAIT-F", "dait", _FEATURE, first=("stage1",)),
    "pand": Kind("PAND", "pand", {"anchors": "calibrated"}, first=("calibration",)),
    "dait + pand": Kind(
        "DAIT-F + PAND's anchors", "dait", _FEATURE | {"anchors": "calibrated"}, first=_CALIBRATED
    ),
}


@dataclass(frozen=True)
class Reference:
    """A row without a student; `first` as for `Kind`, `tunes` names the one that its tuning decides."""

    words: str
    first: tuple[str, ...] = ()
    tunes: str = ""


REFERENCES = {
    "teacher": Reference("teacher"),
    "zero-shot": Reference("CLIP, zero-shot"),
    "calibrated": Reference("CLIP, PAND's anchors", ("calibration",), "calibration"),
    "intermediate": Reference("DAIT's intermediate", ("stage1",), "stage1"),
    "intermediate + pand": Reference("DAIT's intermediate, PAND's anchors", _CALIBRATED),
}


def job_of(experiment: str, method: str, seed: int, per_class: int | None, **options: Any) -> dict[str, Any]:
    """A run, as its row in the results file begins."""
    return {"experiment": experiment, "method": method, "seed": seed, "per_class": per_class, **options}


def first_stages(s: SimpleNamespace, row: str) -> dict[str, Any]:
    """The chosen options of the first stages that a row builds on, for the record of its runs."""
    names = {**REFERENCES, **KINDS}[row].first
    return {name: dict(getattr(s, name)) for name in names if hasattr(s, name)}


def reference(
    s: SimpleNamespace, row: str, seed: int, per_class: int | None, **options: Any
) -> tuple[Classifier | None, Any, float]:
    """What a row of REFERENCES is: a network or the model's anchors, and its validation accuracy.

    Args:
        s: the preset's settings.
        row: a name of REFERENCES.
        seed, per_class: of the label budget.
        options: tried ones of the first stage that the row tunes, beside the preset's.

    Returns:
        The network, or None for the vision-language model; the model's anchors, None for the prompts as they
        are; the accuracy.
    """
    if row == "teacher":
        net, accuracy = pair.adapted(s, seed, per_class)
        return net, None, accuracy
    from . import vlm

    if row.startswith("intermediate"):
        anchors = "fixed" if row == "intermediate" else "calibrated"
        net, accuracy = vlm.intermediate(s, seed, per_class, anchors=anchors, **options)
        return net, None, accuracy
    anchors = None
    if row == "calibrated":
        tried = SimpleNamespace(**vars(s) | {"calibration": {**s.calibration, **options}})
        anchors = vlm.calibrated(tried, seed, per_class)
    module = pair.few(s, per_class, seed)
    return None, anchors, vlm.zero_shot_on(s, module, module.val, anchors).accuracy


def evaluated(
    s: SimpleNamespace, seed: int, per_class: int | None, net: Classifier | None, anchors: Any
) -> Evaluation:
    """A network, or the vision-language model with these anchors, on the test images."""
    from ..engine import evaluate

    module = pair.few(s, per_class, seed)
    if net is not None:
        return evaluate(net, module.test)
    from . import vlm

    return vlm.zero_shot_on(s, module, module.test, anchors)
