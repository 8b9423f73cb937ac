"""The one switch: three profiles, chosen by argument or LABKIT_PROFILE and by nothing else."""

from __future__ import annotations

import dataclasses

import pytest

from labkit import LabkitError, profile
from labkit.profiles import PROFILES


def test_cpu_is_the_default_and_the_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert profile().name == "cpu"
    monkeypatch.setenv("LABKIT_PROFILE", "gpu")
    assert profile().name == "gpu"
    assert profile("paper").name == "paper"
    monkeypatch.setenv("LABKIT_PROFILE", "")
    assert profile().name == "cpu"


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_complete_and_frozen(name: str):
    chosen = profile(name)
    assert all(getattr(chosen, field.name) for field in dataclasses.fields(chosen))
    with pytest.raises(dataclasses.FrozenInstanceError):
        chosen.digits = "mnist"


def test_misspelt_profile_names_the_nearest():
    with pytest.raises(LabkitError, match=r"Unknown profile 'gqu'\. Did you mean 'gpu'\?"):
        profile("gqu")


def test_a_lab_without_a_preset_says_so():
    with pytest.raises(LabkitError, match=r"There is no preset lab97\.yaml"):
        profile().lab(97)


def test_a_lab_without_settings_for_the_profile_names_those_it_has():
    with pytest.raises(LabkitError, match=r"Lab 01 has no 'paper' settings .* LABKIT_PROFILE=cpu or gpu\."):
        profile("paper").lab(1)
    assert profile("cpu").lab("01").data == profile("cpu").lab(1).data == "digits"
