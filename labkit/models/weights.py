"""Loading a .safetensors file into a classifier, with one sentence for whatever is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from ..errors import LabkitError, MissingError
from .classifier import Classifier


def load_weights(model: Classifier, path: str | os.PathLike[str]) -> Classifier:
    """Load the weights in `path` into `model` and return it.

    The file holds a classifier's state dict, or that of the bare network under it as timm and torchvision
    name it (mean and std then stay as they are). Half precision is read into the model's own precision.

    Raises:
        MissingError: there is no such file.
        LabkitError: the file is damaged, or made for another network or another number of classes; `model` is
            then untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingError(f"There is no weights file {path}: give a .safetensors file, or weights=None.")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise LabkitError(
            f"{path} is not a complete .safetensors file ({error}): copy or make it again."
        ) from error
    own = model.state_dict()
    if "mean" not in state and not any(key.startswith("net.") for key in state):
        state = {f"net.{key}": value for key, value in state.items()}
        state |= {key: own[key] for key in ("mean", "std")}
    _check(model, own, state, path)
    model.load_state_dict(state)
    return model


def _check(model: Classifier, own: dict[str, Tensor], state: dict[str, Tensor], path: Path) -> None:
    """Raises LabkitError at the first disagreement of names, then of shapes."""
    missing = [key for key in own if key not in state]
    extra = [key for key in state if key not in own]
    if missing or extra:
        found = " and ".join(filter(None, [_some(missing, "missing"), _some(extra, "unexpected")]))
        raise LabkitError(
            f"{path} does not fit '{model.name}': {found}. Build the network it was saved from (a run's"
            " config.yaml names it)."
        )
    wrong = [key for key in own if own[key].shape != state[key].shape]
    if not wrong:
        return
    head = head_keys(model)
    if set(wrong) <= head:
        classes = state[wrong[0]].shape[0]
        raise LabkitError(
            f"{path} has a head for {classes} classes and '{model.name}' was asked for {model.num_classes}:"
            f" build it with num_classes={classes}, and call .reset_head({model.num_classes}) for a new head."
        )
    key = next(key for key in wrong if key not in head)
    raise LabkitError(
        f"{path} does not fit '{model.name}': {key} has shape {tuple(state[key].shape)} in the file and"
        f" {tuple(own[key].shape)} in the network ({len(wrong)} such in all). Build it with the settings it"
        " was saved with."
    )


def _some(keys: list[str], how: str) -> str:
    if not keys:
        return ""
    shown = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
    return f"{len(keys)} {how} ({shown})"


def head_keys(model: Classifier) -> set[str]:
    """Names of the parameters of the last Linear (of both, where there are two)."""
    inside = {id(p) for p in model.head.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in inside}
