"""Published weights: the cache answers without a connection, and without both there is one sentence, soon."""

import os
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

from labkit.errors import LabkitError, MissingError
from labkit.models import build
from labkit.models.hub import reachable


def test_timm_weights_come_from_the_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    published = build("resnet18", 1000)
    folder = tmp_path / "models--timm--resnet18.a1_in1k"
    (folder / "snapshots" / "0").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0")
    save_file(published.net.state_dict(), folder / "snapshots" / "0" / "model.safetensors")

    same = build("resnet18", 1000, weights="pretrained")
    assert torch.equal(same.head.weight, published.head.weight)
    fresh = build("resnet18", 7, weights="pretrained")
    assert torch.equal(fresh.net.conv1.weight, published.net.conv1.weight)
    assert fresh.head.weight.shape == (7, 512)


def test_torchvision_weights_come_from_the_cache(tmp_path, monkeypatch):
    import torchvision

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    published = torchvision.models.resnet18()
    url = torchvision.models.ResNet18_Weights.DEFAULT.url
    (tmp_path / "checkpoints").mkdir()
    torch.save(published.state_dict(), tmp_path / "checkpoints" / url.rsplit("/", 1)[-1])

    same = build("torchvision/resnet18", 1000, weights="pretrained")
    assert torch.equal(same.head.weight, published.fc.weight)
    grey = build("torchvision/resnet18", 7, in_chans=1, weights="pretrained")
    torch.testing.assert_close(grey.net.conv1.weight, published.conv1.weight.sum(1, keepdim=True))
    assert grey.head.weight.shape == (7, 512)


# a proxy that nobody listens at: no connection, whatever machine the test runs on
NOWHERE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


@pytest.mark.slow
def test_timm_without_cache_and_connection_says_so_soon(tmp_path):
    code = """
import time
from labkit.models import build
start = time.monotonic()
try:
    build("resnet18", 10, weights="pretrained")
except FileNotFoundError as error:
    print(error)
assert time.monotonic() - start < 20
"""
    environment = {**os.environ, **NOWHERE, "HF_HOME": str(tmp_path), "no_proxy": "", "NO_PROXY": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    message = done.stdout.strip()
    assert message.startswith("The published weights of 'resnet18'")
    assert "timm/resnet18.a1_in1k" in message
    assert "LABKIT_PROFILE=cpu" in message


def test_torchvision_without_cache_and_connection_says_so_soon(tmp_path, monkeypatch):
    for key, value in {**NOWHERE, "no_proxy": "", "NO_PROXY": ""}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingError, match=r"ResNet18_Weights.IMAGENET1K_V1, 45 MB.*LABKIT_PROFILE=cpu"):
        build("torchvision/resnet18", 10, weights="pretrained")


def test_a_silent_host_costs_no_more_than_the_patience():
    import socket

    with socket.socket() as deaf:  # accepts connections and never answers
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        start = time.monotonic()
        assert not reachable(f"http://127.0.0.1:{deaf.getsockname()[1]}", patience=0.3)
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("name", ["mixer_s32_224", "digit_student"])
def test_networks_without_published_weights_say_so(name):
    with pytest.raises(LabkitError, match=r"publishes no weights|no published weights"):
        build(name, 10, weights="pretrained")
