"""The four files that name requirements agree: pyproject, environment.yml, constraints.txt, CITATION.cff."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import labkit

THE_TEN = (
    "torch torchvision open-clip-torch transformers peft jupyterlab matplotlib scikit-learn ipywidgets nbval"
)


@pytest.fixture(scope="module")
def pyproject(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def requirements(pyproject: dict) -> list[Requirement]:
    """labkit's dependencies with both extras."""
    project = pyproject["project"]
    extras = project["optional-dependencies"]
    return [Requirement(r) for r in (*project["dependencies"], *extras["test"], *extras["instructor"])]


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, Version]:
    lines = (root / "constraints.txt").read_text().splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    for line in entries:
        assert re.fullmatch(r"[A-Za-z0-9][\w.-]*==[\w.!+-]+( ; .+)?", line), f"not name==version: {line}"
    parsed = [Requirement(line) for line in entries]
    assert len({canonicalize_name(r.name) for r in parsed}) == len(parsed), "a name is pinned twice"
    return {canonicalize_name(r.name): Version(next(iter(r.specifier)).version) for r in parsed}


def normal(requirement: Requirement) -> tuple:
    return (
        canonicalize_name(requirement.name),
        frozenset(requirement.extras),
        frozenset(map(str, requirement.specifier)),
        str(requirement.marker or ""),
    )


def test_conda_environment_equals_pyproject(root: Path, pyproject: dict, requirements: list[Requirement]):
    conda = yaml.safe_load((root / "environment.yml").read_text())["dependencies"]
    python, pip, nested = conda
    assert python == "python" + pyproject["project"]["requires-python"]
    assert pip == "pip"
    listed = [normal(Requirement(r)) for r in nested["pip"]]
    assert len(listed) == len(set(listed)), "environment.yml names something twice"
    assert set(listed) == {normal(r) for r in requirements}


def test_conda_environment_names_the_ten_packages(root: Path):
    nested = yaml.safe_load((root / "environment.yml").read_text())["dependencies"][-1]["pip"]
    assert set(THE_TEN.split()) <= {Requirement(r).name for r in nested}


def test_constraints_pin_all_direct_dependencies_within_their_ranges(
    pins: dict[str, Version], requirements: list[Requirement]
):
    for need in requirements:
        pinned = pins.get(canonicalize_name(need.name))
        assert pinned is not None, f"constraints.txt does not pin {need.name}"
        assert need.specifier.contains(pinned), f"{need.name}=={pinned} is outside {need.specifier}"


def test_constraints_hold_no_address_and_nothing_that_follows_from_torch(
    root: Path, pins: dict[str, Version]
):
    text = (root / "constraints.txt").read_text()
    assert not re.search(r"://|--|@|\bfile:", "\n".join(x for x in text.splitlines() if x[:1] != "#"))
    assert "://" not in text
    assert not [name for name in pins if name.startswith(("nvidia-", "cuda-", "triton", "labkit"))]


@pytest.mark.parametrize(
    "versions",
    [
        {"torch": "2.11.0", "torchvision": "0.26.0", "transformers": "5.17.0", "numpy": "2.5.2"},
        {"torch": "2.15.0", "torchvision": "0.29.2", "transformers": "5.23.0", "numpy": "2.4.6"},
    ],
    ids=["a GPU host's own torch", "the constraints"],
)
def test_ranges_admit_the_versions_the_course_runs_on(
    versions: dict[str, str], requirements: list[Requirement]
):
    ranges = {canonicalize_name(r.name): r.specifier for r in requirements}
    assert all(ranges[name].contains(version) for name, version in versions.items())


def test_no_upper_bound_may_replace_a_hosts_torch(pyproject: dict):
    """Whoever has a newer torch, torchvision or numpy keeps it."""
    for line in pyproject["project"]["dependencies"]:
        need = Requirement(line)
        assert all(s.operator in (">=", "!=") for s in need.specifier), f"{need} has an upper bound"


def test_one_version_one_repository_two_licences(root: Path, pyproject: dict):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == labkit.__version__
    assert citation["repository-code"] == pyproject["tool"]["labkit"]["repository"]
    assert " AND ".join(citation["license"]) == pyproject["project"]["license"]
    assert f"## {labkit.__version__}" in (root / "CHANGELOG.md").read_text()
    assert "Apache License" in (root / "LICENSE").read_text()
    assert "Creative Commons Attribution 4.0 International" in (root / "LICENSE-content").read_text()
