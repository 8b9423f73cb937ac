"""The one switch: which data, networks and budgets the notebooks use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import SimpleNamespace

from .errors import LabkitError, unknown

PROFILES = ("cpu", "gpu", "paper")


@dataclass(frozen=True)
class Profile:
    """Sizes, steps and names for one kind of run; `lab(N)` holds a lab's own settings.

    `name` is 'cpu' (offline, minutes), 'gpu' (real data and weights) or 'paper' (published settings).
    """

    name: str
    digits: str
    images: str
    vlm: str
    self_supervised: str
    lora_backbone: str
    image_size: int

    def lab(self, number: int | str) -> SimpleNamespace:
        """Settings of one lab from `presets/labNN.yaml`: attributes such as `.epochs` or `.teacher`.

        Raises:
            LabkitError: the lab has no settings for this profile.
        """
        name = f"lab{int(number):02d}.yaml"
        settings = _preset(name)
        if self.name not in settings:
            raise LabkitError(
                f"Lab {int(number):02d} has no '{self.name}' settings in presets/{name}:"
                f" choose LABKIT_PROFILE={' or '.join(settings)}."
            )
        return SimpleNamespace(**settings[self.name])


def preset(name: str) -> SimpleNamespace:
    """Settings for one data set, from `presets/NAME.yaml`.

    Raises:
        LabkitError: there are none; `has_preset` tells.
    """
    return SimpleNamespace(**_preset(f"{name}.yaml"))


def has_preset(name: str) -> bool:
    """Whether there are settings for a data set, of a comparison or of `labkit distill` alone."""
    return (resources.files("labkit") / "presets" / f"{name}.yaml").is_file()


def presets() -> list[str]:
    """Names of the data sets whose comparison has settings."""
    files = (resources.files("labkit") / "presets").iterdir()
    names = [file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")]
    others = ("profiles", "intermediates")  # of other commands
    names = [name for name in names if name not in others and not name.startswith("lab")]
    return sorted(name for name in names if "budgets" in _preset(f"{name}.yaml"))


@cache
def _preset(name: str) -> dict:
    import yaml

    file = resources.files("labkit") / "presets" / name
    if not file.is_file():
        raise LabkitError(f"There is no preset {name} in labkit/presets.")
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def profile(name: str | None = None) -> Profile:
    """The profile named here, else by `LABKIT_PROFILE`, else 'cpu'; never chosen by the hardware found.

    Raises:
        LabkitError: the name is not cpu, gpu or paper.
    """
    name = name or os.environ.get("LABKIT_PROFILE") or "cpu"
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return Profile(name=name, **_preset("profiles.yaml")[name])
