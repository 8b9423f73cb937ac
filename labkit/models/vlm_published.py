"""The published CLIP models the course uses, and where their weights are found: the cache, then the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingError
from .hub import reachable


@dataclass(frozen=True)
class PublishedClip:
    """One pretrained entry of open_clip.

    Attributes:
        tag: open_clip's name of the weights.
        repo: their repository on the Hugging Face hub.
        size: of the file, for whoever must fetch it.
        licence: of the weights.
    """

    tag: str
    repo: str
    size: str
    licence: str = "MIT"


PUBLISHED_CLIPS = {
    "ViT-B-32": PublishedClip("laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "0.6 GB"),
    "ViT-B-16": PublishedClip("laion2b_s34b_b88k", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "0.6 GB"),
    "convnext_xxlarge": PublishedClip(
        "laion2b_s34b_b82k_augreg_soup", "laion/CLIP-convnext_xxlarge-laion2B-s34B-b82K-augreg-soup", "4.8 GB"
    ),
}


def published_clip(name: str) -> Path:
    """The weights file of a published model, a key of `PUBLISHED_CLIPS`.

    Raises:
        MissingError: it is neither cached nor within reach, or the download broke off.
    """
    from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    published = PUBLISHED_CLIPS[name]
    files = (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    for file in files:
        cached = try_to_load_from_cache(published.repo, file)
        if isinstance(cached, str):
            return Path(cached)
    if not constants.is_offline_mode() and reachable(hf_hub_url(published.repo, files[0])):
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        for file in files:
            try:
                return Path(hf_hub_download(published.repo, file))
            except LocalEntryNotFoundError:  # the connection went: an EntryNotFoundError as well
                break
            except EntryNotFoundError:  # an older repository without safetensors
                continue
            except OSError:
                break
    raise MissingError(
        f"The published weights of '{name}' ({published.repo} on Hugging Face, {published.size}, licence"
        f" {published.licence}) are not in the local cache and could not be fetched from here: run"
        f" `hf download {published.repo} {files[0]}` once with a connection, or go on without them under"
        " LABKIT_PROFILE=cpu."
    )
