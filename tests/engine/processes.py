"""What test_processes compares: trains in as many processes as it is started in, and each writes its results.

`python processes.py FOLDER`, or the same under `accelerate launch`.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
from engine_toys import net, toy

from labkit import methods
from labkit.engine import Run, checkpoint, evaluate, fit

SETTINGS = {"steps": 20, "lr": 0.01, "device": "cpu", "progress": False}
# 9 images in 2 processes are 5 and 4
RUNS = {
    "even": {"batch_size": 8, "optimizer": "adamw"},
    "uneven": {"batch_size": 9, "optimizer": "sgd", "clip": 0.1},
}


class Cut(methods.Hinton):
    """Stops at one call of `losses`, in all processes alike."""

    stop = 0

    def losses(self, batch, progress):
        self.stop -= 1
        if self.stop == 0:
            raise KeyboardInterrupt
        return super().losses(batch, progress)


def method(stop: int = 0) -> methods.Method:
    made = Cut(net().double(), net(1).double())
    made.stop = stop
    return made


def keep(folder: Path, name: str, run: Run) -> None:
    """Weights, losses and history of a run, as this process sees them."""
    tensors = {f"weight.{k}": v for k, v in run.model.state_dict().items()}
    tensors["losses"] = torch.tensor(run.losses, dtype=torch.float64)
    checkpoint.save(folder / f"{name}.safetensors", tensors, {"history": run.history, "best": run.accuracy})


def main(folder: Path) -> None:
    own = folder / f"rank{os.environ.get('RANK', '0')}"
    for name, settings in RUNS.items():
        run = fit(method(), toy(), out=own / f"{name}-run", **SETTINGS, **settings)
        keep(own, name, run)
    settings = SETTINGS | RUNS["even"]
    with suppress(KeyboardInterrupt):
        fit(method(stop=13), toy(), out=folder / "cut", **settings)
    keep(own, "resumed", fit(method(), toy(), out=folder / "cut", resume=True, **settings))
    model = net(2)
    found = {n: evaluate(model, toy(val=n).val, batch_size=4) for n in (1, 2, 31)}
    tensors = {f"{key}{n}": getattr(e, key) for n, e in found.items() for key in ("logits", "labels")}
    checkpoint.save(own / "evaluation.safetensors", tensors, {"accuracy": found[31].accuracy})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
