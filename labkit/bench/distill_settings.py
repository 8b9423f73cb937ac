"""What `labkit distill` runs: what was asked for, over the preset of the data set, over defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..errors import LabkitError, MissingError, unknown
from ..profiles import has_preset, preset
from ..profiles import profile as choose
from . import pair
from .distill_checks import BETWEEN, check, check_names

TRAINING = {
    "batch_size": 64,
    "optimizer": "adamw",
    "lr": 3e-3,
    "weight_decay": 0.05,
    "warmup": 0.1,
    "clip": 1.0,
}
HEADS = {"head_lr": 0.03, "head_share": 0.3}  # of a network with pretrained weights
EPOCHS = 20
PROMPT = "a photo of a {description}."  # where the data have no template of their own
VIEWS = 16  # that a vision-language model encodes, where neither preset nor --stored says
# Options of `data.load`, `build`, `fit` and so on that a preset may hold; `class_names` is a user's own.
KEYS = (
    *("data", "num_classes", "class_names", "student", "teacher", "assistant", "intermediate", "vlm"),
    *("prompts", "training", "teacher_training", "intermediate_training", "stage1", "calibration", "views"),
    *("methods",),
)
_NOT_HERE = ("precision", "validate_every")  # of a preset: chosen for the machine that made its results
_DECIDED = ("seed", "teacher.seed", "intermediate.seed", "data.name", "data.seed", "data.per_class")
_DECIDED += ("only", "stage1.only", "intermediate", "anchors", "prompts", "classes")  # elsewhere


@dataclass(frozen=True)
class Asked:
    """The arguments of `distill` that decide what is run; see there."""

    method: str
    data: str | None = None
    student: str | None = None
    teacher: str | None = None
    assistant: str | None = None
    vlm: str | None = None
    prompts: str | None = None
    intermediate: str | None = None
    anchors: str | None = None
    only: int | None = None
    epochs: int | None = None
    steps: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    stored: int | None = None
    profile: str | None = None


def settings(asked: Asked) -> tuple[SimpleNamespace, dict[str, Any]]:
    """The settings that `pair` reads, and the method's own options.

    Raises:
        LabkitError: a name, an option or a file can't be used, or something that is needed isn't named.
    """
    from .. import methods

    check(asked)
    known = _known(asked)
    own, alone = _options(known, asked)
    recipes = _recipes(known, asked)
    parts = {name: dict(getattr(known, name, {})) for name in ("stage1", "calibration")}
    _set(asked.options, {"": own, "data": known.data, **recipes, **parts}, alone)
    asks_vlm = methods.asks_vlm(asked.method)
    s = SimpleNamespace(
        data=known.data,
        num_classes=getattr(known, "num_classes", None),
        class_names=getattr(known, "class_names", None),
        student=_student(asked.student, known),
        teacher={"name": ""},
        assistant=asked.assistant or getattr(known, "assistant", "small"),
        training=recipes["training"],
        teacher_training=recipes["teacher"],
        alone={k: v for k, v in alone.items() if k in pair.RECIPE},
        views=asked.stored,
        keep=True,
    )
    if asks_vlm:
        _language(s, known, asked, recipes, parts, own)
    elif pair.asks(asked.method, own):
        s.teacher = _net(asked.teacher, known, "teacher")
    check_names(s, own, asked.method)
    return s, own


# Presets -------------------------------------------------------------------------------------------------


def _known(asked: Asked) -> SimpleNamespace:
    """What is known of the data: its preset, or the user's own file; `data` as options of `data.load`."""
    from .. import methods

    data = asked.data or choose(asked.profile).images
    if data.endswith((".yaml", ".yml")):
        return _read(Path(data))
    load = _load(data)
    known = SimpleNamespace()
    names = [load["name"], f"{load['name']}-vlm"]
    if methods.asks_vlm(asked.method):
        names.reverse()
    found = [preset(name) for name in names if has_preset(name)]
    if found:
        with_method = [one for one in found if _rows(one, asked)]
        known = SimpleNamespace(**vars((with_method or found)[0]))
    known.data = _merged(getattr(known, "data", {}), load)
    return known


def _read(path: Path) -> SimpleNamespace:
    """A preset of the user's own."""
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"There is no file of settings {path}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LabkitError(f"The settings {path} can't be read: {' '.join(str(error).split())}.") from error
    if not isinstance(found, dict) or "data" not in found:
        raise LabkitError(f"The settings {path} must name the data: data: {{name: ..., root: ...}}.")
    for key in found:
        if key not in KEYS:
            raise unknown(f"setting in {path.name}", key, KEYS)
    if not isinstance(found["data"], dict):
        found["data"] = _load(str(found["data"]))
    return SimpleNamespace(**found | {"data": _merged(found["data"], {})})


def _load(data: str) -> dict[str, Any]:
    """Options of `data.load` for a name or a folder."""
    from .. import data as sets

    if data not in sets.available() and Path(data).is_dir():
        return {"name": "folder", "root": data}
    if data not in sets.available() and os.sep in data:
        raise MissingError(f"There is no folder {data}: name one that holds a folder of images per class.")
    if data not in sets.available():
        raise LabkitError(f"{unknown('data set', data, sets.available())} Nor is it a folder here.")
    return {"name": data}


def _merged(theirs: Any, ours: dict[str, Any]) -> dict[str, Any]:
    theirs = theirs if isinstance(theirs, dict) else {}
    return {k: v for k, v in {**theirs, **ours}.items() if v is not None}


def _rows(known: SimpleNamespace, asked: Asked) -> list[str]:
    """Rows of a preset's methods that are this method, the nearest first."""
    logit = asked.options.get("transfer") == "logit"
    rows = [asked.method, "dait-l" if logit else "dait-f"] if asked.method == "dait" else [asked.method]
    return [row for row in rows if row in getattr(known, "methods", {})]


def _options(known: SimpleNamespace, asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the method and of the student alone, which trains as long."""
    told = getattr(known, "methods", {})
    own, alone = (dict(told.get(row) or {}) for row in ((_rows(known, asked) or [""])[0], "scratch"))
    if asked.epochs or asked.steps:
        for options in (own, alone):
            options.pop("epochs", None), options.pop("steps", None)
    lengths = {k: v for k, v in own.items() if k in ("epochs", "steps")}
    return own, {**lengths, **alone}


def _recipes(known: SimpleNamespace, asked: Asked) -> dict[str, dict[str, Any]]:
    """How the students, the teacher and the intermediate train, by the prefixes of --set."""
    training = dict(getattr(known, "training", TRAINING | {"epochs": EPOCHS}))
    teacher = dict(getattr(known, "teacher_training", training | HEADS))
    between = dict(getattr(known, "intermediate_training", teacher))
    length = {"epochs": asked.epochs} if asked.epochs else {"steps": asked.steps} if asked.steps else {}
    found = {"training": training, "teacher": teacher, "intermediate": between}
    for name, recipe in found.items():
        found[name] = pair.changed({k: v for k, v in recipe.items() if k not in _NOT_HERE}, length)
    return found


def _set(options: Mapping[str, Any], groups: dict[str, dict[str, Any]], alone: dict[str, Any]) -> None:
    """Put the options of --set where their prefix says."""
    from ..engine import Recipe

    prefixes = [name for name in groups if name not in ("", "training")]
    for name, value in options.items():
        group, _, short = name.rpartition(".")
        if group not in ("", *prefixes) or name in _DECIDED:
            words = ", ".join(f"{prefix}.option" for prefix in prefixes)
            raise LabkitError(f"--set takes an option, or {words}, but not '{name}'.")
        if group == "" and short in Recipe.__dataclass_fields__:
            groups["training"][short] = value
            groups[""].pop(short, None), alone.pop(short, None)
        else:
            groups[group][short] = value


# Networks ------------------------------------------------------------------------------------------------


def _net(name: str | None, known: SimpleNamespace, role: str) -> dict[str, Any]:
    if name is None and not hasattr(known, role):
        raise LabkitError(f"Say which network is the {role}: --{role} NAME, such as --{role} tiny.")
    return {"name": name} if name is not None else dict(getattr(known, role))


def _student(name: str | None, known: SimpleNamespace) -> dict[str, Any]:
    """The student; another than the preset's starts as that does, from pretrained weights or from none."""
    from ..models.registry import own_names
    from ..models.shipped import SHIPPED

    if name is None:
        return _net(name, known, "student")
    weights = dict(getattr(known, "student", {})).get("weights")
    if weights is None or (name in own_names() and name not in SHIPPED):
        return {"name": name}
    return {"name": name, "weights": weights}


def _language(
    s: SimpleNamespace,
    known: SimpleNamespace,
    asked: Asked,
    recipes: dict[str, dict[str, Any]],
    parts: dict[str, dict[str, Any]],
    own: dict[str, Any],
) -> None:
    """What a method that learns from a vision-language model needs beside."""
    from ..data.prompts import TEMPLATES, templates

    s.vlm = asked.vlm or getattr(known, "vlm", None) or choose(asked.profile).vlm
    given = _prompts(asked.prompts) if asked.prompts is not None else getattr(known, "prompts", None)
    # Of the user's own folder the description is the class's name without underscores.
    s.prompts = given or (templates(s.data["name"])[0] if s.data["name"] in TEMPLATES else PROMPT)
    s.views = asked.stored or getattr(known, "views", VIEWS)
    s.calibration, s.stage1 = parts["calibration"], parts["stage1"]
    if asked.method in BETWEEN:
        s.intermediate = _net(asked.intermediate, known, "intermediate")
        s.intermediate_training = recipes["intermediate"]
    if asked.anchors is not None:
        own["anchors"] = asked.anchors
        if asked.anchors not in ("fixed", "calibrated") and not Path(asked.anchors).exists():
            raise MissingError(
                f"There is no file of anchors {asked.anchors}: name one that PAND's first stage wrote (or the"
                " authors' .pt), 'calibrated' to make them here, or 'fixed' for the prompts."
            )


def _prompts(text: str) -> str | list[str]:
    """A template; or the lines of a file, which are templates or one sentence per class."""
    path = Path(text)
    if not path.is_file():
        if "{" not in text:
            raise LabkitError(
                "--prompts takes a template with a place for the class, such as 'a photo of a {}.', or a file"
                f" with templates or one sentence per class, which '{text}' is not."
            )
        return text
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise LabkitError(f"The prompts {path} are no text in UTF-8: one prompt a line.") from error
    if not lines:
        raise LabkitError(f"The file of prompts {path} is empty: one template or sentence a line.")
    return lines
