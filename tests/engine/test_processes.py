"""Two processes under `accelerate launch` are one: GroupNorm, dropout, augmentation, 20 steps, float64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import processes
import pytest
import torch
from engine_toys import net, toy

from labkit.engine import checkpoint, evaluate, fit

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="gloo's launcher"),
    pytest.mark.xdist_group("processes"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What two processes wrote."""
    path = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    command = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, *command, processes.__file__, str(path)],
        capture_output=True, text=True, env=environment, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return path


def results(folder: Path, name: str, rank: int) -> tuple[dict, dict]:
    return checkpoint.load(folder / f"rank{rank}" / f"{name}.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", processes.RUNS)
def test_training_equals_one_process(folder: Path, name: str):
    run = fit(processes.method(name), toy(), **processes.SETTINGS, **processes.RUNS[name])
    for rank in (0, 1):
        tensors, meta = results(folder, name, rank)
        for key, value in run.model.state_dict().items():
            assert (tensors[f"weight.{key}"] - value).abs().max() < 1e-9, key
        assert tensors["losses"].tolist() == pytest.approx(run.losses, abs=1e-9)
        assert meta["best"] == run.accuracy
        assert [list(row) for row in meta["history"]] == [list(row) for row in run.history]
        for ours, one in zip(meta["history"], run.history, strict=True):
            assert ours.pop("stage") == one["stage"]
            ours.pop("spread", None)  # of a process's own part of the batch
            wanted = {k: v for k, v in one.items() if k not in ("stage", "spread")}
            assert ours == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", processes.RESUMED)
def test_resumed_run_equals_the_whole_one_bit_by_bit(folder: Path, name: str):
    for rank in (0, 1):
        parts = (results(folder, which, rank) for which in (name, f"{name} resumed"))
        (whole, history), (resumed, again) = parts
        assert history == again
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_both_processes_hold_the_same_weights_and_only_the_first_writes(folder: Path):
    for name in (*processes.RUNS, *(f"{name} resumed" for name in processes.RESUMED)):
        first, second = results(folder, name, 0)[0], results(folder, name, 1)[0]
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert (folder / "rank0" / "even-run" / "best.safetensors").exists()
    assert not list((folder / "rank1").glob("*-run"))


def test_evaluation_counts_every_image_once(folder: Path):
    model = net(2)
    for n in (1, 2, 31):
        alone = evaluate(model, toy(val=n).val)
        for rank in (0, 1):
            tensors, meta = results(folder, "evaluation", rank)
            assert torch.equal(tensors[f"labels{n}"], alone.labels)
            assert torch.allclose(tensors[f"logits{n}"], alone.logits, atol=1e-6)
            assert n < 31 or meta["accuracy"] == alone.accuracy
