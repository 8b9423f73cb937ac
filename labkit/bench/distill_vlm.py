"""What `labkit distill` does before a student learns from a vision-language model: each part an artefact.

Of a seed's folder, `learned_text_features.safetensors` holds calibrated anchors (PAND's first stage),
`intermediate/` the network between (DAIT's first stage, or the assistant of takd_clip). Each is found there
again when a run is gone on with, and can be given to another run.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from . import vlm
from .distill_checks import BETWEEN

if TYPE_CHECKING:
    from ..methods.vlm_teacher import Anchors
    from .distill_seed import OneSeed


def prepare(seed: OneSeed, own: dict[str, Any]) -> dict[str, Any]:
    """Zero-shot accuracy, anchors and the network between.

    Args:
        seed: whose folder and settings are meant.
        own: options of the method.

    Returns:
        The options with which `pair.create` makes the method.
    """
    from ..engine import evaluate

    s, method = seed.s, seed.found.method
    own = dict(own)
    anchors = _anchors(seed, own)
    if method not in BETWEEN:
        return own | {"anchors": anchors}
    first, own = vlm.first_stage(method, own)
    net = seed.network(s.intermediate, "intermediate")
    if isinstance(net, dict):
        if net["weights"] is None:
            told = dict(s.intermediate_training, head_share=0.0)
            s = SimpleNamespace(**vars(s) | {"intermediate_training": told})
        where = {"out": seed.out / "intermediate", "resume": seed.resume}
        net, _ = vlm.intermediate(s, seed.number, seed.per_class, net=net, anchors=anchors, **where, **first)
    seed.note("intermediate", f"intermediate {s.intermediate['name']}", evaluate(net, seed.module.test))
    return own | {"anchors": anchors, "intermediate" if method == "dait" else "assistant": net}


def _anchors(seed: OneSeed, own: dict[str, Any]) -> Anchors:
    """The anchors that the method shall have, taken out of `own`; measured beside the prompts."""
    from ..methods import read_calibration

    s, test = seed.s, seed.module.test
    name = s.vlm if isinstance(s.vlm, str) else s.vlm["name"]
    seed.note("zero-shot", f"{name}, zero-shot", vlm.zero_shot_on(s, seed.module, test))
    anchors = own.pop("anchors", "calibrated" if seed.found.method == "pand" else "fixed")
    if anchors == "fixed":
        return anchors
    if anchors == "calibrated":
        anchors = vlm.calibrated(s, seed.number, seed.per_class, out=seed.out)
    else:
        anchors = read_calibration(anchors)
    words = f"{name}, calibrated prompts"
    seed.note("calibrated", words, vlm.zero_shot_on(s, seed.module, test, anchors))
    return anchors
