"""Measurements of DAIT's stages: a model without weights, counted steps, the arithmetic of 100 epochs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from labkit.engine import FeatureBank
from labkit.models.vlm_aviary import register_aviary_clip


@pytest.fixture
def benchmarks(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    """benchmarks/full_size.py and benchmarks/stage1.py."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import full_size
    import stage1

    yield full_size, stage1
    for name in ("full_size", "stage1"):
        sys.modules.pop(name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_without_weights_encodes(benchmarks, dtype: torch.dtype):
    register_aviary_clip()
    torch.manual_seed(0)
    vlm = benchmarks[0].giant("aviary-clip", dtype)
    assert {p.dtype for p in vlm.parameters()} == {dtype}
    images, texts = vlm.encode_image(torch.rand(3, 3, 64, 64)), vlm.encode_text(["a wren", "a tit and a jay"])
    for found in (images, texts):
        assert found.isfinite().all()
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)), atol=0.02, rtol=0)
    assert (images[0] - images[1]).abs().max() > 1e-4, "it sees the image"


@pytest.mark.slow
def test_every_step_but_the_first_of_a_stage_is_counted(benchmarks):
    full_size, stage1 = benchmarks
    register_aviary_clip()
    vlm, module = full_size.giant("aviary-clip"), full_size.photographs(6, 32)
    nets = ("tiny", "small")
    method = full_size.timed(vlm, time.process_time, nets)
    seconds = full_size.steps_of(method, module, 2, 3, device="cpu")
    assert len(seconds) == 2 * (3 - 1)
    assert all(second > 0 for second in seconds)

    def make():
        return full_size.timed(vlm, time.process_time, nets, only=1)

    loop, stored, filling = stage1.measured(make, vlm, module, time.process_time, 2, 1, "cpu")
    assert min(loop, stored, filling) > 0
    bank = FeatureBank(vlm, module.train, augment=module.augment, keep=False, progress=False)
    assert len(full_size.steps_of(make(), module, 2, 3, bank={"vlm": bank}, device="cpu")) == 2


def test_a_hundred_epochs(benchmarks, capsys: pytest.CaptureFixture):
    # 100 x 3600 x 1.1 s against 4 x 3600 x 1 s and 100 x 3600 x 0.1 s
    assert benchmarks[1].report("full size", 3600, 4, 1.1, 0.1, 1.0) == pytest.approx(110 / 14)
    printed = capsys.readouterr().out
    assert "in hours: 110 in the loop" in printed
    assert "4 to fill + 10 to train" in printed
    assert "7.9x   wanted at least 10x" in printed
    assert "10.0x" in printed, "1 view: 110 / 11"
