"""A bank is used again for the same encoder, images and transform, and never for others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from bank_toys import Plain, Seeing, encode, small
from torch import Tensor, nn

from labkit.data import Augment, ImageSet
from labkit.engine import bank
from labkit.engine.bank_key import module_digest, sample_digests


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))


def changed(tensor: Tensor) -> Tensor:
    """One bit of one entry flipped."""
    out = tensor.clone()
    out.view(-1)[7] ^= 1
    return out


def other_images(split: ImageSet) -> dict[str, ImageSet]:
    return {
        "a pixel": replace(split, images=changed(split.images)),
        "an id": replace(split, ids=changed(split.ids)),
        "the order": split.subset(torch.arange(48).flip(0)),
        "fewer": split.subset(range(40)),
        "swapped images": replace(split, images=split.images.roll(1, 0)),
        "another size": split.resized(9),
        "another shape": replace(split, images=split.images.view(48, 4, 3, 3), image_size=3),
    }


def test_a_bank_of_other_images_is_not_used():
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :5]

    split = small()
    keys = {encode(Mean(), split).key}
    for name, other in other_images(split).items():
        found = encode(Mean(), other)
        assert found.key not in keys, name
        fresh = encode(Mean(), other, keep=False)
        assert torch.equal(found.features(), fresh.features()), name
        keys.add(found.key)
    relabelled = replace(split, labels=split.labels.flip(0))
    assert encode(Mean(), relabelled).key == encode(Mean(), split).key, "no encoder depends on the labels"
    assert torch.equal(encode(Mean(), relabelled).labels, relabelled.labels)


def test_a_bank_of_another_transform_is_not_used(monkeypatch: pytest.MonkeyPatch):
    flip = Augment(flip=True)
    options = [
        {},
        {"augment": flip},
        {"augment": flip, "seed": 1},
        {"augment": flip, "views": 2},
        {"augment": Augment(flip=True, pad=1)},
        {"dtype": "float16"},
        {"precision": "bf16"},
        {"outputs": ("features",)},
    ]
    keys = [encode(Plain(), **option).key for option in options]
    assert len(set(keys)) == len(options)
    assert encode(Plain(), seed=5).key == keys[0], "nothing is drawn"
    assert encode(Plain(), augment="none", batch_size=16).key == keys[0]
    monkeypatch.setattr(bank, "VERSION", 2)
    assert encode(Plain()).key != keys[0]


# Encoders ------------------------------------------------------------------------------------------------


def encoder_code(body: str, before: str = "") -> nn.Module:
    """A cell of a notebook that defines an encoder; each time the same class name."""
    cell = f"""
import torch
from torch import nn
{before}
class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
    def forward(self, x):
        return {body}
"""
    scope = {"__name__": "__main__"}
    exec(cell, scope)
    return scope["Encoder"]()


def test_a_cell_run_again_with_another_forward_is_another_encoder():
    cells = {
        "a": encoder_code("self.layer(x).mean(1)"),
        "b": encoder_code("self.layer(x).mean(2)"),
        "c": encoder_code("self.layer(x).sum(1)"),
        "d": encoder_code("pool(x)", "def pool(x): return x.mean(1)"),
        "e": encoder_code("pool(x)", "def pool(x): return x.sum(1)"),
        "f": encoder_code("scale * x", "scale = 2"),
        "g": encoder_code("scale * x", "scale = 3"),
        "h": encoder_code("net(x)", "net = nn.Linear(3, 3, bias=False); nn.init.zeros_(net.weight)"),
        "i": encoder_code("net(x)", "net = nn.Linear(3, 3, bias=False); nn.init.ones_(net.weight)"),
        "j": encoder_code("(lambda z: pool(z))(x)", "def pool(x): return x.mean(1)"),
        "k": encoder_code("(lambda z: pool(z))(x)", "def pool(x): return x.sum(1)"),
    }
    assert len({module_digest(module) for module in cells.values()}) == len(cells)
    again = encoder_code("self.layer(x).mean(1)", "\n\n# moved down\n")
    assert module_digest(again) == module_digest(cells["a"])


@dataclass
class Options:
    size: int = 3
    names: frozenset[str] = frozenset({"a", "b"})


class Wrapped(nn.Module):
    """An encoder with all kinds of attributes."""

    def __init__(self, **attributes: object) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.BatchNorm1d(3))
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.5)
        for name, value in attributes.items():
            setattr(self, name, value)


def closing_over(value: object):
    def inner(x: Tensor) -> Tensor:
        return x * value

    return inner


class Configuration:
    """As those of transformers."""

    def __init__(self, layers: int) -> None:
        self.layers = layers

    def to_dict(self) -> dict[str, object]:
        return {"layers": self.layers}


def other_encoders() -> dict[str, nn.Module]:
    made = {
        "as it is": Wrapped(),
        "float": Wrapped(temperature=0.07),
        "other float": Wrapped(temperature=0.08),
        "list": Wrapped(depths=[1, 2]),
        "other list": Wrapped(depths=[12]),
        "dataclass": Wrapped(options=Options()),
        "other dataclass": Wrapped(options=Options(4)),
        "tensor": Wrapped(mean=torch.zeros(3)),
        "other tensor": Wrapped(mean=torch.tensor([0.0, 0.0, 1.0])),
        "function": Wrapped(act=closing_over(2)),
        "other closure": Wrapped(act=closing_over(3)),
        "a network in a closure": Wrapped(act=closing_over(Plain(1.0))),
        "another network in a closure": Wrapped(act=closing_over(Plain(2.0))),
        "partial": Wrapped(act=partial(torch.clamp, min=0)),
        "other partial": Wrapped(act=partial(torch.clamp, min=1)),
        "a list of networks": Wrapped(parts=[Plain(1.0)]),
        "another list of networks": Wrapped(parts=[Plain(2.0)]),
        "configuration": Wrapped(config=Configuration(2)),
        "other configuration": Wrapped(config=Configuration(3)),
        "double": Wrapped().double(),
        "activation": Wrapped(),
        "order": Wrapped(),
        "parameter": Wrapped(),
        "buffer": Wrapped(),
        "eps": Wrapped(),
        "a method on the instance": Wrapped(),
    }
    made["activation"].net[1] = nn.GELU()
    made["order"].net = nn.Sequential(*(made["order"].net[i] for i in (1, 0, 2)))
    made["parameter"].net[0].weight.data[1, 1] += 1e-7
    made["buffer"].net[2].running_mean[0] += 1
    made["eps"].net[2].eps = 1e-3
    made["a method on the instance"].forward = closing_over(5)
    return made


def test_every_change_of_an_encoder_counts():
    digests = {name: module_digest(encoder) for name, encoder in other_encoders().items()}
    assert len(set(digests.values())) == len(digests)
    assert digests == {name: module_digest(encoder) for name, encoder in other_encoders().items()}


def test_what_does_not_matter_does_not_count():
    encoder = Wrapped()
    digest = module_digest(encoder)
    encoder.train(False)
    encoder.requires_grad_(False)
    encoder.register_forward_hook(lambda *_: None)
    encoder._cache = {"a": 1}
    assert module_digest(encoder) == digest


def test_shared_modules_and_cycles_end():
    first = Wrapped()
    first.again = first.net
    first.itself = [first]
    loop: list = []
    loop.append(loop)
    first.loop = loop
    assert module_digest(first) == module_digest(first)


@pytest.mark.slow
def test_keys_are_the_same_in_every_process(tmp_path: Path):
    """Among them those of sets, whose order differs from process to process."""
    code = "import test_bank_key as t; print([t.module_digest(e) for e in t.other_encoders().values()])"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    own = [module_digest(encoder) for encoder in other_encoders().values()]
    assert out.stdout.strip() == str(own), out.stderr


@pytest.mark.parametrize("kind", ["transformers", "timm"])
def test_the_real_libraries_networks_keep_their_key_in_use(kind: str):
    """Running a network, moving it or asking for its state must not change its key."""
    if kind == "transformers":
        from transformers import Dinov2Config, Dinov2Model

        config = Dinov2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
        )
        net = Dinov2Model(config)
    else:
        import timm

        net = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=24, num_heads=2)
    digest = module_digest(net)
    net.eval()
    net(torch.rand(2, 3, *((16, 16) if kind == "transformers" else (32, 32))))
    net.to("cpu").train()
    net.state_dict()
    assert module_digest(net) == digest
    next(net.parameters()).data.view(-1)[0] += 1
    assert module_digest(net) != digest


def test_hashing_images_is_fast():
    images = ImageSet(torch.zeros(8000, 3, 64, 64, dtype=torch.uint8), [0] * 8000, ["a"])  # 98 MB
    start = time.process_time()
    digests = sample_digests(images)
    assert time.process_time() - start < 1.5
    assert len(set(digests.tolist())) == 1


def test_the_views_of_a_seeing_encoder_differ_by_key():
    keys = {encode(Seeing(), views=v, augment="crop-flip").key for v in (1, 2)}
    assert len(keys) == 2
