"""Lab 13's runs on the smallest Aviary, its tables, its training helpers, and its committed results."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from labkit import data, engine, models
from labkit.bench import lab13, lab13_live, lab13_tables, matrix_read, pair, vlm
from labkit.bench.grid import GRIDS
from labkit.bench.results import MEASURED, Results
from labkit.bench.stats import Interval, paired
from labkit.paths import shipped
from labkit.profiles import preset, profile

CPU = profile("cpu")
DONE = (shipped("data") / "results" / "lab13.json").is_file()
needs_results = pytest.mark.skipif(not DONE, reason="data/results/lab13.json is not made yet")
SHORT = {"batch_size": 24, "optimizer": "adamw", "lr": 0.003}
EMBED = 16


class ToyVLM(nn.Module):
    """A vision-language model of one fixed layer."""

    name, embed_dim, logit_scale = "toy", EMBED, 20.0

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(48, EMBED, generator=generator), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.encode_image(images)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        patches = nn.functional.adaptive_avg_pool2d(images, 4).flatten(1) - 0.4
        return nn.functional.normalize(patches @ self.weight, dim=1)

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return nn.functional.normalize(torch.randn(len(texts), EMBED, generator=generator), dim=1)

    def zero_shot(self, prompts) -> torch.Tensor:
        return self.encode_text(prompts)


class Toy:
    """A profile whose lab 13 takes seconds."""

    def lab(self, number: int) -> SimpleNamespace:
        assert number == 13
        return SimpleNamespace(
            data={"name": "aviary", "size": "mini", "image_size": 32},
            per_class=1,
            vlm="toy",
            prompts="a photo of a {}",
            student={"name": "tiny"},
            teacher={"name": "small"},
            intermediate={"name": "small"},
            teacher_training=SHORT | {"steps": 4, "head_lr": 0.01, "head_share": 0.5},
            intermediate_training=SHORT | {"steps": 4, "head_lr": 0.01, "head_share": 0.5},
            training=SHORT | {"steps": 4},
            stage1={"k": 0.5, "b": 0.0, "width": 8},
            methods={
                "scratch": {},
                "vl2lite": {},
                "dait-f": {"k": 0.5, "b": 0.0, "channels": "sum", "transfer_views": "augment"},
            },
            views=2,
            direct="vl2lite",
            lambdas=[[0.5, 0.0], [0.0, 0.5]],
            first_lambdas=[[1.0, 0.0]],
            raw=[0.5, 0.0],
            views_tried=[1],
            looked_at=1,
            mapped={"classes": 3, "images": 12, "perplexity": 3},
            live_views=2,
        )


@pytest.fixture(scope="module")
def toy():
    """The toy profile, with the toy model in place of CLIP."""
    patch, kept = pytest.MonkeyPatch(), ToyVLM()
    patch.setattr(models, "load_vlm", lambda name, **how: kept)
    pair.KEPT.clear()
    setting = Toy()
    yield setting
    patch.undo()
    pair.KEPT.clear()
    for made in (lab13._distilled, lab13._between, lab13.trained, lab13.looks):
        made.cache_clear()


@pytest.mark.slow
def test_every_kind_of_job_runs(toy):
    jobs = list(lab13.jobs(toy, 1))
    assert {job["experiment"] for job in jobs} == {
        "terms", "lambda", "looks", "views", "first lambda", "map",
    }  # fmt: skip
    last = {job["experiment"]: job for job in jobs}  # the bare epoch, the frozen intermediate, ...
    for job in (*last.values(), jobs[2], next(job for job in jobs if job["method"] == "scratch")):
        row = lab13.run(job, toy)
        assert {k: row[k] for k in job} == job
        assert set(row) - set(job) <= set(MEASURED)
        numbers = [row[k] for k in ("val", "test", "adapted", "mass") if k in row]
        assert numbers or len(row["examples"]) == 12
        assert all(0 <= x <= 1 for x in numbers), row


def test_the_usual_run_is_made_once(toy):
    s = lab13.settings(toy)
    assert lab13._changes(s, {"terms": "both"}, False) == {}
    assert lab13._changes(s, {"k": 0.5, "b": 0.0, "e": "progress"}, False) == {}
    assert lab13._changes(s, {"views": 2}, False) == {}
    assert lab13._changes(s, {"k": 0.0, "b": 0.0, "e": "progress"}, False) == {"k": 0.0}
    raw = lab13._changes(s, {"k": 0.5, "b": 0.0, "e": "epoch"}, False)
    assert raw["epochs"] == lab13.passes(s)


def test_the_frozen_intermediate_keeps_its_generic_weights(toy):
    s = lab13.settings(toy)
    torch.manual_seed(0)
    net = lab13.generic(s, 0)
    from labkit.rng import seed_everything

    seed_everything(0)
    start = models.build(num_classes=60, **s.intermediate)
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, start.get_parameter(n))}
    assert moved == {n for n, _ in net.named_parameters() if "head" in n}
    assert not net.training


def test_stage_two_of_the_grid_is_the_methods_own(toy):
    """The student of the default row learns from the intermediate that stands beside it."""
    student, between, _ = lab13._distilled(toy, 0, "{}")
    assert lab13.trained(toy, "dait-f", 0) is student
    assert lab13.trained(toy, "intermediate", 0) is between


def test_settings_take_the_comparisons_choices():
    s, theirs = lab13.settings(CPU), preset("aviary-vlm")
    for name in (
        "data",
        "vlm",
        "prompts",
        "student",
        "intermediate",
        "training",
        "methods",
        "stage1",
        "views",
    ):
        assert getattr(s, name) == getattr(theirs, name), name
    assert s.per_class in theirs.budgets
    assert set(s.drawn) <= set(theirs.methods)
    gpu = lab13.settings(profile("gpu"))
    names = set(vars(s)) - {
        "like",
        "families",
        "tried",
        "tried_at",
        "methods_at",
        "tuned_at",
        "tuning_seeds",
        "differences",
        "roster",
        "budgets",
        "references",
        "calibration",
    }
    assert names <= set(vars(gpu)) | {"like"}


def test_jobs_are_distinct_and_the_most_telling_come_first():
    jobs = list(lab13.jobs(CPU, 3))
    assert len({json.dumps(job, sort_keys=True) for job in jobs}) == len(jobs)
    assert [job["terms"] for job in jobs[:9]] == ["both"] * 3 + ["labels"] * 3 + ["frozen"] * 3
    lines = [(j["k"], j["b"], j["e"]) for j in jobs if j["experiment"] == "lambda" and j["seed"] == 0]
    assert (0.0, 0.5, "progress") in lines  # a constant
    assert (0.5, 0.0, "epoch") in lines
    assert any(k > 0 and k + b == 1 and e == "progress" for k, b, e in lines)
    assert GRIDS[13] == "labkit.bench.lab13"


# What the notebook's own loops need --------------------------------------------------------------------


def test_the_optimiser_warms_up_decays_and_clips():
    net = nn.Linear(3, 1, bias=False)
    made = lab13_live.optimiser([net], {"lr": 0.1, "clip": 0.5, "warmup": 0.2}, 20)
    rates = []
    for _ in range(20):
        net.weight.grad = torch.full_like(net.weight, 100.0)
        rates.append(made.param_groups[0]["lr"])
        made.step()
        assert net.weight.grad.norm() <= 0.5001
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert rates[-1] < 0.01
    assert rates.index(max(rates)) in (3, 4)


def test_live_batches_are_the_banks_views(toy):
    s = lab13.settings(toy)
    module, bank = pair.few(s, 1, 0), vlm.bank(s, 0, 1, views=2, progress=False)
    found = list(lab13_live.batches(module, bank, 5, 24, "cpu"))
    assert len(found) == 5
    for batch in found:
        again = ToyVLM().encode_image(batch.image)
        torch.testing.assert_close(batch.stored["features"], again, atol=2e-3, rtol=1e-2)
    assert {int(batch.view[0]) for batch in found} == {0, 1}


def test_steps_are_those_of_the_recipes(toy):
    s = lab13.settings(toy)
    assert (lab13_live.steps(s), lab13_live.steps(s, first=True)) == (4, 2)
    s.training = {"epochs": 3, "batch_size": 24}
    assert lab13_live.steps(s) == 3 * (60 // 24)


# Tables ------------------------------------------------------------------------------------------------


def made_up() -> tuple[Results, Results, SimpleNamespace]:
    """Results of two seeds at one budget, without what was not run."""
    s = lab13.settings(CPU)
    comparison = [
        {"experiment": "main", "method": m, "seed": seed, "per_class": 6, "test": 0.1 * i + 0.01 * seed}
        for i, m in enumerate([*s.references, *s.methods][:-1])
        for seed in (0, 1)
    ]
    own = [
        {"experiment": "terms", "method": "dait-f", "seed": seed, "per_class": 6, "terms": name,
         "test": 0.5 + 0.1 * i, "adapted": 0.6 + 0.01 * seed}
        for i, name in enumerate(("labels", "both"))
        for seed in (0, 1)
    ]  # fmt: skip
    own += [
        {"experiment": "lambda", "method": "dait-f", "seed": seed, "per_class": 6, "k": k, "b": b,
         "e": "progress", "test": 0.7 + k}
        for k, b in s.lambdas[:2]
        for seed in (0, 1)
    ]  # fmt: skip
    own += [
        {"experiment": "looks", "method": m, "seed": 0, "per_class": 6, "mass": 0.2}
        for m in ("scratch", "chance")
    ]
    return Results("run it", rows=own), Results("compare it", rows=comparison), s


def test_tables_leave_out_what_was_not_run_and_pair_the_seeds():
    own, comparison, s = made_up()
    text = str(lab13_tables.comparison(comparison, s))
    assert "6 labels, %" in text
    assert "10 labels" not in text
    assert text.count("DAIT-F") > 2
    terms = str(lab13_tables.terms(own, comparison, s))
    assert "10.0 ± 0.0" in terms
    assert "SIA + IRA" in terms
    assert "labels + IRA" not in terms
    for table in (
        lab13_tables.opening(comparison, s),
        lab13_tables.views(own, comparison, s),
        lab13_tables.lambdas(own, comparison, s),
        lab13_tables.students(comparison, s),
        lab13_tables.candidates(Results("none"), comparison, s),
    ):
        assert str(table)
    assert "CLIP, zero-shot" in lab13_tables.beside(comparison, s, 6)
    assert lab13_tables.looks(own, s) == ({"student alone": [0.2]}, {"chance": 0.2})
    gain = lab13_tables.lead(comparison, s, "scratch")
    assert gain.endswith("(6 labels)")


def test_differences_pair_the_seeds_that_both_have():
    gain = lab13_tables.difference({0: 0.5, 2: 0.9, 3: 0.7}, {2: 0.8, 0: 0.4, 1: 0.1})
    assert str(gain) == "10.0 ± 0.0"
    assert lab13_tables.difference({0: 0.5}, {1: 0.5}) == "-"


def test_lines_of_lambda_are_told_apart():
    words = {lab13_tables.line(k, b) for k, b in lab13.settings(CPU).lambdas}
    assert len(words) == 6
    assert lab13_tables.line(1.0, 0.0).endswith("(ends at 1)")
    assert lab13_tables.line(0.0, 0.5).endswith("(constant)")


# What is committed -------------------------------------------------------------------------------------


@needs_results
def test_results_hold_every_run_of_the_grid():
    results = lab13_tables.found("lab13")
    done = [{k: v for k, v in row.items() if k not in MEASURED} for row in results.rows]
    assert all(job in done for job in lab13.jobs(CPU, 1))


@needs_results
def test_the_usual_run_is_the_comparisons():
    """Tables of both stand side by side: one run, two machines' rounding at most."""
    results, comparison = lab13_tables.found("lab13"), lab13_tables.found("aviary-vlm")
    ours = lab13_tables.by_seed(results.select(experiment="terms", terms="both"), "test")
    theirs = lab13_tables.at(comparison, "dait-f", lab13.settings(CPU).per_class)
    assert ours
    for seed in ours.keys() & theirs.keys():
        assert ours[seed] == pytest.approx(theirs[seed], abs=0.02)


@needs_results
def test_a_silenced_teacher_is_no_teacher():
    """Section 10: without labels the head is a guess, and a bare epoch costs what it silences."""
    results = lab13_tables.found("lab13")
    runs = lab13_tables.lines(results, "lambda", "test")
    usual = lab13_tables.mean(runs[lab13_tables.line(0.5, 0.0)]).mean
    assert max(runs[lab13_tables.line(0.0, 0.0)].values()) < 0.1
    for name in (lab13_tables.line(0.0, 1.0), lab13_tables.line(0.5, 0.0, "epoch")):
        assert max(runs[name].values()) < usual
    for name in (lab13_tables.line(0.0, 0.5), lab13_tables.line(0.5, 0.5)):
        loss = lab13_tables.difference(runs[name], runs[lab13_tables.line(0.5, 0.0)])
        assert loss.mean < -0.15
        assert loss.excludes_zero
    first = lab13_tables.lines(results, "first lambda", "adapted")
    assert min(lab13_tables.mean(run).mean for run in first.values()) > 0.86


@needs_results
def test_sections_nine_and_eleven_say_what_the_runs_say():
    results = lab13_tables.found("lab13")

    def gain(first: dict, second: dict, measure: str) -> Interval:
        rows = [results.select(**where) for where in (first, second)]
        return lab13_tables.difference(*(lab13_tables.by_seed(row, measure) for row in rows))

    labels, both = ({"experiment": "terms", "terms": name} for name in ("labels", "both"))
    assert gain({"experiment": "terms", "terms": "frozen"}, labels, "test").mean < -0.1
    for name in ("sia", "ira", "both"):
        for measure in ("adapted", "test"):
            assert not gain({"experiment": "terms", "terms": name}, labels, measure).excludes_zero
    one, four = (gain({"experiment": "views", "views": v}, both, "test") for v in (1, 4))
    assert one.mean < -0.03
    assert one.excludes_zero > four.excludes_zero
    scores, controls = lab13_tables.looks(results, lab13.settings(CPU))
    assert paired(scores["DAIT-F"], scores["student alone"]).mean < 0
    assert max(max(row) for row in scores.values()) < controls["bird"]


@needs_results
def test_the_best_candidate_need_not_have_the_best_student():
    """Section 8."""
    runs = lab13_tables.by_candidate(lab13_tables.found("intermediates"))
    its_own, its_student = (
        {name: sum(run[measure] for run in rows) / len(rows) for name, rows in runs.items()}
        for measure in ("adapted", "test")
    )
    best, worst = (choose(its_own, key=its_own.get) for choose in (max, min))
    assert (best, worst) == ("resnet_narrow", "shufflenetv2_narrow")
    assert sorted(its_student, key=its_student.get)[1] == best
    assert its_student[best] < min(its_student["small"], its_student["mid"]) - 0.1
    assert its_student[worst] > its_own[worst]
    alike = {name: rows[0]["cka_unbiased"] for name, rows in runs.items()}
    first, second = sorted(alike, key=alike.get)[-2:]
    assert abs(its_student[first] - its_student[second]) > 0.1


@needs_results
def test_most_students_learn_more_by_way_of_the_one_between():
    """Section 7's second table."""
    results, s = lab13_tables.found("aviary-vlm"), lab13.settings(CPU)
    kept, where = matrix_read.on_roster(results, s)
    clear = []
    for student, wanted in where.items():
        gains = [
            kept.gain(wanted | {"method": "dait-f"}, wanted | {"method": m}) for m in ("scratch", "vl2lite")
        ]
        clear += [student] if all(gain.excludes_zero and gain.mean > 0 for gain in gains) else []
    assert clear == ["tiny", "small", "shufflenetv2_narrow"], "of mobilenetv2_narrow it can't be said"


def test_looks_need_the_aviarys_parts():
    split = data.load("aviary", size="mini").test
    assert lab13.parts(split).any()
    assert engine.attention_on_parts is not None
