"""The README's numbers are the committed results'."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_results_in_the_readme_are_the_committed_ones():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "docs" / "readme.py")
    readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    marked = [name for name in readme.BLOCKS if f"<!-- {name} -->" in text]
    assert {"results", "models"} <= set(marked)
    for name in marked:
        assert readme.BLOCKS[name]() in text, "run `python docs/readme.py`"


@pytest.mark.parametrize("name", ["distillation", "cifar10"])
def test_the_pictures_are_there(name: str):
    assert (ROOT / "docs" / f"{name}.png").stat().st_size > 10_000
