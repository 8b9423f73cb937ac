"""Checkpoints: one safetensors file each, written whole or not at all, read without pickle."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import LabkitError, MissingError
from ..paths import write_atomic


def save(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Path:
    """Write tensors and JSON-serialisable `meta` to `path` atomically.

    Raises:
        LabkitError: the disk is full or the folder can't be written; an older file survives.
    """
    from safetensors.torch import save as to_bytes

    flat = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    return write_atomic(path, to_bytes(flat, metadata={"labkit": json.dumps(meta)}))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and meta of a file written by `save`.

    Raises:
        MissingError: no such file.
        LabkitError: the file is truncated or no labkit checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise MissingError(f"There is no checkpoint {path}: train first, or name another folder.")
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {}).get("labkit", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise LabkitError(
            f"The checkpoint {path} is damaged or truncated ({error}): delete it and train again."
        ) from error


def load_into(module: nn.Module, tensors: dict[str, Tensor], source: Path | str) -> None:
    """Load `tensors` into `module`, all of them.

    Raises:
        LabkitError: names or shapes differ, with the first that does: the file is of another model.
    """
    own = module.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        shapes = [tuple(state[name].shape) if name in state else "absent" for state in (own, tensors)]
        if shapes[0] != shapes[1]:
            raise LabkitError(
                f"The checkpoint {source} is of another model: '{name}' is {shapes[0]} in the model"
                f" and {shapes[1]} in the file. Build the model with the settings it was trained with."
            )
    module.load_state_dict(tensors)


def trained_state(method: nn.Module) -> dict[str, Tensor]:
    """The method's state without the networks named in its `frozen`: those are given again at resume."""
    frozen = tuple(f"{name}." for name in getattr(method, "frozen", ()))
    return {k: v for k, v in method.state_dict().items() if not (frozen and k.startswith(frozen))}


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors and a JSON-serialisable rest."""
    state = optimizer.state_dict()
    tensors, rest = {}, {}
    for index, slots in state["state"].items():
        for key, value in slots.items():
            (tensors if isinstance(value, Tensor) else rest)[f"optimizer.{index}.{key}"] = value
    return tensors, {"slots": rest, "groups": state["param_groups"]}


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], rest: dict[str, Any]
) -> None:
    """Restore what `pack_optimizer` took apart."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *rest["slots"].items()]:
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": rest["groups"]})


def pack_rng() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The generators' states (torch, CUDA, NumPy, Python), for methods that draw from them."""
    tensors = {"rng.torch": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    kind, keys, *tail = np.random.get_state()
    tensors["rng.numpy"] = torch.from_numpy(keys.astype(np.int64))
    version, numbers, gauss = random.getstate()
    tensors["rng.python"] = torch.tensor(numbers, dtype=torch.int64)
    return tensors, {"numpy": [kind, *tail], "python": [version, gauss]}


def unpack_rng(tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
    """Restore what `pack_rng` took."""
    torch.set_rng_state(tensors["rng.torch"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    kind, *tail = rest["numpy"]
    np.random.set_state((kind, tensors["rng.numpy"].numpy().astype(np.uint32), *tail))
    version, gauss = rest["python"]
    random.setstate((version, tuple(tensors["rng.python"].tolist()), gauss))
