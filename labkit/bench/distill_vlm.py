"""What `labkit distill` does before a student learns from a vision-language model: each part an artefact.

Of a seed's folder, `learned_text_features.safetensors` holds calibrated anchors (PAND's first stage),
`intermediate/` the network between (DAIT's first stage, or the assistant of takd_clip). Each is found there
again when a run is gone on with, and can be given to another run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from . import vlm
from .distill_settings import BETWEEN

if TYPE_CHECKING:
    from ..data import DataModule
    from ..engine import Evaluation
    from ..methods.vlm_teacher import Anchors
    from ..models import Classifier


def prepare(
    s: SimpleNamespace,
    method: str,
    module: DataModule,
    seed: int,
    per_class: int | None,
    own: dict[str, Any],
    out: Path,
    resume: bool,
    found: Callable[[str, str, Evaluation], None],
    between: Callable[[dict[str, Any], str], Classifier | dict[str, Any]],
) -> dict[str, Any]:
    """Zero-shot accuracy, anchors and the network between.

    Args:
        s: the settings.
        method: what the student learns by.
        module: the data of this seed.
        seed, per_class: of the label budget.
        own: the method's options.
        out: the seed's folder.
        resume: go on with what it holds.
        found: is told what was measured: a key, words, the evaluation.
        between: gives a finished network for `s.intermediate`, or options of `build`.

    Returns:
        The options with which `pair.create` makes the method.
    """
    own = dict(own)
    anchors = _anchors(s, method, module, seed, per_class, own, out, found)
    if method not in BETWEEN:
        return own | {"anchors": anchors}
    first = {**own.pop("stage1", {}), **{k: own.pop(k) for k in vlm.FIRST if k in own}}
    net = between(s.intermediate, "intermediate")
    if isinstance(net, dict):
        if method != "dait":
            first |= {k: own[k] for k in ("temperature", "hard_weight") if k in own} | {"method": "kd_clip"}
        if net["weights"] is None:
            told = dict(s.intermediate_training, head_share=0.0)
            s = SimpleNamespace(**vars(s) | {"intermediate_training": told})
        options = {"net": net, "anchors": anchors, "out": out / "intermediate", "resume": resume}
        net, _ = vlm.intermediate(s, seed, per_class, **options, **first)
    from ..engine import evaluate

    found("intermediate", f"intermediate {s.intermediate['name']}", evaluate(net, module.test))
    return own | {"anchors": anchors, "intermediate" if method == "dait" else "assistant": net}


def _anchors(
    s: SimpleNamespace,
    method: str,
    module: DataModule,
    seed: int,
    per_class: int | None,
    own: dict[str, Any],
    out: Path,
    found: Callable[[str, str, Evaluation], None],
) -> Anchors:
    """The anchors that the method shall have, measured beside the prompts."""
    from ..methods import read_calibration

    name = s.vlm if isinstance(s.vlm, str) else s.vlm["name"]
    found("zero-shot", f"{name}, zero-shot", vlm.zero_shot_on(s, module, module.test))
    anchors = own.pop("anchors", "calibrated" if method == "pand" else "fixed")
    if anchors == "fixed":
        return anchors
    words = f"{name}, calibrated prompts"
    if anchors == "calibrated":
        anchors = vlm.calibrated(s, seed, per_class, out=out)
    else:
        anchors = read_calibration(anchors)
    found("calibrated", words, vlm.zero_shot_on(s, module, module.test, anchors))
    return anchors
