"""A finished (or resumed) training run, in memory and as a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import LabkitError, MissingError
from . import checkpoint
from .history import History
from .session import default_device


@dataclass
class Run:
    """What `fit` returns.

    Args:
        model: the classifier to deploy, with the weights that were best on validation.
        accuracy: validation accuracy of these weights in [0, 1]; nan where none was measured.
        history: a row per epoch: stage, epoch, step, lr, train_accuracy, loss terms, val_accuracy, val_loss.
        losses: total loss of every step, in order.
        folder: where the run lies, or None when nothing was written.
        config: method, networks, data and recipe, as in `config.yaml`.
        seconds: wall time of this call of `fit`.
    """

    model: nn.Module
    accuracy: float
    history: History
    losses: list[float]
    folder: Path | None = None
    config: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def checkpoints(self) -> dict[str, Path]:
        """The checkpoint files on disk by name ('last', 'best', 'stage1', ...)."""
        if self.folder is None:
            return {}
        files = {path.stem: path for path in sorted(self.folder.glob("*.safetensors"))}
        return files | {p.parent.name: p for p in sorted(self.folder.glob("stage*/best.safetensors"))}

    def plot(self):
        """Accuracy and loss over the epochs, as a matplotlib figure."""
        from ..views import plot_run

        return plot_run(self)


def read_config(folder: Path | str) -> dict[str, Any]:
    """The `config.yaml` of a run folder.

    Raises:
        MissingError: the folder holds no run.
        LabkitError: its configuration can't be read.
    """
    import yaml

    path = Path(folder) / "config.yaml"
    if not path.is_file():
        raise MissingError(
            f"{folder} holds no run (no config.yaml): name a folder that `fit(out=...)` wrote."
        )
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        config = None
    if not isinstance(config, dict):
        raise LabkitError(f"{path} is no run's configuration: restore it, or train again.")
    return config


def load_run(folder: Path | str) -> Run:
    """Rebuild a run's deployed classifier from `config.yaml` and `best.safetensors`, in eval mode, on the GPU
    where there is one.

    Raises:
        MissingError: no run, or no checkpoint, in the folder.
        LabkitError: the checkpoint is damaged, of another model, or the model is not one `build` can make.
    """
    from ..models import build

    folder = Path(folder)
    config = read_config(folder)
    if not isinstance(config.get("model"), dict) or "name" not in config["model"]:
        raise LabkitError(f"{folder} was trained with a model that labkit.models.build didn't make.")
    model = build(**config["model"])
    tensors, meta = checkpoint.load(folder / "best.safetensors")
    checkpoint.load_into(model, tensors, folder / "best.safetensors")
    history = folder / "history.csv"
    rows = History.load(history) if history.is_file() else History()
    model.to(default_device())
    return Run(model.eval(), meta.get("accuracy", float("nan")), rows, [], folder, config)
