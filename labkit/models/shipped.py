"""Where pretrained weights come from: the shipped ones are verified, the published ones cached or fetched.

>>> pretrained("aviary-vit")  # doctest: +SKIP
'.../data/weights/aviary-vit'
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import manifest
from ..errors import LabkitError, MissingError, unknown
from ..paths import asset
from .classifier import Classifier
from .hub import reachable
from .registry import own_names
from .weights import head_keys, load_weights

CNNS = (  # the roster of the cpu profile, see `roster`
    "tiny",
    "small",
    "mobilenetv2_narrow",
    "shufflenetv2_narrow",
    "mid",
    "regnety_004_s8",
    "resnet_narrow",
)
SHIPPED = ("aviary-clip", "aviary-dinov2", "aviary-vit", *CNNS)


@dataclass(frozen=True)
class Published:
    """A model on the Hugging Face hub: what its one sentence says, and which files make it whole."""

    size: str
    licence: str
    files: tuple[str, ...] = ("config.json", "model.safetensors")


PUBLISHED = {
    "facebook/dinov2-base": Published(
        "346 MB", "apache-2.0", ("config.json", "preprocessor_config.json", "model.safetensors")
    ),
    "timm/vit_small_patch16_224.augreg_in21k": Published("120 MB", "apache-2.0"),
}


def pretrained(name: str) -> str:
    """The local folder of pretrained weights, complete and checked; transformers' `from_pretrained` takes it.

    Args:
        name: a shipped model such as 'aviary-dinov2' or 'tiny', or OWNER/NAME on the Hugging Face hub, whose
            local cache is asked first; without the files and without a connection this fails within seconds.

    Raises:
        LabkitError: an unknown name; a shipped file that is damaged, truncated or not labkit's own.
        MissingError: shipped weights that are not there, or published ones that are neither in the cache nor
            within reach.
    """
    return str(_from_hub(name) if "/" in str(name) else _shipped(name))


def load_pretrained(model: Classifier) -> Classifier:
    """Load the shipped weights of one of labkit's own networks; the head is new where the classes differ.

    Raises:
        LabkitError: the network was built with other settings than the shipped one, or the file is damaged.
        MissingError: there are none for this network.
    """
    from safetensors import safe_open

    path = Path(pretrained(model.name)) / "model.safetensors"
    wanted = model.num_classes
    with safe_open(path, framework="pt") as file:
        names = file.keys()
        head = next(key for key in sorted(head_keys(model)) if key.endswith("weight"))
        head = head if head in names else head.removeprefix("net.")
        classes = file.get_slice(head).get_shape()[0] if head in names else wanted
    if classes == wanted:
        return load_weights(model, path)
    return load_weights(model.reset_head(classes), path).reset_head(wanted)


def _shipped(name: str) -> Path:
    """The folder of a shipped model, every file of which is the manifest's."""
    if name not in SHIPPED and name in own_names():
        raise LabkitError(
            f"'{name}' has no published weights: weights=None, or the path of a .safetensors file."
        )
    if name not in SHIPPED:
        raise unknown("pretrained model", name, {*SHIPPED, *PUBLISHED})
    try:
        folder = asset(f"weights/{name}")
    except MissingError as error:
        raise MissingError(
            f"The weights of '{name}' are not in data/weights: make them with `labkit pretrain {name}`,"
            " or restore the folder if it was lost."
        ) from error
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    present = {file for file in present if not file.startswith(".")}
    listed = {entry.removeprefix(f"weights/{name}/") for entry in _entries(folder) if _within(entry, name)}
    if lost := sorted(listed - present):
        raise MissingError(
            f"{folder} lacks {', '.join(lost)}: restore it (`git checkout data/weights/{name}`, or reinstall"
            f" labkit), or run `labkit pretrain {name}`."
        )
    if not present:
        raise MissingError(f"{folder} is empty: run `labkit pretrain {name}`, or reinstall labkit.")
    for file in sorted(present):
        manifest.verified(f"weights/{name}/{file}")
    return folder


def _entries(folder: Path) -> dict[str, dict]:
    root = folder.parents[1]
    return manifest.entries(root if (root / manifest.NAME).is_file() else None)


def _within(entry: str, name: str) -> bool:
    return entry.startswith(f"weights/{name}/")


def _from_hub(name: str) -> Path:
    """The snapshot folder of a published model."""
    from huggingface_hub import constants, hf_hub_url

    repo, _, revision = name.partition("@")
    facts = PUBLISHED.get(repo, Published("", ""))
    if folder := _cached(repo, revision or "main", facts.files):
        return folder
    offline = constants.is_offline_mode()
    if not offline and reachable(hf_hub_url(repo, facts.files[0])):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

        try:
            return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(facts.files)))
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise LabkitError(
                f"There is no model '{repo}' on the Hugging Face hub: check the name."
            ) from error
        except (OSError, HfHubHTTPError):  # broken off: the sentence below
            pass
    what = ", ".join(filter(None, [facts.size, facts.licence and f"licence {facts.licence}"]))
    why = "HF_HUB_OFFLINE forbids to fetch them" if offline else "they could not be fetched from here"
    raise MissingError(
        f"The published weights of '{repo}' (Hugging Face{', ' * bool(what)}{what}) are not in the local"
        f" cache, and {why}: run `hf download {repo} {' '.join(facts.files)}` once with a connection, or go"
        " on without them under LABKIT_PROFILE=cpu."
    )


def _cached(repo: str, revision: str, files: tuple[str, ...]) -> Path | None:
    """The snapshot in the local cache that holds all `files`."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repo, file, revision=revision) for file in files]
    folders = {Path(path).parent for path in found if isinstance(path, str)}
    return folders.pop() if all(isinstance(p, str) for p in found) and len(folders) == 1 else None
