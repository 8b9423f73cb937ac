"""The README's numbers are the committed results'."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_results_in_the_readme_are_the_committed_ones():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "docs" / "readme.py")
    readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.results_block() in text, "run `python docs/readme.py`"
    assert readme.models_block() in text, "run `python docs/readme.py`"


def test_the_picture_is_there():
    assert (ROOT / "docs" / "distillation.png").stat().st_size > 10_000
