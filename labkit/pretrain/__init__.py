"""The recipes of the shipped miniature models, and the one writer of their files.

A recipe is a function `pretrain(out, *, seed, size, ...) -> metrics` that leaves its files in the folder
`out`. `pretrain(name)` runs it, stores the files in half precision under `data/weights/NAME`, each whole or
not at all, and enters them into the manifest.

>>> pretrain("tiny", size="test", out="/tmp/data")  # doctest: +SKIP
{'val_accuracy': 0.012, ...}
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from .. import manifest
from ..errors import LabkitError, unknown
from ..models.shipped import CNNS
from ..paths import shipped, write_atomic

SIZES = ("full", "small", "test")  # what ships; a few minutes; seconds, for tests of the way alone


def _recipe(module: str, out: Path, **options: Any) -> dict[str, Any]:
    return importlib.import_module(f"{__name__}.{module}").pretrain(out, **options)


RECIPES: dict[str, Callable[..., dict[str, Any]]] = {
    "aviary-clip": partial(_recipe, "clip"),
    "aviary-dinov2": partial(_recipe, "dinov2"),
    **{name: partial(_recipe, "classifier", name=name) for name in ("aviary-vit", *CNNS)},
}


def pretrain(
    name: str, *, seed: int = 0, size: str = "full", out: Path | str | None = None, **options: Any
) -> dict[str, Any]:
    """Make one of the shipped models again, and put it where labkit looks for it.

    Args:
        name: a key of `RECIPES`.
        seed: decides everything that is drawn.
        size: 'full' makes what ships; 'small' and 'test' make less of the same kind.
        out: another data folder than the clone's `data/`; `LABKIT_DATA=out` then uses it.
        options: passed to the recipe; a model made with any is not what ships.

    Returns:
        The recipe's metrics, as they stand in the manifest.

    Raises:
        LabkitError: unknown name or size, or the folder can't be written.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    root = Path(out).expanduser() if out else shipped("data")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="labkit-") as made:
        metrics = RECIPES[name](Path(made), seed=seed, size=size, **options)
        facts = {
            "seed": seed,
            "size": size,
            "machine": manifest.machine(),
            "threads": _threads(),
            "minutes": round((time.perf_counter() - started) / 60, 2),
            "metrics": metrics,
        }
        command = f"labkit pretrain {name} --seed {seed}" + (f" --size {size}" if size != "full" else "")
        store(name, Path(made), command, root=root, **facts)
    return metrics


def pretrain_all(names: Sequence[str], *, say: Callable[[str], None] = print, **options: Any) -> None:
    """Run several recipes one after another; 'cnns' stands for all networks of the roster.

    Args:
        names: keys of `RECIPES`, or 'cnns'; all are checked before the first is run.
        say: gets one line per model.
        options: as for `pretrain`.

    Raises:
        LabkitError: as for `pretrain`.
    """
    wanted = [each for name in names for each in (CNNS if name == "cnns" else (name,))]
    for name in wanted:
        if name not in RECIPES:
            raise unknown("recipe", name, {*RECIPES, "cnns"})
    for name in dict.fromkeys(wanted):
        started = time.perf_counter()
        metrics = pretrain(name, **options)
        say(f"{name}: {_measured(metrics)}, {(time.perf_counter() - started) / 60:.1f} minutes")


class Row(NamedTuple):
    """One line of `labkit pretrain --list`."""

    name: str
    here: bool
    kilobytes: str
    minutes: str
    measured: str


def catalogue(out: Path | str | None = None) -> list[Row]:
    """Every recipe with what the manifest of a data folder (default: the shipped one) says of its files."""
    root = Path(out).expanduser() if out else shipped("data")
    files = manifest.entries(root) if (root / manifest.NAME).is_file() else {}
    rows = []
    for name in RECIPES:
        own = {file: facts for file, facts in files.items() if file.startswith(f"weights/{name}/")}
        facts = next(iter(own.values()), {})
        here = bool(own) and all((root / file).is_file() for file in own)
        size = f"{sum(f['bytes'] for f in own.values()) / 1000:,.0f}" if own else ""
        minutes = f"{facts['minutes']:.1f}" if "minutes" in facts else ""
        rows.append(Row(name, here, size, minutes, _measured(facts.get("metrics", {}))))
    return rows


def _measured(metrics: dict[str, Any]) -> str:
    """Accuracies and the like in words: the first three numbers."""
    numbers = [(k, v) for k, v in metrics.items() if isinstance(v, float)]
    return ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in numbers[:3])


def store(name: str, made: Path, command: str, *, root: Path | None = None, **facts: Any) -> list[Path]:
    """Put the files of the folder `made` into `weights/NAME` of a data folder, and into its manifest.

    Weights (.safetensors) go to half precision; integers and the other files stay as they are. Files of an
    earlier make that are not among the new ones are removed.

    Returns:
        The files written.

    Raises:
        LabkitError: `made` is empty, a weight does not fit half precision, or the folder can't be written.
    """
    root = Path(root) if root else shipped("data")
    files = sorted(path for path in made.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise LabkitError(f"The recipe of '{name}' left no files in {made}.")
    contents = {f.relative_to(made): half(f) if f.suffix == ".safetensors" else f.read_bytes() for f in files}
    folder = root / "weights" / name
    for old in folder.rglob("*"):
        if old.is_file() and old.relative_to(folder) not in contents:
            old.unlink()
    written = [write_atomic(folder / path, content) for path, content in contents.items()]
    for path in contents:
        manifest.record(f"weights/{name}/{path.as_posix()}", command, root=root, **facts)
    manifest.prune(f"weights/{name}/", root=root)
    return written


def half(path: Path) -> bytes:
    """A .safetensors file with its floating tensors in half precision; its metadata is kept.

    Raises:
        LabkitError: a weight is not finite in half precision.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    for key, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[key] = tensor.to(torch.float16).contiguous()
            if not torch.isfinite(tensors[key]).all():
                largest = tensor.abs().max()
                raise LabkitError(
                    f"{key} of {path.name} does not fit half precision: its largest entry is {largest:.3g}."
                )
    return save(tensors, metadata={"format": "pt", **metadata})


def _threads() -> int:
    import torch

    return torch.get_num_threads()
