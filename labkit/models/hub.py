"""Published weights: the local cache first, then one quick look for a connection, never a hang."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from ..errors import LabkitError, MissingError

_PATIENCE = 6.0  # seconds to find out that a host can't be reached
_STALL = 30.0  # seconds without a byte before a download is given up


def reachable(url: str, patience: float = _PATIENCE) -> bool:
    """Whether the host of `url` answers at all, decided within `patience` seconds.

    Asked in a thread of its own, because a resolver without a network may block for much longer than any
    timeout that Python lets us set.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=patience).close()
        except urllib.error.HTTPError:
            pass  # an answer is an answer
        except OSError:
            return
        answered.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patience)
    return answered.is_set()


def timm_weights(name: str, published: Any) -> Path:
    """File of the published weights of a timm network; `published` is its pretrained configuration.

    Raises:
        LabkitError: timm publishes none.
        MissingError: they are neither cached nor within reach, or the download broke off.
    """
    if published is None or not (published.hf_hub_id or published.url):
        raise LabkitError(
            f"timm publishes no weights for '{name}': leave weights=None, or give the path of a .safetensors"
            " file."
        )
    licence = f", licence {published.license}" if published.license else ""
    if published.hf_hub_id:
        return _from_hub(name, published.hf_hub_id, published.hf_hub_filename or "pytorch_model.bin", licence)
    return _from_url(name, published.url, f"timm's releases{licence}")


def torchvision_weights(name: str, published: Any) -> dict[str, torch.Tensor]:
    """State dict of a torchvision weights entry such as `ResNet18_Weights.IMAGENET1K_V1`.

    Raises:
        MissingError: they are neither cached nor within reach, or the download broke off.
    """
    size = f", {published.meta['_file_size']:.0f} MB" if "_file_size" in published.meta else ""
    path = _from_url(f"torchvision/{name}", published.url, f"torchvision's {published}{size}")
    return torch.load(path, map_location="cpu", weights_only=True)


def _from_hub(name: str, model_id: str, filename: str, licence: str) -> Path:
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache

    repo, _, revision = model_id.partition("@")
    files = dict.fromkeys([filename.replace("pytorch_model.bin", "model.safetensors"), filename])
    for file in files:
        cached = try_to_load_from_cache(repo, file, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    if not constants.is_offline_mode() and reachable(hf_hub_url(repo, next(iter(files)))):
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        for file in files:
            try:
                return Path(hf_hub_download(repo, file, revision=revision or None))
            except LocalEntryNotFoundError:
                break
            except EntryNotFoundError:
                continue
            except OSError:
                break
    raise _missing(name, f"Hugging Face model '{repo}'{licence}", f"hf download {repo} {next(iter(files))}")


def _from_url(name: str, url: str, source: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if path.exists():
        return path
    if reachable(url):
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_STALL)  # torch sets none, and would wait for a stalled download for ever
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
            return path
        except OSError:
            pass
        finally:
            socket.setdefaulttimeout(before)
    command = f"python -c \"from labkit.models import build; build('{name}', 1000, weights='pretrained')\""
    raise _missing(name, source, command)


def _missing(name: str, source: str, command: str) -> MissingError:
    return MissingError(
        f"The published weights of '{name}' ({source}) are not in the local cache and could not be fetched"
        f" from here: run `{command}` once with a connection, or go on without them under LABKIT_PROFILE=cpu."
    )
