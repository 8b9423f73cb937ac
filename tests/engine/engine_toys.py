"""Small data, networks and methods for the tests of the engine; also run by the processes they start.

As a program: `python engine_toys.py FOLDER KEY=VALUE ...` trains `Noisy` and writes the folder.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import LabkitError, data, engine, methods
from labkit.data import Augment, Batch, DataModule, ImageSet
from labkit.models import Classifier, Output, build

CLASSES = ("a", "b", "c")


def images(n: int, seed: int, size: int = 6) -> ImageSet:
    """Noise with one bright row, whose place is the class."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 160, (n, 1, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.arange(n) % len(CLASSES)
    pixels[torch.arange(n), 0, 2 * labels] += 60
    return ImageSet(pixels, labels, CLASSES, ids=1000 * seed + torch.arange(n))


def toy(n: int = 40, val: int = 30) -> DataModule:
    """40 training, 30 validation and 20 test images of 6x6 in 3 classes."""
    return DataModule("toy", images(n, 1), images(val, 2), images(20, 3), augment=Augment(pad=1, flip=True))


class Net(nn.Module):
    """Convolution, GroupNorm and two kinds of dropout: every sample is on its own, but not without chance."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Dropout2d(dropout / 2)
        )
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 8), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Output:
        map_ = self.features(x - 0.5)
        embedding = self.hidden(map_)
        return Output(self.head(embedding), embedding, (map_,) * 4, map_)


def net(seed: int = 0, dropout: float = 0.3) -> Net:
    torch.manual_seed(seed)
    return Net(dropout)


def classifier(seed: int = 0, **kw) -> Classifier:
    """A network of `labkit.models`, with BatchNorm and dropout."""
    torch.manual_seed(seed)
    return build("digit_cnn", 3, **{"widths": (2, 4), "hidden": 8, "dropout": 0.3, **kw})


class Noisy(methods.Scratch):
    """Cross-entropy with noise on the logits from torch's own stream; can stop at one call of `losses`."""

    name = "noisy"

    def __init__(self, student: nn.Module, stop: tuple[int, BaseException] | None = None) -> None:
        super().__init__(student)
        self.stop, self.calls = stop, 0

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        self.calls += 1
        logits = self.student(batch.image).logits  # BatchNorm's statistics have moved when it stops
        if self.stop and self.calls == self.stop[0]:
            raise self.stop[1]
        ce = F.cross_entropy(logits + 0.1 * torch.randn_like(logits), batch.label)
        return {"total": ce, "ce": ce}


class Asking(Noisy):
    """After each step says its number and waits for a line, so that another process can choose the moment."""

    def on_step_end(self, step: int) -> None:
        print(step, flush=True)
        sys.stdin.readline()


class TwoStages(methods.Method):
    """First the student's features by reconstruction of the image's rows, then its head by the labels."""

    name = "two_stages"
    frozen = ("anchor",)

    def __init__(self, student: Classifier, stop: int = 0) -> None:
        super().__init__(student)
        self.anchor = classifier(7).requires_grad_(False)
        self.connector = nn.Linear(student.embedding_dim, 6)
        self.stop, self.calls = stop, 0

    def reconstruct(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        rows = self.connector(self.student(batch.image).embedding)
        loss = F.mse_loss(rows, batch.image.mean(3)[:, 0])
        return {"total": loss, "rows": loss}

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.stop:
            raise KeyboardInterrupt
        ce = F.cross_entropy(self.student(batch.image).logits, batch.label)
        return {"total": ce, "ce": ce}

    def stages(self) -> list[engine.Stage]:
        features = nn.ModuleList([self.student.net.features, self.student.net.hidden, self.connector])
        return [
            engine.Stage("features", features, epochs=2, views="original", losses=self.reconstruct),
            engine.Stage("head", self.student.head),
        ]


def scratch(student: nn.Module | None = None) -> methods.Method:
    return methods.create("scratch", student=student or classifier())


def train(method: nn.Module | None = None, module: DataModule | None = None, **kw) -> engine.Run:
    """Two epochs of five steps unless told otherwise."""
    settings = {"epochs": 2, "batch_size": 8, "device": "cpu", **kw}
    return engine.fit(method or scratch(), module or toy(), **settings)


def sentence(call: Callable[[], object], kind: type[Exception] = LabkitError) -> str:
    """The message of the error that `call` raises: one line that ends as a sentence."""
    import pytest

    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text, text
    assert text.endswith("."), text
    return text


def digest(module: nn.Module | dict[str, Tensor]) -> str:
    """A hash of every parameter and buffer, bit by bit."""
    state = module.state_dict() if isinstance(module, nn.Module) else module
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def main(folder: str, *settings: str) -> None:
    options = {key: json.loads(value) for key, value in (s.split("=", 1) for s in settings)}
    method = (Asking if options.pop("asking", False) else Noisy)(classifier())
    module = data.load("digits") if options.pop("digits", False) else toy()
    run = engine.fit(method, module, out=folder, device="cpu", progress=False, **options)
    print("done", digest(run.model), run.accuracy, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
