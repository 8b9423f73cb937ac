"""Real photographs go through the same extraction and probe, end to end: benchmarks/probe_photos.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACE = os.environ.get("LABKIT_DATASETS", "")


@pytest.mark.slow
@pytest.mark.skipif(not PLACE, reason="LABKIT_DATASETS does not name a folder of real photographs")
@pytest.mark.parametrize(
    ("name", "options"), [("cifar10", ["--per-class", "10", "--test-per-class", "10"]), ("cub", [])]
)
def test_photographs_are_probed(name: str, options: list[str]):
    command = [sys.executable, "benchmarks/probe_photos.py", "--only", name, *options]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"LABKIT_QUIET": "1"}
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if re.search(r"DINOv2 |random twin|pixels, ", line)]
    assert len(lines) == 3, done.stdout
    train, test = (float(share) for share in re.findall(r"([\d.]+)%", lines[0])[:2])
    chance = 10 if name == "cifar10" else 2
    assert train >= test > chance
