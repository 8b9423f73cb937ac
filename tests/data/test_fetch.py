"""Downloads: a local mirror, and everything that can go wrong with a network."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from mnist_replica import arrays, write_idx
from torchvision.datasets import MNIST

from labkit import LabkitError, data
from labkit.data import fetch
from labkit.errors import MissingError


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder; below /short it announces twice of what it sends."""

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Send the file, whole or cut off."""
        if not self.path.startswith("/short/"):
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", "2000")
        self.end_headers()
        self.wfile.write(b"x" * 1000)

    def do_HEAD(self) -> None:
        """Answer for /short as well."""
        if self.path.startswith("/short/"):
            self.send_response(200)
            self.end_headers()
        else:
            super().do_HEAD()


@contextmanager
def mirror(folder: Path) -> Iterator[str]:
    """A web server on this machine; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def address(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A mirror with a small MNIST; torchvision's checksums are those of its files."""
    files = write_idx(tmp_path / "www", packed=True)
    sums = {f.name: hashlib.md5(f.read_bytes()).hexdigest() for f in files.iterdir()}
    monkeypatch.setattr(MNIST, "resources", [(name, sums[name]) for name, _ in MNIST.resources])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with mirror(files) as url:
        monkeypatch.setattr(MNIST, "mirrors", [url])
        yield url


def test_a_fetched_set_lies_in_the_cache_and_can_be_removed(address: str, alone: Path) -> None:
    before = socket.getdefaulttimeout()
    assert data.get("mnist") == alone / "datasets" / "mnist"
    assert socket.getdefaulttimeout() == before
    assert np.array_equal(data.load("mnist").test.images[:, 0].numpy(), arrays()["test_images"])
    assert not list(alone.rglob("*.gz"))
    assert not list(alone.rglob(".partial"))
    assert data.get("mnist") == alone / "datasets" / "mnist"  # nothing to do
    assert data.remove("mnist")
    assert not next(i for i in data.info() if i.name == "mnist").present


def test_download_true_fetches_into_root(address: str, tmp_path: Path, alone: Path) -> None:
    module = data.load("mnist", root=tmp_path / "here", download=True)
    assert len(module.test) == 20
    assert (tmp_path / "here" / "MNIST" / "raw").is_dir()
    assert not alone.exists()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cut off", "wrong checksum", "not there"])
def test_a_broken_download_leaves_nothing_to_read(
    address: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "cut off":
        monkeypatch.setattr(MNIST, "mirrors", [f"{address}short/"])
    if fault == "not there":
        monkeypatch.setattr(MNIST, "mirrors", [f"{address}nowhere/"])
    if fault == "wrong checksum":
        monkeypatch.setattr(MNIST, "resources", [(name, "0" * 32) for name, _ in MNIST.resources])
    with pytest.raises(MissingError, match=r"download of 'mnist' broke off .*LABKIT_PROFILE=cpu") as caught:
        data.get("mnist")
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingError, match="was not found"):
        data.load("mnist")


def test_a_cache_that_cannot_be_written_is_named(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(LabkitError, match=str(tmp_path / "file")):
        data.get("mnist")


SCRIPT = """
import json, sys, time
from labkit.data import load
from labkit.errors import MissingError
import torchvision.datasets
start = time.perf_counter()
try:
    load(sys.argv[1], download=True)
except MissingError as error:
    print(json.dumps([time.perf_counter() - start, str(error)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "proxy"), [("cifar10", "refuses"), ("mnist", "never answers")])
def test_without_a_network_the_answer_comes_soon(alone: Path, name: str, proxy: str) -> None:
    with socket.socket() as server:  # bound: connections are refused; listening: accepted and left waiting
        server.bind(("127.0.0.1", 0))
        if proxy == "never answers":
            server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), address)
        environment = os.environ | proxies | {"no_proxy": "", "NO_PROXY": ""}
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, name], capture_output=True, text=True, env=environment, timeout=120
        )
    assert run.returncode == 0, run.stderr
    seconds, message = json.loads(run.stdout)
    assert seconds < 15
    assert "out of reach" in message
    assert f"`labkit data get {name}`" in message
    assert "LABKIT_PROFILE=cpu" in message


def test_an_address_that_swallows_packets_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PROBE_SECONDS", 1.0)
    monkeypatch.setattr(fetch, "_probe", lambda url, answers: threading.Event().wait(30))  # a name look-up
    assert fetch.unreachable(["http://a/", "http://b/"]) == "no answer within 1 s"
