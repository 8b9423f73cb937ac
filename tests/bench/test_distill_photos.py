"""The two-stage pipelines on real photographs, from the tar file to the report: CUB's first 50 species."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit import engine
from labkit.bench import pair
from labkit.bench.distill import distill

PLACE = os.environ.get("LABKIT_DATASETS", "")


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(PLACE) / "cub200_2011_50_160.tar").is_file() if PLACE else True,
    reason="LABKIT_DATASETS has no cub200_2011_50_160.tar",
)
@pytest.mark.parametrize(("method", "part"), [("dait", "intermediate"), ("pand", "calibrated")])
def test_photographs_are_distilled(method: str, part: str, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("LABKIT_QUIET", "1")
    pair.KEPT.clear()
    options = {"calibration.epochs": 1, "validate_every": 5}
    found = distill(
        method, data="cub50", seeds=1, per_class=4, steps=5, stored=2, options=options, out=tmp_path / "run"
    )
    pair.KEPT.clear()
    tests = found.tests
    assert {"zero-shot", part, "scratch", method} <= set(tests)
    assert all(found[0].n == 1389 for found in tests.values())
    assert tests[method][0].classes[13] == "Indigo Bunting"
    run = engine.load_run(tmp_path / "run" / "seed0" / method)
    assert run.config["data"]["image_size"] == 64
    made = {"dait": "intermediate/best.safetensors", "pand": "learned_text_features.safetensors"}[method]
    assert (tmp_path / "run" / "seed0" / made).exists()
    assert found.report.stat().st_size > 50_000, "with its figures"
