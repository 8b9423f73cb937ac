"""The README's contact sheet shows the birds that labkit draws."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image


def test_the_contact_sheet_shows_the_world_of_this_version(root: Path):
    spec = importlib.util.spec_from_file_location("contact_sheet", root / "docs" / "contact_sheet.py")
    contact_sheet = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(contact_sheet)
    with Image.open(contact_sheet.PATH) as file:
        committed = np.asarray(file.convert("RGB"), np.float32)
    drawn = contact_sheet.sheet()
    assert committed.shape == drawn.shape, "run `python docs/contact_sheet.py`"
    # 256 colours instead of all; an exchanged bird or another scene would be far off
    blocks = np.abs(committed - drawn)[:690, :1030].reshape(69, 10, 103, 10, 3).mean((1, 3, 4))
    assert blocks.max() < 30, "run `python docs/contact_sheet.py`"
    assert blocks.mean() < 5
