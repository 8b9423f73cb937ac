"""Vision-language teachers in a comparison: the model, its bank, its prompts, and what stands between.

`s` is a preset's settings as in `pair`, with these beside them: `vlm` (a name, or options of `load_vlm`),
`prompts` (a template, several, or one sentence per class), `calibration` (options of `calibrate`),
`intermediate` (options of `build`), `intermediate_training` (of `adapt`; without it `teacher_training`) and
`stage1` (options of DAIT's first stage). A frozen network runs once, into a bank; what is made is kept.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from . import pair
from .classes import said_names, texts

if TYPE_CHECKING:
    from ..data import DataModule, FileSet, ImageSet
    from ..engine import Evaluation, FeatureBank
    from ..methods import Calibration, Method
    from ..methods.vlm_teacher import Anchors, ZeroShot
    from ..models import Classifier, VisionLanguage

FIRST = ("sia_weight", "ira_weight", "width", "condensation", "logit_scale")  # only DAIT's first stage reads
LINK = ("temperature", "hard_weight", "ce_weight", "kd_weight")  # options of both links of 'takd_clip'


def load(s: SimpleNamespace) -> VisionLanguage:
    """The vision-language model of the settings, frozen, on a GPU where there is one."""
    from .. import models
    from ..engine.session import default_device

    options = {"name": s.vlm} if isinstance(s.vlm, str) else dict(s.vlm)
    options.setdefault("device", str(default_device()))
    key, kept = pair.key_of(options), pair.KEPT["models"]
    if key not in kept:
        kept[key] = models.load_vlm(**options)
    return kept[key]


def bank(
    s: SimpleNamespace,
    seed: int,
    per_class: int | None,
    *,
    views: int | None = None,
    progress: bool | None = None,
) -> FeatureBank:
    """The model's embeddings of the training images, those of the teacher's bank (`pair.teacher_bank`).

    Args:
        s: the settings. With `keep` the bank lies in the cache, with `whole` it is over all training images
            whatever the budget: every budget, and seed where its images are the same, finds it there.
        seed: of the label budget.
        per_class: labels per class.
        views: fixed augmented views of each image; None takes `s.views`, 0 the images as they are.
        progress: show a bar.
    """
    if getattr(s, "whole", False):
        per_class = None
    views = s.views if views is None else views
    role = "vlm" if views else "vlm, as they are"
    return pair.stored(s, role, load(s), seed, per_class, None, views=views, progress=progress)


def features(s: SimpleNamespace, split: ImageSet | FileSet, *, progress: bool | None = None) -> FeatureBank:
    """The model's embeddings of a split as it is: of validation or test images."""
    from ..engine import FeatureBank
    from ..engine.bank_key import sample_digests, split_digest

    key, kept = pair.key_of(s.vlm, split_digest(split, sample_digests(split))), pair.KEPT["features"]
    if key not in kept:
        kept[key] = FeatureBank(load(s), split, keep=getattr(s, "keep", False), progress=progress)
    return kept[key]


def zero_shot(s: SimpleNamespace, module: DataModule, anchors: Anchors | None = None) -> ZeroShot:
    """The model as a classifier that `evaluate` takes: by the settings' prompts, or by other anchors."""
    from ..methods.vlm_teacher import ZeroShot, class_anchors

    vlm = load(s)
    prompts = texts(s, module) if anchors is None else None
    head, source = class_anchors(vlm, prompts, anchors, said_names(s, module))
    return ZeroShot(vlm, head, vlm.logit_scale, source)


def zero_shot_on(
    s: SimpleNamespace, module: DataModule, split: ImageSet | FileSet, anchors: Anchors | None = None
) -> Evaluation:
    """`evaluate(zero_shot(...), split)`, from features that are stored for the next time."""
    from ..engine import Evaluation

    found, classifier = features(s, split), zero_shot(s, module, anchors)
    logits = classifier.read(found.features().to(classifier.anchors.device)).logits.cpu()
    return Evaluation(logits, found.labels, tuple(split.classes))


def calibrated(
    s: SimpleNamespace,
    seed: int,
    per_class: int | None,
    out: Path | None = None,
    *,
    progress: bool | None = None,
) -> Calibration:
    """PAND's first stage on the images as they are; the epoch is chosen on validation images.

    Args:
        s: the settings; of several templates the first is calibrated.
        seed: draws the labels, the context's start and the order.
        per_class: labels per class.
        out: file or folder to write to; one with the same settings is read instead.
        progress: show a bar.
    """
    from ..methods import calibrate

    options = dict(getattr(s, "calibration", {}))
    key = pair.key_of(s.data, s.vlm, s.prompts, options, seed, per_class)
    kept = pair.KEPT["calibrated"]
    if out is None and key in kept:
        return kept[key]
    module, sentences = pair.few(s, per_class, seed), texts(s, pair.few(s, per_class, seed))
    if not isinstance(sentences[0], str):
        sentences = sentences[0]
    made = kept[key] = calibrate(
        load(s),
        sentences,
        bank(SimpleNamespace(**vars(s) | {"whole": False}), seed, per_class, views=0),
        val=features(s, module.val),
        classes=said_names(s, module),
        out=out,
        seed=seed,
        progress=progress,
        **options,
    )
    return made


def intermediate(
    s: SimpleNamespace,
    seed: int,
    per_class: int | None,
    *,
    net: dict[str, Any] | str | None = None,
    anchors: Anchors = "fixed",
    method: str = "dait",
    out: Path | None = None,
    resume: bool = False,
    progress: bool | None = None,
    **options: Any,
) -> tuple[Classifier, float]:
    """DAIT's first stage alone: a pretrained network, its new head first, adapted with the model's help.

    Its steps are those of `pair.adapted` by the same recipe. Without SIA and IRA it is `pair.adapted`, the
    control.

    Args:
        s: the settings.
        seed: draws the labels, the initialisation and the order.
        per_class: labels per class.
        net: another network than `s.intermediate`: a name, pretrained, or options of `build`.
        anchors: 'fixed' for the prompts, 'calibrated' for PAND's; or a `Calibration`, its file, or (C, E).
        method: 'dait', or 'kd_clip' for plain distillation from the model: the assistant of 'takd_clip'.
        out: folder of the run.
        resume: go on from that folder's last checkpoint.
        progress: show bars.
        options: of DAIT's first stage (or of the method) beside those of `s.stage1`; and of the recipe, lr,
            weight_decay, steps or epochs.

    Returns:
        The network, frozen and in eval mode, the same object for the same arguments; and its validation
        accuracy.
    """
    from ..rng import seed_everything
    from .adapt import adapt, passes

    net = {"name": net, "weights": "pretrained"} if isinstance(net, str) else net or s.intermediate
    recipe = getattr(s, "intermediate_training", s.teacher_training)
    recipe = pair.changed(recipe, {k: options.pop(k) for k in pair.RECIPE if k in options})
    if method == "dait":
        options = {**getattr(s, "stage1", {}), **options}
        if options.get("sia_weight") == options.get("ira_weight") == 0:
            told = SimpleNamespace(**vars(s) | {"teacher_training": recipe})
            return pair.adapted(told, seed, per_class, net, progress=progress, out=out, resume=resume)
    module = pair.few(s, per_class, seed)
    if options.get("e") == "epoch" and "epochs" not in options:
        rest = 1 - recipe.get("head_share", 0.0)
        options["epochs"] = passes(recipe, len(module.train), rest)
    words, asked = _anchors(s, seed, per_class, anchors)
    facts = (s.data, s.vlm, s.prompts, s.views, asked, net, recipe, method, options, seed, per_class)
    key = pair.key_of(*facts)
    kept = pair.KEPT["between"]
    if key in kept and out is None:
        return kept[key]
    seed_everything(seed)
    made = _learner(s, method, module, net, words | options)
    told = {"seed": seed, "progress": progress, "out": out, "resume": resume}
    banks = {"vlm": bank(s, seed, per_class, progress=progress)} if s.views else None
    run = adapt(made.deployed(), module, then=made, bank=banks, **told, **recipe)
    kept[key] = run.model.requires_grad_(False).eval(), run.accuracy
    return kept[key]


def _learner(
    s: SimpleNamespace, method: str, module: DataModule, net: dict[str, Any], options: dict[str, Any]
) -> Method:
    """The method that trains the network between; it is built first, as in `pair.adapted`."""
    from .. import methods, models

    built = models.build(num_classes=module.num_classes, **net)
    if method != "dait":
        return methods.create(method, student=built, teacher=load(s), **options)
    student = models.build(num_classes=module.num_classes, **s.student)  # it is not trained here
    return methods.create("dait", student=student, teacher=load(s), intermediate=built, only=1, **options)


def first_stage(method: str, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of `intermediate` among those of 'dait' or 'takd_clip', and the others.

    k, b and e are of the second stage: the first one's are in `stage1`. DAIT-F has no temperature of its own.
    """
    others = {k: v for k, v in options.items() if k != "stage1"}
    if method == "dait":
        first = {k: others.pop(k) for k in FIRST if k in others}
        if "temperature" in others and others.get("transfer") != "logit":
            first["temperature"] = others.pop("temperature")
    else:
        first = {"method": "kd_clip"} | {k: others[k] for k in LINK if k in others}
        first |= {k: others.pop(k) for k in ("logit_scale",) if k in others}
    return first | dict(options.get("stage1", {})), others


def arranged(
    s: SimpleNamespace,
    method: str,
    seed: int,
    per_class: int | None,
    guide: Any,
    options: dict[str, Any],
) -> tuple[str, Any, dict[str, Any]]:
    """What `pair.create` passes on for a method that learns from a vision-language model.

    DAIT becomes its second stage, and 'takd_clip' the link from its assistant, with the network between
    trained by `intermediate`, unless it is given as a network, or DAIT is asked for other stages with
    `only`. `stage1` are options of that training.

    Returns:
        The method's name, its teacher and its options.
    """
    options = dict(options)
    anchors = options.pop("anchors", "calibrated" if method == "pand" else "fixed")
    between = {"dait": "intermediate", "takd_clip": "assistant"}.get(method)
    if between and (method != "dait" or options.get("only", 2) == 2):
        net = options.pop(between, None)
        first, options = first_stage(method, options)
        if net is None or isinstance(net, str | dict):
            net, _ = intermediate(s, seed, per_class, net=net, anchors=anchors, **first)
        if method == "dait":
            return method, None, options | {"only": 2, "intermediate": net}
        return "takd", net, options | {"assistant": []}
    first = options.pop("stage1", {})
    if method == "dait":
        options = {**getattr(s, "stage1", {}), **options, **first}
    words, _ = _anchors(s, seed, per_class, anchors)
    return method, guide or load(s), words | options


def banks(
    s: SimpleNamespace, method: Method, seed: int, per_class: int | None, progress: bool | None
) -> dict[str, FeatureBank]:
    """The banks that a method reads which learns from a vision-language model, or from a network between."""
    if method.teacher is not None:
        return {"vlm": bank(s, seed, per_class, progress=progress)}
    views = s.views if method.transfer_views == "augment" else 0
    outputs, net = ("logits", "final_map"), method.intermediate
    told = {"views": views, "progress": progress}
    return {"intermediate": pair.stored(s, "intermediate", net, seed, per_class, outputs, **told)}


def _anchors(
    s: SimpleNamespace, seed: int, per_class: int | None, anchors: Anchors
) -> tuple[dict[str, Any], str]:
    """Options of a method for the anchors that are meant, and what tells them from others."""
    from ..methods import Calibration, read_calibration

    module = pair.few(s, per_class, seed)
    if isinstance(anchors, str) and anchors == "fixed":
        return {"prompts": texts(s, module), "classes": said_names(s, module)}, "fixed"
    if isinstance(anchors, str) and anchors == "calibrated":
        anchors = calibrated(s, seed, per_class)
    elif isinstance(anchors, str | Path):
        anchors = read_calibration(anchors)
    text = anchors.text if isinstance(anchors, Calibration) else anchors
    digest = hashlib.sha256(text.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:12]
    return {"anchors": anchors, "classes": said_names(s, module)}, digest
