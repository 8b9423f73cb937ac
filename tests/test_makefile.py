"""`make` finds a Python that can hold the course, or says what to install; nothing is installed here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
BROKEN = "exit 127"  # like a pyenv shim of a version that isn't active
TOO_NEW = "exit 1"  # what the test of the version's range answers
NO_VENV = f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'  # like Debian's python3
FINE = f'exec {sys.executable} "$@"'
# These tests run under `make test`, whose own settings must not reach the make they start.
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PYTHON"))}


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    """A folder with the Makefile and nothing else."""
    shutil.copy(root / "Makefile", tmp_path)
    return tmp_path


def make_venv(folder: Path, *settings: str, **scripts: str) -> subprocess.CompletedProcess:
    """`make .venv/.made` where the only interpreters are these scripts."""
    bin = folder / "bin"
    bin.mkdir(exist_ok=True)
    names = ["python3.14", "python3.13", "python3.12", "python3.11", "python3", "python"]
    for name in names:
        script = scripts.get(name.replace(".", "_"), BROKEN)
        (bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin / name).chmod(0o755)
    return subprocess.run(
        ["make", "--no-print-directory", ".venv/.made", *settings],
        cwd=folder,
        env=CLEAN | {"PATH": f"{bin}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_first_interpreter_that_will_do_is_taken_and_a_working_venv_kept(folder: Path):
    result = make_venv(folder, python3_13=TOO_NEW, python3_12=NO_VENV, python3_11=FINE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Making .venv with Python 3.")
    assert (folder / ".venv" / "bin" / "pip").exists()

    (folder / ".venv" / ".made").unlink()  # as if made by hand
    (folder / ".venv" / "mine").touch()
    assert make_venv(folder).returncode == 0
    assert (folder / ".venv" / "mine").exists()


@pytest.mark.slow
def test_an_interrupted_venv_is_made_anew(folder: Path):
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "half").touch()
    assert make_venv(folder, python3=FINE).returncode == 0
    assert not (folder / ".venv" / "half").exists()


def test_without_a_python_the_message_names_the_versions(folder: Path):
    result = make_venv(folder, python3=TOO_NEW)
    assert result.returncode != 0
    assert "No Python 3.11-3.14 found: install one, or name it: make PYTHON=" in result.stderr
    result = make_venv(folder, "PYTHON=python3.10")
    assert "No Python 3.11-3.14 found as python3.10" in result.stderr


def test_without_venv_the_message_names_the_debian_package(folder: Path):
    result = make_venv(folder, python3=NO_VENV)
    assert result.returncode != 0
    assert "python3 can't make a virtual environment: apt install python3-venv" in result.stderr
    assert not (folder / ".venv").exists()


def test_help_is_the_default_and_names_the_targets(folder: Path):
    out = subprocess.run(["make"], cwd=folder, env=CLEAN, check=True, capture_output=True, text=True).stdout
    assert {"demo", "lab", "test"} <= set(re.findall(r"^make (\w+) ", out, flags=re.MULTILINE))
    assert not (folder / ".venv").exists()
