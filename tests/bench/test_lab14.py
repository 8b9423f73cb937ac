"""Lab 14's runs on the smallest Aviary, what its measures mean, and the committed results."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from labkit.bench import lab14, lab14_tables, pair, paired, read_results, vlm
from labkit.bench.results import MEASURED, Results
from labkit.losses import neighborhood_relation
from labkit.paths import shipped
from labkit.profiles import preset, profile

CPU = profile("cpu")
DONE = (shipped("data") / "results" / "lab14.json").is_file()
needs_results = pytest.mark.skipif(not DONE, reason="data/results/lab14.json is not made yet")


class Toy:
    """A profile whose lab 14 takes seconds."""

    def lab(self, number: int) -> SimpleNamespace:
        assert number == 14
        return SimpleNamespace(
            data={"name": "aviary", "size": "mini"},
            vlm="aviary-clip",
            prompts="a photo of a {}",
            described="a {description}",
            calibration={"n_ctx": 2, "epochs": 1},
            per_class=1,
            student={"name": "tiny"},
            training={"steps": 1, "batch_size": 24, "optimizer": "adamw", "lr": 0.003},
            views=1,
            pand={"slope": 0.125, "weight": 1.0},
            k=[1, 23],
            weights=[0, 1],
            temperatures=[1, 2],
        )


@pytest.fixture(scope="module")
def toy():
    pair.KEPT.clear()
    yield Toy()
    pair.KEPT.clear()


@pytest.mark.slow
def test_every_kind_of_job_runs(toy):
    jobs = list(lab14.jobs(toy, 1))
    kinds = {job["experiment"]: job for job in jobs}
    assert set(kinds) == {"halves", "anchors", "k", "weight", "temperature", "prompts"}
    for name, job in kinds.items():
        row = lab14.run(job, toy)
        measures = {k: row.pop(k) for k in ("val", "test", "inside", "agreement") if k in row}
        assert row == job
        assert set(measures) >= {"val", "test"}
        assert ("agreement" in measures) == (name != "anchors")
        assert all(0 <= value <= 1 for value in measures.values())


def test_experiments_that_mean_one_run_share_it(toy, monkeypatch):
    asked = []
    monkeypatch.setattr(lab14, "_measured", lambda profile, seed, options: asked.append(options) or {})
    for job in ({"experiment": "halves", "method": "both"}, {"experiment": "k", "method": "pand", "k": 3},
                {"experiment": "weight", "method": "pand", "weight": 1},
                {"experiment": "temperature", "method": "pand", "temperature": 1},
                {"experiment": "prompts", "method": "calibrated"}):  # fmt: skip
        lab14.run({**job, "seed": 0}, toy)
    assert len(set(asked)) == 1
    lab14.run({"experiment": "halves", "method": "baseline", "seed": 0}, toy)
    assert json.loads(asked[-1])["weight"] == 0
    lab14.run({"experiment": "halves", "method": "vl2lite", "seed": 0}, toy)
    assert json.loads(asked[-1]) == json.loads(asked[-2]) | {"linguistic": 0.5}


def test_jobs_are_distinct_and_the_halves_come_first():
    jobs = list(lab14.jobs(CPU, 3))
    assert len({json.dumps(job, sort_keys=True) for job in jobs}) == len(jobs)
    for seed in range(3):
        first = [job for job in jobs if job["seed"] == seed][:4]
        assert [job["method"] for job in first] == list(lab14.HALVES)


def test_the_preset_trains_as_the_comparison_does():
    """Tables of both stand side by side: data, model, prompts, recipe and options must be the same."""
    ours, theirs = CPU.lab(14), preset("aviary-vlm")
    for name in ("data", "vlm", "prompts", "calibration", "student", "training", "views"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.per_class == ours.reported == theirs.tuned_at
    assert ours.pand == theirs.methods["pand"]
    assert max(ours.k) == ours.training["batch_size"] - 1
    assert lab14.K in ours.k
    assert ours.pand["weight"] in ours.weights


def test_own_is_pand_and_takes_another_objective(toy):
    s = toy.lab(14)
    seen = []

    def objective(student, labels, v, anchors, image, text, share, k, weight, temperature):
        seen.append(
            (share, k, weight, temperature, v.shape[1] == anchors.shape[1], image.shape[1] == text.shape[1])
        )
        return student.logits.sum() * 0 + 7.0

    student = pair.create(s, "scratch", 0, 1).deployed()
    made = lab14.anchors_of(toy, "fixed", 0)
    method = lab14.Own(student, vlm.load(s), anchors=made, objective=objective, k=2, weight=0.5)
    batch = next(vlm.bank(s, 0, 1).batches(8))
    assert method.losses(batch, 0.8)["total"] == 7.0
    assert seen == [(pytest.approx(0.1), 2, 0.5, 2.0, True, True)]
    method.objective = None
    plain = method.eval().losses(batch, 0.8)
    method.nlrd_temperature = 2.0
    cooler = method.losses(batch, 0.8)
    assert cooler["nlrd"] != plain["nlrd"]
    torch.testing.assert_close(cooler["total"] - 0.5 * cooler["nlrd"], plain["total"] - 0.5 * plain["nlrd"])
    teacher = method.ask_teacher(batch).logits
    wanted = neighborhood_relation(method.student(batch.image).logits, teacher / 2, 2)
    torch.testing.assert_close(cooler["nlrd"], wanted)


def test_structure_knows_itself_and_the_labels():
    torch.manual_seed(0)
    labels = torch.arange(4).repeat(12)
    clear = 5 * torch.nn.functional.one_hot(labels, 4) + 0.01 * torch.randn(48, 4)
    blind = torch.randn(48, 4)
    same = lab14.structure(clear, clear, labels, size=16, k=2)
    assert same["agreement"] == 1
    assert same["inside"] > 0.9
    other = lab14.structure(blind, clear, labels, size=16, k=2)
    assert other["inside"] < 0.6
    assert other["agreement"] < 0.6


def test_a_batch_bounds_the_share_of_its_own_class():
    torch.manual_seed(0)
    labels = torch.arange(30).repeat(6)
    clear = 5.0 * torch.nn.functional.one_hot(labels, 30)
    for each, size in ((None, 12), (4, 12), (None, 180)):
        found, possible = lab14.same_class(clear, labels, size, k=3, each=each)
        assert found == pytest.approx(possible)  # a perfect teacher reaches what there is
        assert (possible == 1) == (each == 4 or size == 180)
    rows = lab14._batch(labels, 12, 4, draw=0)
    assert labels[rows].bincount().unique().tolist() == [0, 4]


def test_tables_pair_the_seeds():
    rows = [
        {"experiment": "halves", "method": half, "seed": seed, "test": value + 0.01 * seed, "inside": 0.2,
         "agreement": 0.3}
        for half, value in zip(lab14.HALVES, (0.3, 0.4, 0.5, 0.7), strict=True) for seed in (0, 1)
    ]  # fmt: skip
    results = Results("run it", rows=rows)
    text = str(lab14_tables.halves(results))
    assert "40.0 ± 0.0" in text
    assert "30.0 ± 0.0" in text
    assert "VL2Lite" not in text
    half = [{"experiment": "halves", "method": "vl2lite", "seed": s, "test": 0.35 + 0.01 * s} for s in (0, 1)]
    assert "5.0 ± 0.0" in str(lab14_tables.halves(Results("run it", rows=rows + half)))
    assert lab14_tables.interaction(results).mean == pytest.approx(0.1)
    assert "20.0 ± 0.0" in str(lab14_tables.structure(results))
    main = [
        {"experiment": "main", "method": m, "seed": s, "per_class": 6, "test": t + 0.1 * s}
        for m, t in (("zero-shot", 0.5), ("vl2lite", 0.3), ("pand", 0.6)) for s in (0, 1)
    ]  # fmt: skip
    text = str(lab14_tables.comparison(Results("run it", rows=main), 6))
    assert "30.0 ± 0.0" in text
    assert "DAIT" not in text  # a row that was not run is not shown


def test_a_grid_that_was_cut_off_is_read_without_its_loose_ends():
    rows = [
        {"experiment": "halves", "method": m, "seed": s, "test": 0.5} for m in lab14.HALVES for s in (0, 1)
    ]
    rows += [{"experiment": "halves", "method": "baseline", "seed": 2, "test": 0.5}]
    rows += [{"experiment": "k", "method": "pand", "seed": s, "k": k, "test": 0.5}
             for s, k in ((0, 1), (1, 1), (0, 3), (1, 3), (0, 5))]  # fmt: skip
    found = lab14_tables.finished(Results("run it", rows=rows))
    assert {row["seed"] for row in found.rows} == {0, 1}
    assert lab14_tables.sweeps(found)["k"].values == [1, 3]
    assert set(lab14_tables.sweeps(found)) == {"k"}
    assert len(found.rows) == 12
    assert lab14_tables.finished(found).rows == found.rows
    nothing = Results("run it")
    for table in (lab14_tables.halves, lab14_tables.anchors, lab14_tables.prompts, lab14_tables.structure):
        assert table(nothing) == "Not run yet: run it"
    assert lab14_tables.comparison(nothing, 6) == "Not run yet: run it"
    assert lab14_tables.sweeps(nothing) == {}


@needs_results
def test_results_hold_the_grid():
    def job(row: dict) -> str:
        return json.dumps({k: v for k, v in row.items() if k not in MEASURED}, sort_keys=True)

    done = {job(row) for row in read_results("lab14").rows}
    assert {job(asked) for asked in lab14.jobs(CPU, CPU.lab(14).seeds)} <= done


@needs_results
def test_calibrated_anchors_beat_the_sentence_they_started_from():
    """Sections 1 and 2 of the lab: of the model itself."""
    where = {"experiment": "anchors"}
    gain = read_results("lab14").gain(where | {"method": "calibrated"}, where | {"method": "fixed"})
    assert gain.mean > 0


@needs_results
def test_what_section_eight_says():
    """Neither half is clear of zero, nor are both or VL2Lite; PAND is not above VL2Lite at any budget."""
    results = read_results("lab14")
    runs = {
        half: results.values(experiment="halves", method=half) for half in (*lab14_tables.HALVES, "vl2lite")
    }
    first = runs.pop("baseline")
    assert not any(paired(run, first).excludes_zero for run in runs.values())
    compared = read_results("aviary-vlm")
    for per_class in (6, 10, 20):
        where = {"experiment": "main", "per_class": per_class}
        gain = compared.gain(where | {"method": "pand"}, where | {"method": "vl2lite"})
        assert gain.mean < 0 or not gain.excludes_zero


@needs_results
def test_what_section_ten_says():
    """One neighbour is too few, everybody is not worse than three; the middle weight is above none."""
    results = read_results("lab14")
    k = {n: results.values(experiment="k", k=n) for n in CPU.lab(14).k}
    assert paired(k[3], k[1]).mean > 0
    assert paired(k[3], k[1]).excludes_zero
    assert paired(k[47], k[3]).mean > 0 or not paired(k[47], k[3]).excludes_zero
    weight = {x: results.values(experiment="weight", weight=float(x)) for x in CPU.lab(14).weights}
    assert max(weight, key=lambda x: sum(weight[x])) == 1
    assert sum(weight[16]) < min(sum(weight[x]) for x in weight if x != 16)
