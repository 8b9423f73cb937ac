"""Adapters on a classifier: what trains, what is kept, and that merging changes nothing but the speed."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from transformers import (
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from labkit import engine, methods
from labkit.data import DataModule, ImageSet
from labkit.errors import LabkitError, MissingError
from labkit.models import Classifier, build, lora, shipped

SHAPE = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 3, "num_heads": 2}


def wrapped(classes: int = 5, **kw) -> TimmWrapperForImageClassification:
    """transformers' wrapper of a ViT of the miniature's shape, much smaller."""
    torch.manual_seed(0)
    config = TimmWrapperConfig(
        architecture="vit_tiny_patch16_224",
        model_args=SHAPE,
        num_labels=classes,
        pretrained_cfg={"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
        **kw,
    )
    return TimmWrapperForImageClassification(config)


def vit(**kw) -> Classifier:
    return lora.from_transformers(wrapped(**kw))


def adapted(rank: int = 2, alpha: float = 3.0, dropout: float = 0.0, **kw) -> Classifier:
    """A network whose adapters are no longer at their start."""
    model = lora.add_lora(vit(), rank, alpha, dropout, **kw)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in lora.lora_parameters(model):
            p.copy_(torch.randn(p.shape, generator=generator) / 4)
    return model.eval()


def data(n: int = 24) -> DataModule:
    def images(count: int, seed: int) -> ImageSet:
        pixels = torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(seed))
        return ImageSet(pixels.to(torch.uint8), torch.arange(count) % 5, tuple("abcde"))

    return DataModule("noise", images(n, 1), images(10, 2), images(10, 3))


X = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def test_transformers_model_becomes_the_same_classifier():
    model = wrapped().eval()
    ours = lora.from_transformers(model).eval()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    torch.testing.assert_close(ours(X).logits, model((X - mean) / std).logits)
    assert ours.config["name"] == "vit_tiny_patch16_224"
    assert build(**ours.config)(X).logits.shape == (4, 5)


def test_only_timm_networks_fit():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    with pytest.raises(LabkitError, match="not ViTForImageClassification"):
        lora.from_transformers(ViTForImageClassification(ViTConfig(**sizes)))


def test_load_vit_takes_a_folder_with_another_head(tmp_path, monkeypatch):
    """As the shipped one: half precision on disk, the pretraining's classes, then ours."""
    wrapped(classes=9).half().save_pretrained(tmp_path)
    monkeypatch.setattr(shipped, "pretrained", lambda name: str(tmp_path))
    torch.manual_seed(3)
    first = lora.load_vit("aviary-vit", 5)
    torch.manual_seed(3)
    second = lora.load_vit("aviary-vit", 5)
    assert first.num_classes == 5
    assert {p.dtype for p in first.parameters()} == {torch.float32}
    torch.testing.assert_close(first.head.weight, second.head.weight)
    torch.testing.assert_close(
        first.net.blocks[0].attn.qkv.weight.half(), vit(classes=9).net.blocks[0].attn.qkv.weight.half()
    )
    assert first.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_adapters_change_nothing_at_first_and_only_they_and_the_head_train():
    model = vit().eval()
    before = model(X).logits
    assert lora.add_lora(model, rank=2, alpha=3.0, dropout=0.5) is model
    torch.testing.assert_close(model(X).logits, before)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n in trained if "lora_" not in n} == {"net.head.weight", "net.head.bias"}
    assert len(lora.lora_parameters(model)) == 2 * SHAPE["depth"]
    width = SHAPE["embed_dim"]
    adapters = SHAPE["depth"] * 2 * (width + 3 * width)  # depth · r · (in + out)
    assert sum(p.numel() for p in lora.lora_parameters(model)) == adapters
    trainable, total, share = lora.trainable_share(model)
    assert trainable == adapters + 5 * width + 5
    assert total == sum(p.numel() for p in vit().parameters()) + adapters
    assert share == pytest.approx(trainable / total)
    assert f"{trainable:,} of {total:,}" in str(lora.trainable_share(model))


def test_the_update_is_alpha_over_r_times_b_a():
    model, rank, alpha = vit(), 2, 3.0
    plain = copy.deepcopy(model).eval()
    torch.manual_seed(0)
    lora.add_lora(model, rank, alpha).eval()
    with torch.no_grad():
        for before, after in zip(plain.net.blocks, model.net.blocks, strict=True):
            layer = after.attn.qkv
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            assert not b.any()
            assert 0.5 / math.sqrt(12) < a.abs().max() <= 1 / math.sqrt(12)  # Kaiming-uniform, a = sqrt 5
            b.normal_(std=0.3)
            before.attn.qkv.weight += alpha / rank * b @ a
    torch.testing.assert_close(model(X).logits, plain(X).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("targets", [("qkv",), ("qkv", "proj", "fc1", "fc2")])
def test_merged_equals_unmerged(targets):
    model = adapted(targets=targets)
    before = model(X).logits
    merged = lora.merge(model)
    assert (merged(X).logits - before).abs().max() < 1e-5
    assert (merged(X).logits - vit().eval()(X).logits).abs().max() > 1e-2
    torch.testing.assert_close(model(X).logits, before)  # the original is untouched
    assert merged.config == vit().config
    assert merged.state_dict().keys() == vit().state_dict().keys()
    with pytest.raises(LabkitError, match="merge once"):
        lora.merge(merged)


def test_adapters_file_is_small_and_comes_back(tmp_path):
    model = adapted()
    path = lora.save_adapter(model, tmp_path / "task.safetensors")
    trained = 4 * lora.trainable_share(model).trainable
    assert trained < path.stat().st_size < trained + 4096
    other = lora.add_lora(vit(), 2, 3.0).eval()
    lora.load_adapter(other, path)
    torch.testing.assert_close(other(X).logits, model(X).logits)
    with pytest.raises(LabkitError, match=r"\(2, 12\) in the file"):
        lora.load_adapter(lora.add_lora(vit(), 4, 3.0), path)
    with pytest.raises(MissingError):
        lora.load_adapter(other, tmp_path / "nothing.safetensors")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(LabkitError, match="damaged"):
        lora.load_adapter(other, path)
    with pytest.raises(LabkitError, match="no adapter"):
        lora.save_adapter(vit(), path)


def test_fit_moves_adapters_and_head_alone(tmp_path):
    model = lora.add_lora(vit(), 2, 2.0, 0.1)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    method = methods.create("scratch", student=model)
    engine.fit(method, data(), steps=6, batch_size=8, lr=0.01, out=tmp_path / "run", progress=False)
    moved = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert moved == {name for name in before if "lora_" in name or "head." in name}


def test_a_run_with_adapters_is_saved_and_loaded(tmp_path):
    model = lora.add_lora(vit(), 2, 2.0, 0.1, ("qkv", "fc1"))
    run = engine.fit(
        methods.create("scratch", student=model), data(), steps=4, batch_size=8, lr=0.01,
        out=tmp_path / "run", progress=False,
    )  # fmt: skip
    loaded = engine.load_run(tmp_path / "run").model
    torch.testing.assert_close(loaded(X).logits, run.model(X).logits, rtol=0, atol=0)
    torch.testing.assert_close(loaded.mean, run.model.mean)
    assert lora.trainable_share(loaded) == lora.trainable_share(run.model)
    torch.testing.assert_close(lora.merge(loaded)(X).logits, run.model(X).logits, rtol=1e-5, atol=1e-5)


class Stops(methods.Scratch):
    """Breaks off at one step, as a power cut would."""

    name = "stops"

    def __init__(self, student: nn.Module, at: int | None = None) -> None:
        super().__init__(student)
        self.at, self.calls = at, 0

    def losses(self, batch, progress):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return super().losses(batch, progress)


def test_a_run_with_adapters_is_resumed(tmp_path):
    settings = {"epochs": 3, "batch_size": 8, "lr": 0.01, "progress": False}
    whole = Stops(lora.add_lora(vit(), 2, 2.0, 0.5))
    engine.fit(whole, data(), out=tmp_path / "whole", **settings)
    broken = Stops(lora.add_lora(vit(), 2, 2.0, 0.5), at=5)
    with pytest.raises(KeyboardInterrupt):
        engine.fit(broken, data(), out=tmp_path / "run", **settings)
    again = Stops(lora.add_lora(vit(), 2, 2.0, 0.5))
    run = engine.fit(again, data(), out=tmp_path / "run", resume=True, **settings)
    torch.testing.assert_close(run.model(X).logits, whole.student(X).logits, rtol=0, atol=0)
    with pytest.raises(LabkitError, match=r"model\.rank"):
        engine.fit(
            Stops(lora.add_lora(vit(), 3, 2.0, 0.5)), data(), out=tmp_path / "run", resume=True, **settings
        )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rank": 0}, "rank"),
        ({"rank": 2.5}, "rank"),
        ({"alpha": 0}, "alpha"),
        ({"dropout": 1.0}, "dropout"),
        ({"targets": ("query", "value")}, "'query', 'value'.*qkv"),
        ({"targets": "qkv"}, "give a list"),
        ({"targets": ()}, "give a list"),
    ],
)
def test_bad_options_are_named(options, says):
    model = vit()
    with pytest.raises(LabkitError, match=says):
        lora.add_lora(model, **options)
    assert all(p.requires_grad for p in model.parameters())


def test_adapters_are_added_once():
    with pytest.raises(LabkitError, match="adapters already"):
        lora.add_lora(adapted())


def test_building_by_name_needs_the_network_below():
    with pytest.raises(LabkitError, match="add_lora"):
        build("lora", 5)


def test_the_wrong_module_to_save_leaves_a_timm_head_frozen():
    """The bug of lab 09, with the installed peft: no error, no warning, and a head that never learns."""
    import warnings

    from peft import LoraConfig, get_peft_model

    trained = {}
    for name in ("head", "classifier"):
        config = LoraConfig(r=2, lora_alpha=2, target_modules=["qkv"], modules_to_save=[name])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model = get_peft_model(wrapped(), config)
        trained[name] = [n for n, p in model.named_parameters() if p.requires_grad and ".head." in n]
    assert len(trained["head"]) == 2
    assert trained["classifier"] == []


def test_the_published_architecture_takes_the_same_code():
    """`vit_small_patch16_224.augreg_in21k` from its configuration, with random weights and fewer blocks."""
    depth = 4
    config = TimmWrapperConfig(
        architecture="vit_small_patch16_224", num_labels=10, model_args={"depth": depth}
    )
    model = lora.from_transformers(TimmWrapperForImageClassification(config))
    share = lora.trainable_share(lora.add_lora(model, 16, 16.0, 0.1))
    assert share.trainable == depth * 16 * (384 + 3 * 384) + 384 * 10 + 10
    assert share.share < 0.05
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        for p in lora.lora_parameters(model):
            p.add_(0.02 * torch.randn_like(p))
        model.eval()
        difference = (lora.merge(model)(image).logits - model(image).logits).abs().max()
    assert difference < 1e-5
    model.train()(image).logits.sum().backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == set(lora.adapter_state(model))


def test_the_published_weights_load(monkeypatch):
    """Only where the hub's local cache has them."""
    from huggingface_hub import try_to_load_from_cache

    name = "timm/vit_small_patch16_224.augreg_in21k"
    if not isinstance(try_to_load_from_cache(name, "model.safetensors"), str):
        pytest.skip(f"{name} is not in the local Hugging Face cache")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = lora.add_lora(lora.load_vit(name, 10))
    assert model(torch.rand(1, 3, 224, 224)).logits.shape == (1, 10)
