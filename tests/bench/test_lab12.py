"""Lab 12's runs on the smallest Aviary with a model of random weights, its tables, its committed results."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from timm.layers import DropPath

from labkit import data, models
from labkit.bench import lab12, pair, paired, read_results, vlm
from labkit.bench import lab12_tables as tables
from labkit.bench.results import Results
from labkit.engine import Evaluation, FeatureBank
from labkit.paths import shipped
from labkit.profiles import preset, profile

CPU = profile("cpu")
DONE = (shipped("data") / "results" / "lab12.json").is_file()
needs_results = pytest.mark.skipif(not DONE, reason="data/results/lab12.json is not made yet")
SHORT = {"batch_size": 24, "optimizer": "adamw", "lr": 0.003}


class Toy:
    """A profile whose lab 12 takes seconds."""

    def lab(self, number: int) -> SimpleNamespace:
        assert number == 12
        return SimpleNamespace(
            data={"name": "aviary", "size": "mini", "image_size": 32},
            vlm="aviary-clip",
            prompts="{}",
            student={"name": "tiny"},
            training=SHORT | {"steps": 2},
            views=1,
            per_class=1,
            methods={
                "scratch": {},
                "label_smoothing": {"smoothing": 0.1},
                "kd_clip": {"hard_weight": 0.1},
                "vl2lite": {"slope": 0.5},
            },
            compared=["scratch", "kd_clip", "vl2lite"],
            own=15.04,
            scales=[1, 15.04],
            look_per_class=1,
        )


@pytest.fixture(scope="module")
def toy():
    yield Toy()
    pair.KEPT.clear()
    for kept in (lab12._trained, lab12._looked):
        kept.cache_clear()


def test_every_kind_of_job_runs(toy):
    jobs = list(lab12.jobs(toy, 1))
    kinds = {job["experiment"]: job for job in jobs}
    assert set(kinds) == {"terms", "spread", "looks", "alone", "scale"}
    for job in kinds.values():
        row = lab12.run(job, toy)
        assert {k: row[k] for k in job} == job
        measured = set(row) - set(job)
        wanted = {"spread": {"examples"}, "looks": {"mass"}}.get(job["experiment"], {"val", "test"})
        assert measured == wanted
        for name in measured:
            assert all(0 <= x <= 1 for x in (row[name] if name == "examples" else [row[name]]))


@pytest.mark.parametrize("setting", [CPU, Toy()], ids=["cpu", "toy"])
def test_jobs_are_distinct_and_cover_the_questions(setting):
    s, jobs = lab12.settings(setting), list(lab12.jobs(setting, 3))
    assert len({str(sorted(job.items())) for job in jobs}) == len(jobs)
    assert {job["scale"] for job in jobs if job["experiment"] == "scale"} == set(map(float, s.scales))
    assert s.own in s.scales
    assert {job["method"] for job in jobs if job["experiment"] == "looks"} == {
        *lab12.STUDENTS, *lab12.CONTROLS
    }  # fmt: skip


def test_jobs_of_one_run_are_one_group():
    jobs = [job for job in lab12.jobs(CPU, 1) if job["method"] in ("kd_clip", "vl2lite", "best", "scratch")]
    groups = {}
    for job in jobs:
        groups.setdefault(lab12.group(job), []).append(job)
    made = {(g[0]["method"], g[0].get("terms"), g[0].get("scale")): g for g in groups.values()}
    own = made["kd_clip", None, lab12.settings(CPU).own]
    assert {job["experiment"] for job in own} == {"scale", "looks"}
    both = next(g for g in groups.values() if any(job.get("terms") == "both" for job in g))
    assert {job["experiment"] for job in both} == {"terms", "spread", "looks"}
    assert len(made["kd_clip", None, 1.0]) == 1
    assert {job["method"] for job in made["scratch", None, None]} == {"best", "scratch"}


@pytest.mark.parametrize("terms", lab12.TERMS)
def test_terms_leave_out_or_hold_still_what_they_name(toy, terms):
    made = lab12.create(lab12.settings(toy), "vl2lite", 0, terms)
    image, text = made.image_layer, made.text_layer
    assert (image is None) == (terms == "text")
    assert (text is None) == (terms == "image")
    moves = image is not None and all(w.requires_grad for w in image.parameters())
    assert moves == (terms in ("both", "image"))
    assert text is None or all(w.requires_grad for w in text.parameters())


def test_the_own_scale_is_the_models():
    s = lab12.settings(CPU)
    assert round(models.load_vlm(s.vlm).logit_scale, 2) == s.own


def test_the_preset_is_the_comparisons():
    ours, theirs = lab12.settings(CPU), preset("aviary-vlm")
    for name in ("data", "vlm", "prompts", "student", "training", "views", "methods"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.per_class in theirs.budgets
    assert set(ours.compared) <= set(theirs.methods)
    gpu = lab12.settings(profile("gpu"))
    assert set(vars(gpu)) >= {"data", "vlm", "prompts", "student", "training", "views", "methods"}
    assert set(vars(profile("gpu").lab(12))) >= set(vars(CPU.lab(12))) - {"like"}


def test_replaying_shows_what_the_bank_stored():
    birds = data.load("aviary", size="mini")
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    bank = FeatureBank(encoder, birds.train, views=2, augment=birds.augment, keep=False)
    shown = list(lab12.replay(bank, 24, 12))
    assert len(shown) == 12
    assert {int(b.view[0]) for b in shown} == {0, 1}
    for batch in (shown[0], shown[-1]):
        torch.testing.assert_close(batch.stored["features"], encoder(batch.image), rtol=1e-4, atol=1e-5)


def test_drop_path_speaks_in_train_mode_alone():
    clip = models.load_vlm("aviary-clip")
    other = lab12.with_drop_path(clip, 0.3)
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert any(isinstance(m, DropPath) for m in other.clip.modules())
    assert not any(isinstance(m, DropPath) for m in clip.clip.modules())
    torch.testing.assert_close(other(images), clip(images))
    other.clip.train()
    torch.manual_seed(0)
    assert not torch.allclose(other(images), clip(images), atol=1e-2)


def test_telling_images_are_lost_on_the_second_alone():
    labels = torch.arange(6)
    right, wrong = labels.clone(), torch.tensor([0, 0, 2, 0, 0, 0])
    right[5] = 1
    one_hot = torch.nn.functional.one_hot
    first, second = (Evaluation(one_hot(x, 6).float(), labels, tuple("abcdef")) for x in (right, wrong))
    assert lab12.telling(first, second, n=9).tolist() == [1, 3, 4]
    assert lab12.telling(first, second, n=2).tolist() == [1, 4]


def test_the_table_shows_the_budgets_that_are_done():
    s = tables.comparison(CPU)
    rows = [
        {"experiment": "main", "method": m, "seed": seed, "per_class": 6, "test": 0.1 * i + 0.01 * seed}
        for seed in (0, 1)
        for i, m in enumerate(("zero-shot", *s.methods))
    ]
    rows.append({"experiment": "main", "method": "scratch", "seed": 0, "per_class": 10, "test": 0.9})
    text = str(tables.by_budget(Results("run it", rows=rows), CPU))
    assert "6 labels" in text
    assert "10 labels" not in text  # of that budget one row is done
    assert "VL2Lite" in text
    assert "40.0 ± 0.0" in text  # minus alone, paired


def test_tables_pair_the_seeds_and_leave_out_what_is_not_run():
    rows = [
        {"experiment": "alone", "method": "scratch", "seed": seed, "test": 0.1 * seed} for seed in (0, 1, 2)
    ] + [{"experiment": "terms", "method": "vl2lite", "terms": "both", "seed": seed, "test": 0.3 + 0.1 * seed}
         for seed in (1, 2)]  # fmt: skip
    text = str(tables.gains(Results("run it", rows=rows), tables.HALVES, ["student alone"], "rows"))
    assert "30.0 ± 0.0" in text
    assert "held still" not in text
    assert tables.by_scale(Results("run it"), [1, 2]) == {}
    assert tables.spreads(Results("run it")) == {}


def test_looks_stand_beside_their_own_mean_map():
    rows = [
        {"experiment": "looks", "method": m, "seed": seed, "at": at, "per_class": 6, "mass": 0.1 * seed}
        for m in lab12.STUDENTS
        for seed in (0, 1)
        for at in ("share", "fixed")
    ]
    rows.append({"experiment": "looks", "method": "chance", "seed": 0, "at": "share", "mass": 0.04})
    results = Results("run it", rows=rows)
    found = tables.scores(results)
    assert len(found) == 2 * len(lab12.STUDENTS)
    assert all(values == [0.0, 0.1] for values in found.values())
    assert tables.controls(results) == {"chance": 0.04}
    assert "4.0" in str(tables.looks(results))


# --- what is committed ----------------------------------------------------------------------------------


@needs_results
def test_results_hold_every_run_of_the_grid():
    def key(row: dict) -> str:
        return str(sorted((k, v) for k, v in row.items() if k not in ("val", "test", "mass", "examples")))

    rows = {key(row) for row in read_results("lab12").rows}
    assert all(key(job) in rows for job in lab12.jobs(CPU, lab12.settings(CPU).seeds))


@needs_results
def test_a_target_that_may_move_comes_to_meet_the_student():
    """Section 4: the spread of the condensed images changes where the layer learns, and only there."""
    found = read_results("lab12")
    for terms, moves in (("both", True), ("stopped", False)):
        for row in found.select(experiment="spread", terms=terms):
            first, last = row["examples"][0], row["examples"][-1]
            assert (abs(last - first) > 0.05) == moves


@needs_results
def test_a_teacher_who_is_always_certain_teaches_less():
    """Section 9: both ends lie below the model's own scale, the certain one by more than its interval."""
    found = read_results("lab12")
    runs = {x: found.values(experiment="scale", scale=float(x)) for x in lab12.settings(CPU).scales}
    assert paired(runs[15.04], runs[1]).mean > 0
    assert paired(runs[15.04], runs[1000]).mean > 0
    assert paired(runs[15.04], runs[1000]).excludes_zero


@needs_results
def test_who_asks_looks_no_harder_than_at_the_whole_bird():
    """Section 8: more at the telling parts than the student alone, less than an even look at the bird."""
    found = read_results("lab12")
    scores, lines = tables.scores(found), tables.controls(found)
    alone, kd = scores["student alone"], scores["KD(CLIP)"]
    assert paired(kd, alone).mean > 0
    assert paired(kd, alone).excludes_zero
    assert all(lines["chance"] < x < lines["bird"] for values in scores.values() for x in values)


def test_the_zero_shot_model_is_the_comparisons():
    s = lab12.settings(CPU)
    module = data.load("aviary", size="mini")
    assert vlm.texts(s, module) == [f"a photo of a {name}" for name in module.classes]
