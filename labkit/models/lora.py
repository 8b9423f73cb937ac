"""Low-rank adapters on a classifier: `W x + (alpha / r) B A x`, with W frozen. Built on peft.

A `Classifier` with adapters trains by `labkit.engine.fit` like any other, and its runs are saved, resumed and
loaded like any other, because its configuration says how to add the adapters again. Hu et al., 2021, LoRA,
https://arxiv.org/abs/2106.09685, equation 3; peft: https://github.com/huggingface/peft
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import LabkitError, MissingError
from ..paths import write_atomic
from .classifier import Classifier, Parts
from .registry import register

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "lora"  # under which `build` makes a network with adapters


class Share(NamedTuple):
    """Parameters that train, all of them, and the first as a share of the second, in [0, 1]."""

    trainable: int
    total: int
    share: float

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.total:,} parameters train: {self.share:.2%}"


def load_vit(name: str, num_classes: int) -> Classifier:
    """A pretrained timm ViT through transformers, with a new random head, as a classifier of labkit.

    The head depends on torch's global seed. `name` is as for `pretrained`: 'aviary-vit', or a published one
    such as 'timm/vit_small_patch16_224.augreg_in21k'; the code is the same.

    Raises:
        LabkitError: the name is unknown, a file is damaged, or the model is not timm's.
        MissingError: the weights are not there and can't be fetched.
    """
    from transformers import AutoModelForImageClassification

    from .shipped import pretrained

    folder = pretrained(name)
    with quiet_loading():
        model = AutoModelForImageClassification.from_pretrained(
            folder, num_labels=num_classes, ignore_mismatched_sizes=True, dtype=torch.float32
        )
    return from_transformers(model)


def from_transformers(model: PreTrainedModel) -> Classifier:
    """The timm network inside transformers' wrapper as a classifier of labkit, with copies of its weights.

    Images then come in [0, 1]: the classifier normalises them by the mean and std of the model's
    `pretrained_cfg`, where it has one.

    Raises:
        LabkitError: the model is not transformers' wrapper of a timm network.
    """
    from .build import build

    if getattr(model.config, "model_type", "") != "timm_wrapper":
        raise LabkitError(f"Only timm networks in transformers' wrapper fit, not {type(model).__name__}.")
    settings = dict(model.config.model_args or {})
    size = settings.pop("img_size", None)
    made = build(model.config.architecture, model.config.num_labels, image_size=size, **settings)
    made.net.load_state_dict(model.timm_model.state_dict())
    published = getattr(model.config, "pretrained_cfg", None) or {}
    for key in ("mean", "std"):
        if key in published:
            getattr(made, key).copy_(torch.tensor(published[key]).view(1, -1, 1, 1))
    return made


def eager_attention(model: nn.Module) -> nn.Module:
    """On a CPU, let timm's attention run as plain matrix products, and return the model.

    The result is the same up to rounding; the fused kernel's backward pass is the slower one there.
    """
    for module in model.modules():
        if hasattr(module, "fused_attn") and not torch.cuda.is_available():
            module.fused_attn = False
    return model


def add_lora(
    classifier: Classifier,
    rank: int = 16,
    alpha: float = 16.0,
    dropout: float = 0.0,
    targets: Sequence[str] = ("qkv",),
) -> Classifier:
    """Freeze the network, add an adapter to each targeted Linear, leave the head trainable; all in place.

    At first B is zero, so the outputs are those of the network as it was. A is drawn from torch's generator.

    Args:
        classifier: changed, and returned.
        rank: r, the width of the bottleneck.
        alpha: the update is scaled by alpha / rank.
        dropout: on the adapters' input, in [0, 1).
        targets: names of Linear layers, such as "qkv", "proj", "fc1", "fc2" in timm's ViTs.

    Raises:
        LabkitError: an option is out of range, no layer has such a name, or there are adapters already.
    """
    from peft import LoraConfig, inject_adapter_in_model

    _check(classifier, rank, alpha, dropout, targets)
    settings = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets), bias="none"
    )
    try:
        inject_adapter_in_model(settings, classifier.net)
    except ValueError as error:
        raise LabkitError(f"peft can't add adapters to {list(targets)} of this network: {error}") from error
    classifier.head.requires_grad_(True)
    base = classifier.config
    kept = {key: base[key] for key in ("num_classes", "in_chans", "image_size") if key in base}
    options = {"rank": rank, "alpha": alpha, "dropout": dropout, "targets": list(targets)}
    classifier.config = {"name": NAME, **kept, "base": base, **options}
    return classifier


@register(NAME)
def _lora_parts(
    num_classes: int,
    in_chans: int | None,
    image_size: int | None,
    *,
    base: dict[str, Any] | None = None,
    **options: Any,
) -> Parts:
    """A classifier with adapters from its own configuration: this is how `load_run` gets one back."""
    from .build import build

    if base is None:
        raise LabkitError(
            "Build the network that is to be adapted, and give it to labkit.models.lora.add_lora."
        )
    made = add_lora(build(**{**base, "num_classes": num_classes}), **options)
    mean, std = (tuple(getattr(made, key).flatten().tolist()) for key in ("mean", "std"))
    return Parts(made.net, made.tap, mean, std, made.map_channels, made.image_size)


def lora_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The adapters' A and B, layer by layer; without the head."""
    return [p for name, p in model.named_parameters() if "lora_A." in name or "lora_B." in name]


def trainable_share(model: nn.Module) -> Share:
    """How many parameters of `model` train, how many there are, and the share."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total = sum(n for n, _ in sizes)
    trained = sum(n for n, trains in sizes if trains)
    return Share(trained, total, trained / total if total else 0.0)


def merge(classifier: Classifier) -> Classifier:
    """A copy without adapters whose weights are `W + (alpha / r) B A`: the plain network, no slower than it.

    In evaluation mode its logits are those of `classifier` up to rounding.

    Raises:
        LabkitError: there are no adapters (they can be merged once only), or a merged weight is not finite.
    """
    merged = copy.deepcopy(classifier)
    layers = _adapted(merged.net)
    if not layers:
        raise LabkitError("There is no adapter to merge: add_lora first, and merge once.")
    for name, layer in layers.items():
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise LabkitError(f"The adapter of {name} can't be merged: {error}") from error
        merged.net.set_submodule(name, layer.get_base_layer())
    vars(merged.net).pop("peft_config", None)
    merged.config = {**classifier.config["base"], "num_classes": classifier.num_classes}
    return merged


def adapter_state(classifier: Classifier) -> dict[str, Tensor]:
    """What was trained, and so all that one task adds to the shared network: the adapters and the head."""
    trained = {name: p for name, p in classifier.named_parameters() if p.requires_grad}
    return {name: p.detach().cpu().contiguous().clone() for name, p in trained.items()}


def save_adapter(classifier: Classifier, path: str | os.PathLike[str]) -> Path:
    """Write `adapter_state` alone as .safetensors; the network it belongs to is not in the file.

    Raises:
        LabkitError: there is no adapter, or the file can't be written.
    """
    from safetensors.torch import save

    if not _adapted(classifier.net):
        raise LabkitError("There is no adapter to save: add_lora first.")
    meta = {"labkit": json.dumps(classifier.config)}
    return write_atomic(Path(path), save(adapter_state(classifier), metadata=meta))


def load_adapter(classifier: Classifier, path: str | os.PathLike[str]) -> Classifier:
    """Load what `save_adapter` wrote into a classifier with adapters of the same shapes, and return it.

    Raises:
        MissingError: there is no such file.
        LabkitError: it is damaged, or the adapters differ; `classifier` is then untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise MissingError(f"There is no adapter {path}: save_adapter writes one.")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise LabkitError(f"The adapter {path} is damaged ({error}): save it again.") from error
    own = adapter_state(classifier)
    for name in sorted(own.keys() | state.keys()):
        shapes = [tuple(s[name].shape) if name in s else "absent" for s in (own, state)]
        if shapes[0] != shapes[1]:
            raise LabkitError(
                f"The adapter {path} does not fit: '{name}' is {shapes[0]} in the network and {shapes[1]} in"
                " the file. Add adapters of the same rank and targets first."
            )
    classifier.load_state_dict(state, strict=False)
    return classifier


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Inside the block transformers reports neither its progress nor the head that it replaces."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _adapted(net: nn.Module) -> dict[str, Any]:
    """The layers of `net` that peft has wrapped, by name."""
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in net.named_modules() if isinstance(module, LoraLayer)}


def _check(classifier: Classifier, rank: int, alpha: float, dropout: float, targets: Sequence[str]) -> None:
    """Raises LabkitError for whatever peft would refuse in its own words, or not at all."""
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise LabkitError(f"rank must be a whole number of at least 1, but it is {rank!r}.")
    if not alpha > 0 or not 0 <= dropout < 1:
        raise LabkitError(f"alpha must be above 0 and dropout in [0, 1), but they are {alpha} and {dropout}.")
    if _adapted(classifier.net):
        raise LabkitError("This network has adapters already: merge them first, or build it again.")
    linear = {n.rsplit(".", 1)[-1] for n, m in classifier.net.named_modules() if isinstance(m, nn.Linear)}
    lost = [target for target in targets if target not in linear]
    if isinstance(targets, str) or not targets or lost:
        raise LabkitError(
            f"'{classifier.name}' has no Linear layer called {', '.join(map(repr, lost)) or repr(targets)}:"
            f" give a list of these: {', '.join(sorted(linear))}."
        )
