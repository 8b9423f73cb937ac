"""Lab 08's runs: honest subsets and probes, a run of every method in miniature, and what was committed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from labkit.bench import lab08, read_results
from labkit.data import ImageSet
from labkit.errors import MissingError
from labkit.models import SelfSupervised
from labkit.profiles import Profile, profile

SETTINGS = profile("cpu").lab(8)
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16}


def split(n: int = 30, classes: int = 3) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 3, 16, 16), generator=generator).byte()
    names = [f"kind {i}" for i in range(classes)]
    return ImageSet(
        images, torch.arange(n) % classes, names, ids=torch.randperm(n, generator=generator) + 100
    )


def test_few_rows_are_those_of_the_label_budget():
    whole = split()
    for per_class in (1, 4, 10):
        rows = lab08.few_rows(whole, per_class, seed=3)
        assert sorted(whole.ids[rows].tolist()) == sorted(whole.few(per_class, seed=3).ids.tolist())
        assert torch.bincount(whole.labels[rows]).tolist() == [per_class] * 3
    assert set(lab08.few_rows(whole, 1, 3).tolist()) < set(lab08.few_rows(whole, 4, 3).tolist())


@pytest.mark.parametrize("registers", [0, 3])
def test_pooled_takes_cls_and_the_mean_patch(registers: int):
    config = {"patch_size": 4, **SMALL}
    torch.manual_seed(0)
    if registers:
        net = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(num_register_tokens=registers, **config))
    else:
        net = Dinov2Model(Dinov2Config(**config))
    shell = SelfSupervised(net, image_size=16).eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        found = lab08.Pooled(shell)(x)
        tokens = net(pixel_values=(x - shell.mean) / shell.std).last_hidden_state
    patches = tokens[:, -16:].sum(1) / 16
    assert torch.allclose(found["cls"], tokens[:, 0], atol=1e-6)
    assert torch.allclose(found["patches"], patches, atol=1e-5)
    assert torch.allclose(found["both"], torch.cat([tokens[:, 0], patches], 1), atol=1e-5)


def test_pixels_are_averaged():
    x = torch.rand(2, 3, 8, 8)
    small = lab08.Pixels(4)(x)["pixels"].view(2, 3, 4, 4)
    assert torch.allclose(small[1, 2, 0, 3], x[1, 2, :2, 6:].mean())


def test_four_files_are_four_kinds_of_pictures(tmp_path):
    photo = np.random.default_rng(0).integers(1, 256, (16, 16, 3), dtype=np.uint8)
    opened = {name: Image.open(file) for name, file in lab08.four_files(photo, tmp_path).items()}
    assert [picture.mode for picture in opened.values()] == ["L", "P", "RGBA", "RGB"]
    assert np.array_equal(opened["colour"], photo)
    cut = np.asarray(opened["cut-out"])
    assert cut[0, 0].tolist() == [0, 0, 0, 0]
    assert cut[8, 8].tolist() == [*photo[8, 8], 255]


def test_jobs_are_distinct_and_within_the_data():
    every = list(lab08.jobs(profile("cpu"), seeds=2))
    assert len({json.dumps(job, sort_keys=True) for job in every}) == len(every)
    assert max(SETTINGS.budgets) == 20  # photographs per species: the split has no more
    main = [job for job in every if job["experiment"] == "main"]
    assert {job["method"] for job in main} == {"dinov2", "twin", "pixels", "cnn", "scratch", "finetuned"}
    assert not {job["seed"] for job in main} & set(lab08.TUNING_SEEDS)


@dataclass(frozen=True)
class Toy(Profile):
    """The cpu profile with the smallest Aviary, a few steps, and a backbone from a folder."""

    def lab(self, number: int | str) -> SimpleNamespace:
        short = {"steps": 3, "batch_size": 48, "optimizer": "adamw", "weight_decay": 0.05}
        changed = {"data": {"name": "aviary", "size": "mini"}, "test_per_class": 2, "strengths": [0.01],
                   "training": short, "budgets": [1, 2], "per_class": 2,
                   "longer": {"steps": 4, "budgets": [1]}}  # fmt: skip
        return SimpleNamespace(**(vars(super().lab(number)) | changed))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(7)  # another than those of the twins
    Dinov2Model(Dinov2Config(patch_size=8, **SMALL | {"image_size": 64})).save_pretrained(folder)
    words = vars(profile("cpu")) | {"self_supervised": str(folder), "name": "cpu"}
    return Toy(**words)


@pytest.mark.slow
def test_every_kind_of_run_gives_an_accuracy(toy: Toy, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LABKIT_QUIET", "1")
    monkeypatch.setattr(lab08, "LOOKED_AT", 60)
    every = list(lab08.jobs(toy, seeds=1))
    kinds = {(job["experiment"], job["method"]): job for job in every if job["method"] != "finetuned"}
    for job in kinds.values():
        row = lab08.run(job, toy)
        assert {k: row[k] for k in job} == job
        assert ("test" in row) == (job["experiment"] != "tuning")
        assert all(0 <= row[k] <= 1 for k in ("val", "test") if k in row)


def test_a_twin_has_the_same_shape_and_other_weights(toy: Toy):
    trained, twin, other = (lab08.backbone(toy, *which) for which in ((), ("twin", 0), ("twin", 1)))
    shapes = [[tuple(w.shape) for w in net.parameters()] for net in (trained, twin)]
    assert shapes[0] == shapes[1]
    x = torch.rand(1, 3, 64, 64)
    first, again, second = (net(x)["cls"] for net in (trained, twin, other))
    assert not torch.allclose(first, again, atol=1e-3)
    assert not torch.allclose(again, second, atol=1e-3)


# What is committed ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results():
    try:
        return read_results("lab08")
    except MissingError:
        pytest.fail("data/results/lab08.json is missing: run `labkit bench --lab 08`")


@pytest.mark.parametrize("method", ["scratch", "finetuned"])
def test_preset_holds_the_best_of_the_tuned(results, method: str):
    runs = {"experiment": "tuning", "method": method}
    means = {
        option["lr"]: results.interval("val", **runs, **option).mean
        for option in lab08.CONFIGURATIONS[method]
    }
    chosen = {"scratch": SETTINGS.scratch_lr, "finetuned": SETTINGS.finetune_lr}[method]
    assert means[chosen] == pytest.approx(max(means.values()), abs=1e-4)


def test_preset_holds_the_best_kind_of_features(results):
    means = {
        k: results.interval("val", experiment="tuning", method="dinov2", kind=k).mean for k in lab08.KINDS
    }
    assert means[SETTINGS.kind] == pytest.approx(max(means.values()), abs=1e-4)


def test_tuning_never_saw_the_test_images(results):
    rows = [row for row in results.rows if row["seed"] in lab08.TUNING_SEEDS]
    assert rows
    assert all("test" not in row for row in rows)


def test_the_claims_of_the_lab_hold(results):
    def runs(method: str, per_class: int) -> dict:
        kind = {"kind": SETTINGS.kind} if method in ("dinov2", "twin") else {}
        return {"experiment": "main", "method": method, "per_class": per_class, **kind}

    def lead(control: str, per_class: int):
        return results.gain(runs("dinov2", per_class), runs(control, per_class))

    most = max(SETTINGS.budgets)
    assert len(results.values(**runs("dinov2", 10))) >= 5
    assert len(results.values(**runs("scratch", 10))) >= 3
    assert min(lead("twin", most).mean, lead("pixels", most).mean) > 0.15
    for per_class in (k for k in SETTINGS.budgets if k <= 10):
        assert lead("scratch", per_class).mean > 0
        assert lead("scratch", per_class).excludes_zero
    adapting = results.gain(runs("finetuned", most), runs("cnn", most))  # the same weights at the start
    assert adapting.mean > 0
    assert adapting.excludes_zero
    assert results.gain(runs("cnn", 1), runs("finetuned", 1)).mean > 0
