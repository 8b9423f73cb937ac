"""`import labkit` and `labkit --help` start at once: nothing heavy is imported before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import labkit

HEAVY = "torch torchvision transformers open_clip timm accelerate peft numpy matplotlib sklearn scipy IPython"


def loaded_after(code: str) -> set[str]:
    """Top-level names in `sys.modules` of a fresh interpreter that ran `code`."""
    report = "import sys; print('loaded:', *{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], check=True, capture_output=True, text=True
    )
    return set(result.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import labkit",
        "import labkit; labkit.profile(); labkit.LabkitError; dir(labkit)",
        "import labkit.cli",
        "import labkit.doctor",
        "import sys; sys.argv = ['labkit', '--help']\n"
        "from labkit.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
    ids=["package", "light names", "cli", "doctor", "help"],
)
def test_nothing_heavy_is_loaded(code: str):
    assert loaded_after(code).isdisjoint(HEAVY.split())


@pytest.mark.parametrize("name", labkit.__all__)
def test_every_public_name_resolves(name: str):
    assert getattr(labkit, name) is not None
    assert name in dir(labkit)


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nets'"):
        _ = labkit.nets
