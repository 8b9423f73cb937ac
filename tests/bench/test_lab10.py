"""Lab 10's runs on a toy model, and the committed results: choices on validation, and the lab's claim."""

from __future__ import annotations

import json
from types import SimpleNamespace

import open_clip
import pytest
import torch

from labkit import data
from labkit.bench import lab10, paired, read_results
from labkit.engine import FeatureBank
from labkit.models.vlm import VisionLanguage
from labkit.profiles import profile

SETTINGS = profile("cpu").lab(10)
TOY = SimpleNamespace(
    data="aviary",
    described=["{description}"],
    coop={"n_ctx": 4},
    training={"lr": 0.01, "batch_size": 60},
    epochs={2: 2},
    described_ctx=2,
    probe_c=100.0,
    shots=[2],
    positions=["end", "front"],
)


@pytest.fixture(scope="module")
def world():
    """A random CLIP and the smallest Aviary."""
    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    text = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    clip = open_clip.model.CLIP(16, vision, text)
    clip.visual.preprocess_cfg = {
        "size": 32, "resize_mode": "shortest", "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5),
    }  # fmt: skip
    vlm = VisionLanguage(clip, open_clip.SimpleTokenizer(context_length=32), "toy")
    birds = data.load("aviary", size="mini")
    splits = {name: getattr(birds, name) for name in ("train", "val", "test")}
    banks = {name: FeatureBank(vlm, split, keep=False) for name, split in splits.items()}
    return lab10.World(birds, vlm, banks)


JOBS = [
    {"experiment": "templates", "method": "zero-shot", "seed": 0, "template": "ensemble of names"},
    {"experiment": "calibration", "method": "zero-shot", "seed": 0, "scale": "fitted"},
    {"experiment": "main", "method": "probe", "seed": 1, "shots": 2},
    {"experiment": "main", "method": "coop", "seed": 1, "shots": 2, "position": "front"},
    {"experiment": "described", "method": "coop", "seed": 1, "shots": 2},
    {"experiment": "unseen", "method": "zero-shot", "seed": 1, "shots": 2},
    {"experiment": "unseen", "method": "coop", "seed": 1, "shots": 2},
    {"experiment": "tuning", "method": "coop", "seed": 100, "shots": 2, "lr": 0.1},
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: f"{job['experiment']}-{job['method']}")
def test_every_kind_of_run_adds_its_measures_to_the_job(job, world, monkeypatch):
    monkeypatch.setattr(lab10, "_world", lambda s: world)
    row = lab10.run(job, SimpleNamespace(lab=lambda number: TOY))
    measures = {k: row.pop(k) for k in ("val", "test") if k in row}
    assert row == job
    assert set(measures) == ({"val"} if job["experiment"] == "tuning" else {"val", "test"})
    assert all(0 <= value <= 1 for value in measures.values())


def test_few_are_the_split_with_its_own_features(world):
    features, labels = world.few(2, seed=3)
    split = world.data.train.few(2, seed=3)
    with torch.no_grad():
        wanted = world.vlm(split.fetch(torch.arange(5)) / 255)
    torch.testing.assert_close(features[:5], wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, split.labels)
    assert len(labels) == 120


def test_a_context_moves_to_other_classes(world):
    learner = lab10.train_coop(world, TOY, world.data.classes, 2, 0)
    other = lab10.transfer(world, learner, ["wren", "robin"])
    assert torch.equal(other.context, learner.context)
    assert other().shape == (2, 16)


def test_jobs_are_distinct_and_tuning_is_of_six():
    jobs = [json.dumps(job, sort_keys=True) for job in lab10.jobs(profile("cpu"), 5)]
    assert len(set(jobs)) == len(jobs)
    assert {len(options) for options in lab10.CONFIGURATIONS.values()} == {6}
    assert not {"val", "test"} & {key for job in jobs for key in json.loads(job)}


# --- what is committed ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results():
    return read_results("lab10")


def test_committed_results_are_complete(results):
    keys = {"val", "test"}
    done = {
        json.dumps({k: v for k, v in row.items() if k not in keys}, sort_keys=True) for row in results.rows
    }
    assert {json.dumps(job, sort_keys=True) for job in lab10.jobs(profile("cpu"), 5)} <= done


def test_the_probe_is_the_best_of_six_on_validation(results):
    means = {
        option["c"]: results.interval("val", experiment="tuning", method="probe", **option).mean
        for option in lab10.CONFIGURATIONS["probe"]
    }
    assert means[SETTINGS.probe_c] == max(means.values())


def test_tuning_never_saw_the_test_images(results):
    rows = [row for row in results.rows if row["seed"] in lab10.TUNING_SEEDS]
    assert rows
    assert all("test" not in row for row in rows)


def test_the_miniature_knows_the_species_imperfectly(results):
    rows = {row["template"]: row["test"] for row in results.select(experiment="templates")}
    assert all(0.40 <= rows[template] <= 0.75 for template in SETTINGS.described)
    assert max(rows[t] for t in rows if "description" not in t) < min(rows[t] for t in SETTINGS.described)


def test_the_claim_of_the_lab_holds(results):
    """CoOp at 16 shots beats the best template around the same names, chosen on validation: five seeds."""
    named = [r for r in results.select(experiment="templates") if "description" not in r["template"]]
    best = max(named, key=lambda row: row["val"])
    coop = results.values(experiment="main", method="coop", shots=16, position="end")
    assert len(coop) >= 5
    gain = paired(coop, [best["test"]] * len(coop))
    assert gain.mean > 0
    assert gain.excludes_zero
    assert gain.mean > gain.half + max(row["test"] for row in named) - best["test"]  # and every other one
