"""Generic-label pretraining: its data, what a run leaves, and that transformers and labkit agree on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from labkit import manifest
from labkit.data.aviary import BENCHMARK, GENERIC
from labkit.errors import LabkitError
from labkit.models import build, pretrained
from labkit.models.roster import VIT_SETTINGS
from labkit.pretrain import RECIPES, classifier, pretrain


class Made(NamedTuple):
    root: Path
    metrics: dict


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A data folder with a barely trained `aviary-vit`."""
    root = tmp_path_factory.mktemp("data")
    return Made(root, pretrain("aviary-vit", size="test", seed=1, out=root, steps=2, progress=False))


@pytest.fixture
def folder(vit: Made, monkeypatch: pytest.MonkeyPatch) -> str:
    """The verified folder of that model."""
    monkeypatch.setenv("LABKIT_DATA", str(vit.root))
    return pretrained("aviary-vit")


def test_every_recipe_of_the_roster_has_steps():
    assert set(classifier.STEPS) <= set(RECIPES)
    assert len(classifier.STEPS) == 8


def test_generic_labels_are_species_of_no_benchmark():
    data = classifier.generic(400, 200)
    assert data.num_classes == 200
    assert not {*GENERIC} & {*BENCHMARK}
    assert not {*data.classes} & {species.name for species in BENCHMARK}
    assert not {*data.train.ids.tolist()} & {*data.val.ids.tolist()}
    assert torch.bincount(data.train.labels).tolist() == [2] * 200


@pytest.mark.slow
def test_metrics_and_the_manifest_tell_the_run(vit: Made):
    assert set(vit.metrics) >= {"generic_val_accuracy", "probe_val_accuracy", "probe_test_accuracy", "steps"}
    entries = manifest.entries(vit.root)
    assert set(entries) == {"weights/aviary-vit/config.json", "weights/aviary-vit/model.safetensors"}
    for entry in entries.values():
        assert entry["command"] == "labkit pretrain aviary-vit --seed 1 --size test"
        assert entry["seed"] == 1
        assert entry["minutes"] > 0
        assert entry["metrics"] == vit.metrics
        assert "cores" in entry["machine"]


@pytest.mark.slow
def test_transformers_and_labkit_give_the_same_logits(folder: str):
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    theirs = AutoModelForImageClassification.from_pretrained(folder).eval()
    ours = build("aviary-vit", 200, weights="pretrained").eval()
    assert theirs.dtype == torch.float32
    assert theirs.config.id2label[0] == GENERIC[0].name
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    pixels = AutoImageProcessor.from_pretrained(folder)(pictures)["pixel_values"]
    with torch.no_grad():
        torch.testing.assert_close(ours(images / 255).logits, theirs(pixels).logits)


def test_a_new_head_keeps_the_rest(folder: str):
    from transformers import AutoModelForImageClassification

    theirs = AutoModelForImageClassification.from_pretrained(
        folder, num_labels=60, ignore_mismatched_sizes=True
    )
    ours = build("aviary-vit", 60, weights="pretrained")
    assert theirs.timm_model.head.out_features == ours.head.out_features == 60
    state = ours.net.state_dict()
    for key, value in theirs.timm_model.state_dict().items():
        if not key.startswith("head."):
            assert torch.equal(state[key], value), key


@pytest.mark.slow
def test_peft_finds_its_modules(folder: str):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(
        folder, num_labels=60, ignore_mismatched_sizes=True
    )
    x = torch.rand(2, 3, 64, 64)
    before = model.eval()(x).logits
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["qkv"], modules_to_save=["head"]))
    torch.testing.assert_close(tuned.eval()(x).logits, before)  # B starts at zero
    width = VIT_SETTINGS["embed_dim"]
    adapters = VIT_SETTINGS["depth"] * 4 * (width + 3 * width)
    trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    assert trained == adapters + 60 * width + 60


def test_configuration_repeats_the_network(folder: str):
    config = json.loads((Path(folder) / "config.json").read_text())
    assert config["model_args"] == VIT_SETTINGS
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 64]
    assert len(config["label_names"]) == config["num_classes"] == 200


@pytest.mark.slow
def test_the_seed_decides_the_weights(tmp_path: Path):
    states = []
    for run, seed in enumerate((0, 0, 1)):
        out = tmp_path / str(run)
        pretrain("tiny", size="test", seed=seed, out=out, steps=2, precision="fp32", progress=False)
        states.append((out / "weights/tiny/model.safetensors").read_bytes())
    assert states[0] == states[1]
    assert states[0] != states[2]


@pytest.mark.slow
def test_training_lowers_the_loss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    runs = []
    fit = classifier.fit
    monkeypatch.setattr(classifier, "fit", lambda *a, **k: runs.append(fit(*a, **k)))
    classifier.pretrain(tmp_path, name="tiny", size="test", steps=24, progress=False)
    (run,) = runs
    assert sum(run.losses[-6:]) < sum(run.losses[:6]) - 0.3
    assert (tmp_path / "model.safetensors").is_file()


def test_fused_attention_is_switched_and_comes_back():
    model = build("aviary-vit", 3)
    changed = classifier._fused_attention(model, False)
    assert len(changed) == VIT_SETTINGS["depth"]
    assert not classifier._fused_attention(model, False)
    assert len(classifier._fused_attention(model, True)) == len(changed)


@pytest.mark.parametrize(("name", "size"), [("mid", "huge"), ("medium", "test")])
def test_unknown_names_and_sizes(name: str, size: str, tmp_path: Path):
    with pytest.raises(LabkitError, match="Unknown"):
        pretrain(name, size=size, out=tmp_path)
    with pytest.raises(LabkitError, match="Unknown"):
        classifier.pretrain(tmp_path, name=name, size=size)
