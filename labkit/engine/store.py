"""The folder of a run: config.yaml, history.csv, last.safetensors, best.safetensors, stageN/."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import LabkitError
from ..paths import write_atomic
from . import checkpoint
from .history import History

if TYPE_CHECKING:
    from accelerate import Accelerator


_UNFINISHED = (".*.tmp", "stage*/.*.tmp")  # what a killed process left of a file it was writing


@dataclass
class Position:
    """Where training is and what it has recorded; all of it goes into the checkpoint."""

    stage: int = 0
    epoch: int = 0
    step: int = 0  # batches done in this epoch
    done: bool = False
    best: float = -1.0  # validation accuracy of the kept weights in this stage
    waited: int = 0  # validations since then
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch, over images
    seen: int = 0
    history: History = field(default_factory=History)
    losses: list[float] = field(default_factory=list)


class Store:
    """Writes and reads a run's files; with `folder=None` it does nothing. Only the main process writes."""

    def __init__(self, folder: Path | None, config: dict[str, Any], accelerator: Accelerator) -> None:
        self.folder, self.config, self.accelerator = folder, config, accelerator
        self.writes = folder is not None and accelerator.is_main_process

    def start(self) -> None:
        """Begin a new run: write the configuration and clear the old run's files.

        Raises:
            LabkitError: the folder can't be written; an old run is then untouched.
        """
        import yaml

        if not self.writes:
            return
        write_atomic(self.folder / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
        for pattern in ("*.safetensors", "stage*/*.safetensors", "history.csv", *_UNFINISHED):
            for old in self.folder.glob(pattern):
                old.unlink()

    def save_weights(self, name: str, state: dict[str, Tensor], **meta: Any) -> None:
        """Write weights alone, such as 'best' or 'stage1/best'."""
        if self.writes:
            checkpoint.save(self.folder / f"{name}.safetensors", state, meta)

    def save(self, method: nn.Module, optimizer: torch.optim.Optimizer, at: Position) -> None:
        """Write everything that going on needs, and the history."""
        if self.writes:
            slots, slots_rest = checkpoint.pack_optimizer(optimizer)
            rng, rng_rest = checkpoint.pack_rng()
            state = {f"method.{k}": v for k, v in checkpoint.trained_state(method).items()}
            meta = {"config": self.config, "optimizer": slots_rest, "rng": rng_rest, "at": asdict(at)}
            if self.accelerator.scaler is not None:
                meta["scaler"] = self.accelerator.scaler.state_dict()
            checkpoint.save(self.folder / "last.safetensors", state | slots | rng, meta)
            if at.history:
                at.history.save(self.folder / "history.csv")
        if self.folder is not None:
            self.accelerator.wait_for_everyone()

    def read(self, method: nn.Module) -> tuple[Position, dict[str, Tensor], dict[str, Any]] | None:
        """Load the last checkpoint's weights into `method`; None where there is no checkpoint.

        Raises:
            LabkitError: the checkpoint is damaged, of another model, or of other settings.
        """
        if self.folder is None or not (self.folder / "last.safetensors").exists():
            return None
        path = self.folder / "last.safetensors"
        for pattern in _UNFINISHED if self.writes else ():
            for left in self.folder.glob(pattern):
                left.unlink()
        tensors, meta = checkpoint.load(path)
        if "at" not in meta:
            raise LabkitError(f"{path} holds weights alone and can't be gone on from: choose another folder.")
        self._check_config(meta["config"])
        state = {k.removeprefix("method."): v for k, v in tensors.items() if k.startswith("method.")}
        trained = checkpoint.trained_state(method)
        frozen = {k: v for k, v in method.state_dict().items() if k not in trained}
        checkpoint.load_into(method, state | frozen, path)
        at = Position(**meta["at"])
        at.history = History(at.history)
        return at, tensors, meta

    def restore(
        self, at: Position, tensors: dict[str, Tensor], meta: dict[str, Any], optimizer: torch.optim.Optimizer
    ) -> None:
        """Put optimiser, generators and scaler back to where `read` found them."""
        if at.epoch or at.step:  # the checkpoint between two stages still holds the first one's optimiser
            checkpoint.unpack_optimizer(optimizer, tensors, meta["optimizer"])
        checkpoint.unpack_rng(tensors, meta["rng"])
        if self.accelerator.scaler is not None and "scaler" in meta:
            self.accelerator.scaler.load_state_dict(meta["scaler"])

    def read_best(self) -> dict[str, Tensor]:
        """The weights kept so far, on the accelerator's device."""
        best, _ = checkpoint.load(self.folder / "best.safetensors")
        return {name: t.to(self.accelerator.device) for name, t in best.items()}

    def _check_config(self, old: dict[str, Any]) -> None:
        then, now = dict(_flat(old)), dict(_flat(self.config))
        for name in now | then:
            before, after = then.get(name), now.get(name)
            if before == after or name == "labkit":
                continue
            if name.startswith("model."):
                raise LabkitError(
                    f"The checkpoint in {self.folder} is of another model: {name} is {before} there and"
                    f" {after} here. Build the same one, or choose another folder."
                )
            raise LabkitError(
                f"{self.folder} was started with {name} = {before}, not {after}:"
                " resume with the same settings, or choose another folder."
            )


def _flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """('recipe.lr', 0.001) and so on for every leaf."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
