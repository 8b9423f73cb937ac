"""`build`: one name, one classifier, whichever library the network comes from."""

from __future__ import annotations

import difflib
import fnmatch
import os
from functools import cache, partial
from typing import Any

from ..errors import LabkitError
from . import digits, roster  # noqa: F401  (register labkit's own networks)
from .classifier import Classifier, check_num_classes
from .registry import Factory, own_factory, own_names
from .shipped import load_pretrained
from .timm_taps import timm_parts
from .torchvision_taps import PREFIX, torchvision_names, torchvision_parts
from .weights import load_weights

PRETRAINED = "pretrained"


def build(
    name: str,
    num_classes: int,
    *,
    weights: str | os.PathLike[str] | None = None,
    in_chans: int | None = None,
    image_size: int | None = None,
    **kw: Any,
) -> Classifier:
    """Make a classifier by name: one of labkit's own, a timm name, or `torchvision/NAME`.

    Args:
        name: see `available`.
        num_classes: width of the logits.
        weights: None for a random initialisation (which depends on torch's global seed alone); the path of
            a .safetensors file; or 'pretrained' for the weights that ship with labkit for its own networks
            and the library's published ones for the others, the local cache first.
            Where `num_classes` is not that of the pretrained weights the head is new; for a file of one's own
            this is an error, and `reset_head` makes the new head.
        in_chans: input channels; None for the network's own (3, and 1 for the digit networks).
        image_size: side of the images; needed by networks with a fixed patch grid (ViT, Swin, Mixer), whose
            own size it replaces. The others take any size and ignore it.
        kw: settings of that network, passed on.

    Raises:
        LabkitError: unknown name, setting or class count, a network that can't be tapped, weights of another
            network.
        MissingError: weights that are not where they should be.

    >>> build("digit_student", num_classes=10).embedding_dim
    64
    """
    check_num_classes(num_classes)
    for setting, value in (("in_chans", in_chans), ("image_size", image_size)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise LabkitError(f"{setting} must be None or a whole number of at least 1, not {value!r}.")
    if "pretrained" in kw:
        raise LabkitError("build takes weights='pretrained' (or a path, or None) in place of pretrained=...")
    factory = _factory(name)
    shipped = weights == PRETRAINED and own_factory(name) is not None
    if weights == PRETRAINED and not shipped:
        factory = partial(factory, pretrained=True)
    try:
        parts = factory(num_classes, in_chans=in_chans, image_size=image_size, **kw)
    except TypeError as error:
        if not kw:
            raise
        raise LabkitError(f"'{name}' can't be built with {', '.join(map(repr, kw))}: {error}.") from error
    config = {"name": name, "num_classes": num_classes, "in_chans": len(parts.mean), "image_size": image_size}
    model = Classifier(parts, {**config, **kw})
    if shipped:
        return load_pretrained(model)
    return model if weights in (None, PRETRAINED) else load_weights(model, weights)


def available(pattern: str = "*") -> list[str]:
    """Names that `build` knows and that match a shell pattern such as '*resnet18*': labkit's own first."""
    return [name for name in _names() if fnmatch.fnmatch(name, pattern)]


def check_name(name: str) -> None:
    """Raise LabkitError, with the nearest known name, unless `build` knows this one."""
    _factory(name)


def _names() -> list[str]:
    return [*own_names(), *_library_names()]


@cache
def _library_names() -> tuple[str, ...]:
    import timm

    return (*timm.list_models(), *torchvision_names())


def _factory(name: str) -> Factory:
    """The factory of one name.

    Raises:
        LabkitError: no library knows it; the sentence names the nearest one that is known.
    """
    if own := own_factory(name):
        return own
    if isinstance(name, str) and name.startswith(PREFIX):
        import torchvision

        if name.removeprefix(PREFIX) in torchvision.models.list_models(module=torchvision.models):
            return partial(torchvision_parts, name)
    else:
        import timm

        architecture, _, tag = str(name).partition(".")
        if timm.is_model(architecture) and (not tag or name in timm.list_pretrained(f"{architecture}.*")):
            return partial(timm_parts, name)
    untagged = str(name).partition(".")[0]  # timm writes ARCHITECTURE.TAG
    close = difflib.get_close_matches(untagged, _names(), n=1, cutoff=0.5)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    raise LabkitError(
        f"Unknown model '{name}'.{guess} labkit.models.available('*PART*') lists the names with that part:"
        f" labkit's own ({', '.join(own_names())}), timm's, and torchvision's as {PREFIX}NAME."
    )
