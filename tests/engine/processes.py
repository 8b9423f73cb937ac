"""What test_processes compares: trains in as many processes as it is started in, and each writes its results.

`python processes.py FOLDER`, or the same under `accelerate launch`.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from engine_toys import net, toy
from torch import nn

from labkit import methods
from labkit.engine import Run, checkpoint, evaluate, fit

SETTINGS = {"steps": 20, "lr": 0.01, "device": "cpu", "progress": False}
# 9 images in 2 processes are 5 and 4
RUNS = {
    "even": {"batch_size": 8, "optimizer": "adamw"},
    "uneven": {"batch_size": 9, "optimizer": "sgd", "clip": 0.1},
    "dait": {"batch_size": 9, "optimizer": "adamw"},
}
RESUMED = ("even", "dait")  # the latter in its second stage


class Stops:
    """Stops at one call of `losses`, in all processes alike."""

    stop = 0

    def losses(self, batch, progress):
        self.stop -= 1
        if self.stop == 0:
            raise KeyboardInterrupt
        return super().losses(batch, progress)


class Cut(Stops, methods.Hinton):
    pass


class CutDAIT(Stops, methods.DAIT):
    pass


class Eyes(nn.Module):
    """The interface of a vision-language model: a fixed linear layer, and a vector for every text."""

    embed_dim, logit_scale = 5, 20.0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(36, 5, generator=torch.Generator().manual_seed(0)))

    def encode_image(self, images):
        return F.normalize((images.flatten(1) - 0.4) @ self.weight, dim=1)

    def encode_text(self, texts):
        generator = torch.Generator().manual_seed(len(texts))
        return F.normalize(torch.randn(len(texts), 5, generator=generator), dim=1)

    zero_shot = encode_text


def sized(seed: int) -> nn.Module:
    """A net that says its sizes, which DAIT asks for."""
    made = net(seed)
    made.num_classes, made.embedding_dim = 3, 8
    return made


def method(name: str, stop: int = 0) -> methods.Method:
    """DAIT's second stage on logits: its layer on maps has BatchNorm, whose statistics are each process's."""
    if name == "dait":
        options = {"prompts": ["a", "b", "c"], "transfer": "logit", "width": 4}
        made = CutDAIT(sized(0), Eyes().eval(), intermediate=sized(2), **options).double()
    else:
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
        run = fit(method(name), toy(), out=own / f"{name}-run", **SETTINGS, **settings)
        keep(own, name, run)
    for name in RESUMED:
        settings, cut = SETTINGS | RUNS[name], folder / f"{name}-cut"
        with suppress(KeyboardInterrupt):
            fit(method(name, stop=13), toy(), out=cut, **settings)
        keep(own, f"{name} resumed", fit(method(name), toy(), out=cut, resume=True, **settings))
    model = net(2)
    found = {n: evaluate(model, toy(val=n).val, batch_size=4) for n in (1, 2, 31)}
    tensors = {f"{key}{n}": getattr(e, key) for n, e in found.items() for key in ("logits", "labels")}
    checkpoint.save(own / "evaluation.safetensors", tensors, {"accuracy": found[31].accuracy})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
