"""Settings of whoever runs the tests must not change their result, nor a GPU in the machine.

LABKIT_TEST_GPU=1 shows it to the tests that need one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if not os.environ.get("LABKIT_TEST_GPU"):  # before torch looks
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

SETTINGS = (
    "LABKIT_DATA",
    "LABKIT_DEBUG",
    "LABKIT_PROFILE",
    "LABKIT_PROGRESS",
    "LABKIT_QUIET",
    "NBGRADER_EXECUTION",
)


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset what steers labkit; LABKIT_CACHE and LABKIT_DATASETS only say where files lie, and stay."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the clone."""
    return Path(__file__).resolve().parents[1]
