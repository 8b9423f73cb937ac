"""Lab 04's runs on the smallest Aviary, what it measures inside networks, and its committed results."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labkit import data, engine, methods, models
from labkit.bench import lab04, lab04_seen, lab04_tables, pair, paired, read_results
from labkit.bench.results import Results
from labkit.data.aviary import annotate
from labkit.engine import Evaluation
from labkit.paths import shipped
from labkit.profiles import preset, profile

CPU = profile("cpu")
DONE = (shipped("data") / "results" / "lab04.json").is_file()
needs_results = pytest.mark.skipif(not DONE, reason="data/results/lab04.json is not made yet")
DIGITS = {
    "per_class": 1, "teacher_training": {"steps": 2}, "training": {"steps": 2}, "weights": [0, 1], "seeds": 2,
}  # fmt: skip
SHORT = {"batch_size": 24, "optimizer": "adamw", "lr": 0.003}


class Toy:
    """A profile whose lab 04 takes seconds."""

    def lab(self, number: int) -> SimpleNamespace:
        assert number == 4
        return SimpleNamespace(
            data={"name": "aviary", "size": "mini", "image_size": 32},
            per_class=1,
            teacher={"name": "small"},
            student={"name": "tiny"},
            teacher_training=SHORT | {"steps": 2},
            training=SHORT | {"steps": 2},
            views=1,
            bank=True,
            kinds={
                "neither": {"method": "scratch"},
                "features": {"method": "fitnet", "layers": [1], "weight": 10},
            },
            combined=["features"],
            compared=["neither", "features"],
            layer_options={"attention": {"weight": 100}, "fitnet": {"weight": 10}},
            pooled=[1],
            variants={"not fused": {"method": "reviewkd", "weight": 1.0, "fused": False}},
            digits=DIGITS,
            live="features",
            cka_per_class=1,
            sweep_seeds=1,
        )


@pytest.fixture(scope="module")
def toy():
    yield Toy()
    pair.KEPT.clear()


@pytest.mark.slow
def test_every_kind_of_job_runs(toy):
    jobs = list(lab04.jobs(toy, 1))
    kinds = {job["experiment"]: job for job in jobs}
    assert set(kinds) == {"combine", "cka", "layer", "pool", "variant", "weight"}
    for job in kinds.values():
        row = lab04.run(job, toy)
        assert {k: row[k] for k in job} == job
        assert -0.1 <= row["test"] <= 1.0001  # an unbiased CKA may be slightly negative
    measured = lab04.run(kinds["layer"], toy)
    assert set(measured) - set(kinds["layer"]) == {"val", "test"}


@pytest.mark.parametrize("setting", [CPU, Toy()], ids=["cpu", "toy"])
def test_jobs_are_distinct_and_say_what_they_run(setting):
    s, jobs = setting.lab(4), list(lab04.jobs(setting, 4))
    assert len({str(sorted(job.items())) for job in jobs}) == len(jobs)
    assert {job["seed"] for job in jobs if job["experiment"] in ("layer", "cka")} == set(range(s.sweep_seeds))
    assert sum(job["experiment"] == "combine" for job in jobs) == 4 * len(s.combined)
    assert {*s.compared, *s.combined, s.live} <= set(s.kinds)


@pytest.mark.parametrize(
    ("job", "method", "options"),
    [
        (("layer", "attention", {"layer": 2}), "attention", {"weight": 100, "layers": [2]}),
        (("pool", "fitnet", {"pool": 1}), "fitnet", {"weight": 10, "layers": [3], "pool": 1}),
        (("combine", "features", {}), "fitnet", {"layers": [1], "weight": 10}),
        (("variant", "not fused", {}), "reviewkd", {"weight": 1.0}),
    ],
)
def test_a_job_is_the_method_it_says(monkeypatch, job, method, options):
    asked, gates = [], [SimpleNamespace(gate="open")]

    def create(s, name, seed, per_class, **given):
        asked.append((name, given))
        return SimpleNamespace(fusions=gates)

    monkeypatch.setattr(pair, "create", create)
    monkeypatch.setattr(pair, "fit", lambda *_, **__: SimpleNamespace(model=None))
    monkeypatch.setattr(pair, "adapted", lambda *_: (None, 1.0))
    monkeypatch.setattr(pair, "teacher_bank", lambda *_: None)
    monkeypatch.setattr(pair, "few", lambda *_: SimpleNamespace(val=None, test=None))
    monkeypatch.setattr(engine, "evaluate", lambda *_: SimpleNamespace(accuracy=0.5))
    job, toy = {"experiment": job[0], "method": job[1], "seed": 0} | job[2], Toy()
    assert lab04.run(job, toy) == {**job, "val": 0.5, "test": 0.5}
    assert asked == [(method, options)]
    assert (gates[0].gate is None) == (job["method"] == "not fused")
    lab04.run(job, toy)
    assert len(asked) == 1  # a run that was made before is not made again


def test_the_preset_trains_as_the_comparison_does():
    """Tables of both stand side by side: data, networks, recipe and tuned options must be the same."""
    ours, theirs = CPU.lab(4), preset("aviary")
    for name in ("data", "teacher", "student", "teacher_training", "training", "views"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.per_class == theirs.tuned_at
    tuned = theirs.methods
    assert ours.kinds["neither"] == {"method": "scratch"} | tuned["scratch"]
    assert ours.kinds["responses"] == {"method": "hinton"} | tuned["hinton"]
    assert ours.kinds["features"] == {"method": "fitnet", "layers": [1]} | tuned["fitnet"]
    both = {name: tuned["hinton"][name] for name in ("temperature",)}
    both |= {"ce_weight": tuned["hinton"]["hard_weight"], "kd_weight": 1 - tuned["hinton"]["hard_weight"]}
    assert ours.kinds["both"] == ours.kinds["features"] | both
    assert ours.layer_options == {name: tuned[name] for name in ("fitnet", "attention")}
    assert ours.kinds["review"] == {"method": "reviewkd"} | tuned["reviewkd"]
    quiet = {"ce_weight": tuned["hinton"]["hard_weight"]}
    assert ours.kinds["quiet labels"] == ours.kinds["features"] | quiet
    louder = {"method": "pre_fc"} | tuned["pre_fc"] | {"weight": 10 * tuned["pre_fc"]["weight"]}
    assert list(ours.variants.values()) == [
        ours.kinds["features"] | {"layers": [1, 3]},
        louder,
        ours.kinds["review"] | {"fused": False},
    ]


@pytest.fixture(scope="module")
def birds():
    return data.load("aviary", size="mini").test.few(1, seed=0)


def test_similarities_are_cka_of_pooled_maps(birds):
    torch.manual_seed(0)
    nets = [models.build("tiny", 60), models.build("small", 60)]
    found = lab04_seen.layer_cka(*nets, birds, side=2)
    assert found.shape == (4, 4)
    for row, column in ((0, 0), (3, 1)):
        x, y = (
            lab04_seen.maps_of(net, birds, (layer,), side=2)[0].flatten(1)
            for net, layer in zip(nets, (row, column), strict=True)
        )
        assert x.shape[0] == len(birds)
        assert found[row, column] == pytest.approx(models.cka(x, y, unbiased=True))
    same = lab04_seen.layer_cka(nets[0], nets[0], birds)
    torch.testing.assert_close(same.diagonal(), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(same, same.T)


def test_measuring_leaves_the_network_as_it_was(birds):
    net = models.build("tiny", 60).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    attention = lab04_seen.strongest(net, birds)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    torch.testing.assert_close(attention.sum((1, 2)), torch.ones(len(birds)))


def test_gates_are_those_of_every_level_but_the_deepest(birds):
    torch.manual_seed(0)
    method = methods.create("reviewkd", student=models.build("tiny", 60), teacher=models.build("small", 60))
    image = birds.images[:1] / 255
    with torch.no_grad():
        for level, fusion in enumerate(method.fusions[:4]):
            fusion.gate.weight.zero_()
            fusion.gate.bias.copy_(torch.tensor([0.0, float(level)]))
    found = lab04_seen.gates(method, image)
    assert [z.shape for z in found] == [(2, *x.shape[2:]) for x in method.student(image).maps]
    for level, z in enumerate(found):
        torch.testing.assert_close(z[0], torch.full_like(z[0], 0.5))
        torch.testing.assert_close(z[1], torch.full_like(z[1], 1 / (1 + np.exp(-level))))


def test_looks_know_where_the_bird_is(birds):
    masks = (annotate(birds).parts > 0).float()
    perfect = masks / masks.sum((1, 2), keepdim=True)
    outside = (1 - masks) / (1 - masks).sum((1, 2), keepdim=True)
    found = lab04_seen.looks(birds, {"perfect": perfect, "outside": outside})
    assert found["perfect"]["bird"] == pytest.approx(1, abs=1e-5)
    assert found["outside"]["bird"] == pytest.approx(0, abs=1e-5)
    assert found["chance"]["bird"] == pytest.approx(masks.mean().item(), abs=1e-5)
    assert found["chance"]["telling parts"] < found["chance"]["bird"] < found["centre"]["bird"] < 1
    assert lab04_seen.looks(data.load("digits").test, {"perfect": perfect}) == {}


def test_telling_images_show_the_most_frequent_mistake():
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2])
    student = torch.tensor([1, 0, 2, 2, 0, 0, 2])  # 0 for 1 once, 1 for 2 twice, 1 for 0 once, 2 for 0 once
    teacher = labels.clone()
    teacher[5] = 1  # here the teacher is wrong too
    one_hot = torch.nn.functional.one_hot
    found = [Evaluation(one_hot(x, 3).float(), labels, tuple("abc")) for x in (teacher, student)]
    assert lab04_seen.telling(*found, n=2).tolist() == [2, 3]
    assert sorted(lab04_seen.telling(*found, n=9).tolist()) == [0, 2, 3, 4]


def test_moved_says_how_far_each_part_went():
    net = models.build("tiny", 5)
    other = copy.deepcopy(net)
    with torch.no_grad():
        for x in other.net.stages.stage2.parameters():
            x.mul_(1.5)
    found = lab04_seen.moved(net, other)
    assert list(found) == ["stem", "stage1", "stage2", "stage3", "stage4", "head"]
    assert found.pop("stage2") == pytest.approx(0.5)
    assert set(found.values()) == {0.0}


def test_tables_pair_the_seeds():
    runs = {"alone": [0.1, 0.2], "hint": [0.3, 0.4]}
    for against, head in ((["alone"], "minus alone"), ({"alone": "it"}, "minus it")):
        text = str(lab04_tables.gains(runs, against, "student"))
        assert "20.0 ± 0.0" in text
        assert head in text
    rows = [
        {"experiment": "layer", "method": "fitnet", "seed": s, "layer": i, "test": 0.1 * i + 0.01 * s}
        for s in (0, 1)
        for i in range(4)
    ]
    table = str(lab04_tables.layers(Results("run it", rows=rows), {"fitnet": "hint"}, [0.0, 0.01, 0.5]))
    assert "3, late" in table
    assert "30.0 ± 0.0" in table  # minus alone, at layer 3


@needs_results
def test_results_hold_every_run_of_the_grid():
    rows = {lab04_key(row) for row in read_results("lab04").rows}
    assert all(lab04_key(job) in rows for job in lab04.jobs(CPU, CPU.lab(4).seeds))


def lab04_key(row: dict) -> str:
    return str(sorted((k, v) for k, v in row.items() if k not in ("val", "test")))


@needs_results
def test_a_teacher_that_is_heard_helps_on_digits():
    """Section 12: the quiet end is the bad one."""
    found = read_results("lab04").sweep("weight")
    assert found.values[0] == 0
    best = int(np.argmax([x.mean for x in found.intervals]))
    where = {"experiment": "weight"}
    gain = read_results("lab04").gain(where | {"weight": found.values[best]}, where | {"weight": 0.0})
    assert best > 1
    assert gain.excludes_zero


@needs_results
def test_late_layers_help_more_than_early_ones():
    """Section 9, and that its runs at layer 1 are those of the comparison."""
    results = read_results("lab04")
    where = {"experiment": "layer", "method": "fitnet"}
    gain = results.gain(where | {"layer": 3}, where | {"layer": 0})
    assert gain.mean > 0
    assert gain.excludes_zero
    ours = results.values(**where, layer=1)
    theirs = read_results("aviary").values(experiment="main", per_class=5, method="fitnet")
    np.testing.assert_allclose(ours, theirs[: len(ours)], atol=0.02)


@needs_results
def test_attention_is_best_at_layer_1_and_pooling_does_not_explain_pre_fc():
    """Section 9."""
    results = read_results("lab04")
    attention = {"experiment": "layer", "method": "attention"}
    for layer in (0, 2, 3):
        gain = results.gain(attention | {"layer": 1}, attention | {"layer": layer})
        assert gain.mean > 0
        assert gain.excludes_zero
    one, four = ({"experiment": "pool", "pool": n} for n in (1, 4))
    maps = {"experiment": "layer", "method": "fitnet", "layer": 3}
    assert not results.gain(four, maps).excludes_zero
    assert results.gain(one, maps).mean < 0
    pre_fc = read_results("aviary").values(experiment="main", per_class=5, method="pre_fc")
    vectors = [pre_fc, results.values(experiment="variant", method="pre_fc, ten times as loud")]
    for values in vectors:
        left = paired(results.values(**one), values[: len(results.values(**one))])
        assert left.mean > 0
        assert left.excludes_zero


@needs_results
def test_quiet_labels_and_the_fusion_change_nothing_that_shows():
    """Section 11."""
    results, where = read_results("lab04"), {"experiment": "main", "per_class": 5}
    fitnet, review = (read_results("aviary").values(**where, method=m) for m in ("fitnet", "reviewkd"))
    quiet = results.values(experiment="combine", method="quiet labels")
    unfused = results.values(experiment="variant", method="reviewkd, not fused")
    assert not paired(quiet, fitnet[: len(quiet)]).excludes_zero
    assert not paired(unfused, review[: len(unfused)]).excludes_zero
    assert paired(unfused, review[: len(unfused)]).mean > 0
    best = results.values(experiment="layer", method="fitnet", layer=3)
    assert not paired(results.values(experiment="combine", method="both"), best).excludes_zero


@needs_results
def test_features_and_responses_add_up():
    """Section 11: both together beat each alone."""
    both = read_results("lab04").values(experiment="combine", method="both")
    for alone in ("scratch", "hinton", "fitnet"):
        other = read_results("aviary").values(experiment="main", per_class=5, method=alone)[: len(both)]
        assert paired(both, other).excludes_zero, alone
        assert paired(both, other).mean > 0


@needs_results
def test_layers_that_are_matched_become_alike():
    results = read_results("lab04")
    layer = CPU.lab(4).kinds["features"].get("layers", [3])[-1]
    where = {"experiment": "cka", "student_layer": layer, "teacher_layer": layer}
    gain = results.gain(where | {"method": "features"}, where | {"method": "neither"})
    assert gain.mean > 0
