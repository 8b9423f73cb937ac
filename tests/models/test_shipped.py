"""Pretrained weights: what shipped is checked to the byte, what is published comes from the cache, soon."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from labkit import manifest, paths
from labkit.errors import LabkitError, MissingError
from labkit.models import build, pretrained
from labkit.models.shipped import PUBLISHED, SHIPPED
from labkit.pretrain import RECIPES, half, store

ARRIVED = [name for name in SHIPPED if (paths.shipped("data") / "weights" / name).is_dir()]
# a proxy that nobody listens at: no connection, whatever machine the test runs on
NOWHERE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A `tiny` of random weights that ships in a data folder of its own."""
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path / "data"))
    model = build("tiny", 200)
    made = tmp_path / "made"
    made.mkdir()
    save_file(model.net.state_dict(), made / "model.safetensors")
    store("tiny", made, "labkit pretrain tiny", root=tmp_path / "data", seed=0)
    return model


def test_every_shipped_model_has_a_recipe():
    assert set(SHIPPED) == set(RECIPES)


@pytest.mark.parametrize("name", ARRIVED)
def test_what_ships_is_whole_small_and_in_half_precision(name: str):
    folder = Path(pretrained(name))
    tensors = load_file(folder / "model.safetensors")
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float16}
    assert all(torch.isfinite(t).all() for t in tensors.values())
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 15e6


def test_all_that_ships_stays_small():
    folder = paths.shipped("data") / "weights"
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= 30e6


def test_weights_are_float32_in_memory_and_those_of_the_file(tiny):
    loaded = build("tiny", 200, weights="pretrained")
    for key, value in tiny.state_dict().items():
        assert loaded.state_dict()[key].dtype == value.dtype
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=1e-3, atol=1e-6)


def test_another_class_count_gets_a_new_head_that_the_seed_decides(tiny):
    models = []
    for _ in range(2):
        torch.manual_seed(5)
        models.append(build("tiny", 7, weights="pretrained"))
    assert models[0].num_classes == models[0].config["num_classes"] == 7
    assert torch.equal(models[0].head.weight, models[1].head.weight)
    torch.testing.assert_close(models[0].net.stem[0].weight, tiny.net.stem[0].weight, rtol=1e-3, atol=1e-6)


def test_other_settings_than_the_shipped_ones_are_refused(tiny):
    with pytest.raises(LabkitError, match=r"does not fit 'tiny'.*\(16, 3, 3, 3\) in the file"):
        build("tiny", 200, weights="pretrained", widths=(8, 24, 32, 48))


def spoil_truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def spoil_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def spoil_foreign(file: Path) -> None:
    save_file({"x": torch.zeros(3)}, file)


@pytest.mark.parametrize("spoil", [spoil_truncate, spoil_a_bit, spoil_foreign])
def test_a_changed_file_is_refused_with_both_hashes_and_the_way_back(tiny, tmp_path: Path, spoil):
    file = Path(pretrained("tiny")) / "model.safetensors"
    wanted = manifest.entries(tmp_path / "data")["weights/tiny/model.safetensors"]["sha256"]
    spoil(file)
    with pytest.raises(LabkitError) as caught:
        build("tiny", 200, weights="pretrained")
    message = str(caught.value)
    assert str(file) in message
    assert f"expected {wanted}" in message
    assert manifest.hashlib.sha256(file.read_bytes()).hexdigest() in message
    assert "labkit pretrain tiny" in message
    assert "\n" not in message


def test_a_file_that_the_manifest_does_not_know_is_refused(tiny):
    extra = Path(pretrained("tiny")) / "pytorch_model.bin"
    extra.write_bytes(b"pickle")
    with pytest.raises(LabkitError, match=r"pytorch_model\.bin is not in data/manifest\.json"):
        pretrained("tiny")


def test_a_lost_file_and_a_lost_folder_are_missing(tiny, tmp_path: Path, monkeypatch):
    folder = Path(pretrained("tiny"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingError, match=r"lacks model\.safetensors.*labkit pretrain tiny"):
        pretrained("tiny")
    shutil.rmtree(folder)
    monkeypatch.setattr(paths, "clone", lambda: tmp_path / "empty")  # else the clone's own are found
    with pytest.raises(MissingError, match="labkit pretrain tiny"):
        build("tiny", 200, weights="pretrained")


def test_names_that_nothing_ships_for():
    with pytest.raises(LabkitError, match="Did you mean 'aviary-clip'"):
        pretrained("aviary_clip")
    with pytest.raises(LabkitError, match="no published weights"):
        pretrained("digit_student")


def test_storing_replaces_what_an_earlier_make_left(tiny, tmp_path: Path):
    made = tmp_path / "made"
    (made / "config.json").write_text("{}")
    store("tiny", made, "command", root=tmp_path / "data")
    (made / "config.json").unlink()
    store("tiny", made, "command", root=tmp_path / "data")
    assert [file.name for file in Path(pretrained("tiny")).iterdir()] == ["model.safetensors"]
    assert list(manifest.entries(tmp_path / "data")) == ["weights/tiny/model.safetensors"]


def test_halving_keeps_integers_and_metadata_and_refuses_what_does_not_fit(tmp_path: Path):
    from safetensors import safe_open

    path = tmp_path / "a.safetensors"
    save_file({"w": torch.tensor([1.5, 3e-4]), "n": torch.tensor(2**40)}, path, metadata={"made": "here"})
    (tmp_path / "b.safetensors").write_bytes(half(path))
    with safe_open(tmp_path / "b.safetensors", framework="pt") as file:
        assert file.get_tensor("w").dtype == torch.float16
        assert file.get_tensor("n") == 2**40
        assert file.metadata() == {"format": "pt", "made": "here"}
    save_file({"w": torch.tensor([1e5])}, path)
    with pytest.raises(LabkitError, match=r"w of a\.safetensors does not fit half precision.*1e\+05"):
        half(path)


def snapshot(cache: Path, repo: str, files: tuple[str, ...]) -> Path:
    """A folder as the hub's client would have left it in its cache."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "snapshots" / "0").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0")
    for file in files:
        (folder / "snapshots" / "0" / file).write_text("{}")
    return folder / "snapshots" / "0"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_come_from_the_cache_without_a_connection(name: str, tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    for key, value in {**NOWHERE, "no_proxy": "", "NO_PROXY": ""}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = snapshot(tmp_path, name, PUBLISHED[name].files)
    assert pretrained(name) == str(folder)
    (folder / "model.safetensors").unlink()  # a download that was broken off
    with pytest.raises(MissingError, match=f"hf download {name} config.json"):
        pretrained(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_without_cache_and_connection_one_sentence_soon(name: str, tmp_path: Path):
    code = f"""
import time
from labkit.models import pretrained
start = time.monotonic()
try:
    pretrained({name!r})
except FileNotFoundError as error:
    print(error)
assert time.monotonic() - start < 20
"""
    environment = {**os.environ, **NOWHERE, "HF_HOME": str(tmp_path), "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    (message,) = done.stdout.splitlines()
    facts = PUBLISHED[name]
    for part in (name, facts.size, facts.licence, f"hf download {name} config.json", "LABKIT_PROFILE=cpu"):
        assert part in message


def test_offline_mode_of_the_hub_is_respected(tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    from labkit.models import shipped

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = []
    monkeypatch.setattr(shipped, "reachable", asked.append)
    with pytest.raises(MissingError, match="HF_HUB_OFFLINE forbids"):
        pretrained("facebook/dinov2-base")
    assert not asked
