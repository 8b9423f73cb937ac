"""Lab 03's runs on a toy, its targets and its theory against independent arithmetic, and what was"
" committed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit import LabkitError
from labkit.bench import (
    interval,
    lab03,
    lab03_live,
    lab03_tables,
    lab03_targets,
    lab03_theory,
    pair,
    paired,
    read_results,
)
from labkit.engine import Evaluation
from labkit.errors import MissingError
from labkit.models import Output
from labkit.profiles import Profile, preset, profile

SETTINGS = profile("cpu").lab(3)
ROWS = 4000


# Targets ----------------------------------------------------------------------------------------------------


def test_permuted_keeps_the_largest_logit_and_every_value():
    logits = torch.randn(50, 9)
    found = lab03_targets.permuted(logits)
    top = logits.argmax(1, keepdim=True)
    assert torch.equal(found.sort(1).values, logits.sort(1).values)
    assert torch.equal(found.gather(1, top), logits.gather(1, top))
    assert torch.equal(found, lab03_targets.permuted(logits))  # the same image, the same order


def test_permuted_uses_every_order_of_the_others_equally():
    logits = torch.tensor([0.0, 1.0, 2.0, 5.0]) + torch.randn(ROWS, 1)  # another key for each row
    found = (lab03_targets.permuted(logits) - logits.min(1, keepdim=True).values).round().long()
    orders, counts = found[:, :3].unique(dim=0, return_counts=True)
    assert len(orders) == math.factorial(3)
    assert counts.min() > 0.8 * ROWS / 6
    assert (found[:, 3] == 5).all()


def test_even_keeps_the_confidence_and_spreads_the_rest():
    logits, temperature = 3 * torch.randn(20, 7), 2.5
    before, after = ((z / temperature).softmax(1) for z in (logits, lab03_targets.even(logits, temperature)))
    top = logits.argmax(1, keepdim=True)
    torch.testing.assert_close(after.gather(1, top), before.gather(1, top))
    rest = (1 - before.gather(1, top)) / 6
    others = torch.ones(20, 7, dtype=torch.bool).scatter(1, top, False)
    torch.testing.assert_close(after[others].view(20, 6), rest.expand(20, 6))


def test_even_survives_a_certain_teacher():
    logits = torch.tensor([[500.0, 0.0, -500.0]])
    assert torch.isfinite(lab03_targets.even(logits, 1.0)).all()


class Toy(nn.Module):
    num_classes = 3

    def forward(self, x):
        z = x.flatten(1)[:, :3]
        return Output(z, z, (), z)


def test_altered_changes_the_logits_alone():
    x = torch.randn(4, 1, 2, 2)
    found = lab03_targets.Altered(Toy(), torch.neg)(x)
    assert torch.equal(found.logits, -x.flatten(1)[:, :3])
    assert torch.equal(found.embedding, x.flatten(1)[:, :3])
    toy = Toy()
    assert lab03_targets.altered(toy, "hinton", 4.0) is toy


def test_examples_are_mistakes_among_look_alikes_that_the_teacher_avoids():
    labels = torch.tensor([0, 1, 2, 3, 0])
    names = tuple("abcd")
    teacher = Evaluation(
        F.one_hot(torch.tensor([0, 1, 2, 0, 0]), 4) * torch.arange(1.0, 6)[:, None], labels, names
    )
    student = Evaluation(F.one_hot(torch.tensor([1, 2, 3, 2, 1]), 4).float(), labels, names)
    found = lab03.examples(teacher, student, torch.tensor([0, 0, 1, 1]))
    assert found == [{"image": 4, "label": 0, "student": 1}, {"image": 2, "label": 2, "student": 3}]


# Theory -----------------------------------------------------------------------------------------------------


def test_risk_errors_are_those_of_repeated_draws():
    """Formula (3) against what it says: the mean squared error over many repetitions."""
    world = lab03_theory.risk_errors([5, 50], draws=2000, seed=3)
    random = torch.Generator().manual_seed(3)
    w, f, wrong = (torch.randn(4, 5, generator=random, dtype=torch.float64) for _ in range(3))
    x = torch.randn(20_000, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    loss = -(x @ f).log_softmax(-1)
    truth, given = (x @ w).softmax(-1), (x @ (w + 0.7 * wrong)).softmax(-1)
    risk = (truth * loss).sum(-1).mean()
    y = torch.multinomial(truth.flatten(0, 1), 1).view(20_000, 5, 1)
    for name, terms in (
        ("hard", loss.gather(-1, y)[..., 0]),
        ("bayes", (truth * loss).sum(-1)),
        ("teacher", (given * loss).sum(-1)),
    ):  # fmt: skip
        error = (terms.mean(1) - risk).square().mean().item()
        assert getattr(world, name)[0] == pytest.approx(error, rel=0.06), name
    assert world.bayes[1] < world.hard[1]
    assert world.teacher[1] > world.bias > 0


@pytest.mark.parametrize(("q", "c"), [(0.0, 0.1), (0.1, 0.05), (0.5, 0.3), (0.9, 0.01)])
def test_kl_inverse_is_the_largest_coin_within_reach(q: float, c: float):
    p = lab03_theory.kl_inverse(q, c)

    def kl(p):
        return sum(a * math.log(a / b) for a, b in ((q, p), (1 - q, 1 - p)) if a > 0)

    assert q <= p < 1
    assert kl(p) == pytest.approx(c, abs=1e-6)
    assert kl(min(1 - 1e-12, p + 1e-4)) > c
    assert lab03_theory.kl_inverse(q, 0.0) == pytest.approx(q, abs=1e-6)


def test_kl_inverse_refuses_what_is_no_probability():
    with pytest.raises(LabkitError, match=r"q in \[0, 1\]"):
        lab03_theory.kl_inverse(1.2, 0.1)


def test_a_bound_holds_for_pure_noise_and_shrinks_with_a_better_prior():
    random = torch.Generator().manual_seed(0)
    w = torch.randn(6, 3, generator=random)

    def sample(n):
        x = torch.randn(n, 6, generator=random)
        return x, (x @ w).argmax(1)

    train, test = sample(300), sample(2000)
    nothing = lab03_theory.bounded(torch.zeros(6, 3), train, test)
    informed = lab03_theory.bounded(2 * w, train, test)
    assert informed.divergence < nothing.divergence
    assert informed.test < informed.bound < nothing.bound
    assert informed.images == 300
    noise = torch.randint(3, (300,), generator=random)
    found = lab03_theory.bounded(torch.zeros(6, 3), (train[0], noise), (test[0], torch.randint(3, (2000,))))
    assert found.bound > found.test  # about 2/3, whatever was fitted


# Runs -------------------------------------------------------------------------------------------------------


def test_jobs_are_distinct():
    every = list(lab03.jobs(profile("cpu"), seeds=2))
    assert len({json.dumps(job, sort_keys=True) for job in every}) == len(every)
    assert {job["experiment"] for job in every} == {
        *("targets", "examples", "length", "assistant", "teachers", "tuning", "teacher_steps", "students")
    }


def test_the_preset_is_that_of_the_comparison():
    shared = vars(preset("aviary"))
    for name in ("data", "teacher", "student", "assistant", "teacher_training", "views"):
        assert getattr(SETTINGS, name) == shared[name], name
    ours, theirs = ({**training, "lr": None} for training in (SETTINGS.training, shared["training"]))
    assert ours == theirs  # but for the rate, which every method's own options name
    assert all("lr" in options for options in SETTINGS.options.values())
    for method, options in SETTINGS.options.items():
        assert options == shared["methods"][method], method


@dataclass(frozen=True)
class Small(Profile):
    """The cpu profile with the smallest Aviary and a few steps."""

    def lab(self, number: int | str) -> SimpleNamespace:
        settings = super().lab(number)
        if int(number) != 3:
            return settings
        short = {"steps": 2, "batch_size": 48, "optimizer": "adamw", "lr": 0.01, "validate_every": 1}
        adapted = {**short, "head_lr": 0.01, "head_share": 0.5}
        changed = {"data": {"name": "aviary", "size": "mini"}, "per_class": 2, "views": 2, "training": short,
                   "teacher": {"name": "tiny"}, "teacher_training": adapted,
                   "assistant": "tiny", "student_training": {"steps": 1}, "rounds": 2, "peek": 1}  # fmt: skip
        return SimpleNamespace(**(vars(settings) | changed))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Small:
    monkeypatch.setenv("LABKIT_QUIET", "1")
    pair.KEPT.clear()
    return Small(**vars(profile("cpu")))


@pytest.mark.slow
@pytest.mark.parametrize(
    "which",
    [
        {"experiment": "examples", "method": "scratch"},
        {"experiment": "targets", "method": "permuted", "data": "birds"},
        {"experiment": "length", "method": "finetuned", "steps": 3},
        {"experiment": "assistant", "method": "hinton"},
        {"experiment": "teachers", "method": "hinton", "teacher": "small", "temperature": 2.0},
        {"experiment": "teacher_steps", "method": "hinton", "teacher_steps": 0},
        {"experiment": "students", "method": "hinton", "student": "shufflenetv2_narrow"},
    ],
    ids=lambda which: f"{which['experiment']}-{which['method']}",
)
@pytest.mark.filterwarnings("ignore:The teacher is right")
def test_every_kind_of_run_is_measured(small: Small, which: dict):
    row = lab03.run({"seed": 0, **which}, small)
    measures = ["test", "inside", "mass"] + (["assistant"] if which["experiment"] == "assistant" else [])
    measures += ["teacher_test", "agreement"] if which["experiment"].startswith("teacher") else []
    assert all(0 <= row[name] <= 1 for name in measures)
    assert ("examples" in row) == (which["method"] == "scratch")


def test_a_live_run_has_all_its_steps(small: Small):
    s = small.lab(3)
    module = pair.few(s, s.per_class, 0)
    live = lab03_live.begin(s, "hinton", module, "cpu")
    sizes = [[len(batch.label) for batch in part] for part in live.rounds]
    assert sizes == [[48], [48]]
    assert live.steps == 2
    assert 0 <= live.measure(live.student, "val") <= 1


def test_a_step_of_a_live_run_moves_the_rate_and_computes_in_its_precision(small: Small):
    s = small.lab(3)
    s.training = {**s.training, "precision": "bf16"}
    live = lab03_live.begin(s, "hinton", pair.few(s, s.per_class, 0), "cpu")
    seen = []

    def step(student, guide, optimizer, batch, temperature, hard_weight):
        seen.append((guide, temperature, hard_weight, student(batch.image).logits.dtype))
        optimizer.step()
        return 0.5, 3

    before = live.rates.last_epoch
    assert live.step_with(step, "a teacher", lr=1.0, hard_weight=0.1)(next(live.rounds[0])) == (0.5, 3)
    assert seen == [("a teacher", 1.0, 0.1, torch.bfloat16)]
    assert live.rates.last_epoch == before + 1


def test_the_gap_is_closed_as_far_as_the_accuracies_say():
    labels = torch.arange(4)

    def right(n):
        return Evaluation(F.one_hot((labels + (labels >= n)) % 4, 4).float(), labels, tuple("abcd"))

    found = lab03_tables.gap({"alone": right(0), "distilled": right(1), "teacher": right(2)})
    assert [row[1] for row in found.rows] == ["0.0%", "25.0%", "50.0%"]
    assert [row[3] for row in found.rows] == ["50.0%", "25.0%", "0.0%"]
    assert "closes 50% of the gap" in found.note


# What is committed ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results():
    try:
        return read_results("lab03")
    except MissingError:
        pytest.fail("data/results/lab03.json is missing: run `labkit bench --lab 03`")


def test_the_claims_of_the_lab_hold(results):
    table = read_results("aviary")
    main = {"experiment": "main", "per_class": SETTINGS.per_class}
    for control in ("scratch", "label_smoothing"):
        gain = table.gain({**main, "method": "hinton"}, {**main, "method": control})
        assert gain.mean > 0
        assert gain.excludes_zero
    assert min(table.values("inside", **main, method="scratch")) > 3 / 59
    finetuned = table.gain({**main, "method": "hinton finetuned"}, {**main, "method": "finetuned"})
    assert 0 < finetuned.mean < 0.05
    assert finetuned.excludes_zero
    start = table.gain({**main, "method": "finetuned"}, {**main, "method": "hinton"})
    assert start.mean > 0
    assert start.excludes_zero
    for data in ("birds", "digits"):
        lost = lab03_tables.fall(results, table, data)
        assert lost.mean > 0
        assert lost.excludes_zero
    asked = ({"teacher_steps": 0}, {})
    (fresh, after_fresh), (_, after_teacher) = (
        lab03_tables.by_teacher(results, table, **where) for where in asked
    )
    assert max(fresh) < 0.05
    assert min(after_teacher) > max(after_fresh) + 0.1


def test_more_steps_shrink_the_gain_and_leave_some(results):
    runs = lab03_tables.by_length(results, read_results("aviary"))
    gains = [paired(runs["hinton", n], runs["scratch", n]) for n in (300, 900, 2700)]
    assert all(gain.mean > 0 and gain.excludes_zero for gain in gains)
    assert gains[0].mean > gains[1].mean > gains[2].mean
    teacher = read_results("aviary").values(**lab03_tables.MAIN, method="teacher")[:3]
    for student in (runs["hinton", 2700], runs["finetuned", 900]):
        ahead = paired(student, teacher)
        assert ahead.mean > 0
        assert ahead.excludes_zero


def test_the_size_of_the_teacher_decides_little(results):
    table = read_results("aviary")
    tiny, small, mid = lab03_tables.by_size(results, table).values()
    assert paired(small[0], tiny[0]).excludes_zero  # a better teacher,
    assert not paired(small[1], tiny[1]).excludes_zero  # but not clearly a better student
    assert not paired(mid[0], small[0]).excludes_zero
    step = paired(mid[1], small[1])
    assert -0.05 < step.mean < 0
    assert step.excludes_zero
    _, scratch, pretrained, _ = (row[-1] for row in lab03_tables.chains(results, table).rows)
    assert scratch.mean < 0
    assert scratch.excludes_zero
    assert not pretrained.excludes_zero


def test_labels_in_plenty_leave_little_to_distil():
    table = read_results("cifar10")
    few, more = (
        table.gain(*({"experiment": "main", "method": m, "epochs": n} for m in ("hinton", "scratch")))
        for n in (3, 10)
    )
    assert not few.excludes_zero
    assert more.excludes_zero
    assert 0 < more.mean < 0.1
    assert [row[-1] for row in lab03_tables.cifar(table).rows] == [few, more]


def test_each_teacher_has_the_temperature_that_its_tuning_chose(results):
    for teacher, chosen in SETTINGS.teachers.items():
        found = {
            heat: results.values("val", experiment="tuning", teacher=teacher, temperature=heat)[0]
            for heat in SETTINGS.tried_temperatures
        }
        assert chosen == max(found, key=found.get), teacher  # the first of equals


def test_tables_hold_every_row(results):
    table = read_results("aviary")
    assert len(lab03_tables.targets(results, table).rows) == 8
    pairs = [lab03_tables.by_teacher(results, table, **{"teacher_steps": n} if n else {}) for n in (10, 0)]
    pairs += lab03_tables.by_size(results, table).values()
    assert len({len(run) for pair in pairs for run in pair}) == 1  # the same seeds everywhere
    assert len(lab03_tables.sizes(results, table).rows) == len(SETTINGS.teachers)
    assert len(lab03_tables.chains(results, table).rows) == 4
    assert len(lab03_tables.methods(table, SETTINGS.per_class).rows) == 7
    assert len(lab03_tables.students(results, SETTINGS.students).rows) == 2
    lengths = lab03_tables.lengths(results, table).rows
    assert [row[0] for row in lengths[:2]] == ["student alone", "Hinton's KD"]
    assert lengths[0][1] == interval(table.values(**lab03_tables.MAIN, method="scratch")[:3])
