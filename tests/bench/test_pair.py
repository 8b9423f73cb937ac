"""The pair of networks that comparisons train: nested labels, an adapted teacher, its bank, one student."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from labkit import LabkitError, engine, methods, models
from labkit.bench import pair
from labkit.bench.adapt import Adaptation, _rest, adapt, passes


@pytest.fixture(scope="module")
def s() -> SimpleNamespace:
    """The Aviary's smallest size and a few steps."""
    return SimpleNamespace(
        data={"name": "aviary", "size": "mini"},
        student={"name": "tiny"},
        teacher={"name": "small", "weights": "pretrained"},
        assistant="small",
        teacher_training={"steps": 16, "batch_size": 32, "lr": 0.002, "head_lr": 0.03, "head_share": 0.75},
        training={"steps": 4, "batch_size": 32, "lr": 0.01, "validate_every": 2},
        views=2,
    )


@pytest.fixture(scope="module")
def teacher(s: SimpleNamespace):
    pair.KEPT.clear()
    return pair.adapted(s, 0, 2, progress=False)


def test_budgets_are_nested_and_test_is_fixed(s: SimpleNamespace):
    one, two, other = pair.few(s, 1, 0), pair.few(s, 2, 0), pair.few(s, 1, 1)
    assert set(one.train.ids.tolist()) < set(two.train.ids.tolist())
    assert set(one.train.ids.tolist()) != set(other.train.ids.tolist())
    assert torch.equal(one.test.ids, other.test.ids)
    assert torch.bincount(one.train.labels).tolist() == [1] * 60
    assert pair.few(s, 1, 0) is one


@pytest.mark.slow
def test_the_teacher_is_adapted_once_frozen_and_far_above_chance(s: SimpleNamespace, teacher):
    model, accuracy = teacher
    assert pair.adapted(s, 0, 2) == (model, accuracy)
    assert accuracy == engine.evaluate(model, pair.few(s, 2, 0).val).accuracy
    assert accuracy > 0.15
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert pair.adapted(s, 1, 2)[0] is not model


def test_the_head_learns_first_and_alone(s: SimpleNamespace):
    """Up to the end of the first stage nothing below the head moves, statistics included."""
    torch.manual_seed(0)
    net = models.build("tiny", 60, weights="pretrained")
    before = {name: t.clone() for name, t in net.state_dict().items()}
    method = Adaptation(net, head_lr=0.03, head_share=0.5)
    (head, rest) = method.stages()
    seen = []

    class Watch(Adaptation):
        def on_step_end(self, step: int) -> None:
            now = self.student.state_dict()
            seen.append({name for name, t in now.items() if not torch.equal(t, before[name])})

    run = engine.fit(
        Watch(net, 0.03, 0.5), pair.few(s, 2, 0), steps=8, lr=1e-4, batch_size=32, schedule="constant"
    )
    assert [stage.name for stage in (head, rest)] == ["head", "all"]
    names = {name for name in before if name.startswith("net.head")}
    assert set().union(*seen[:4]) == names
    assert len(set().union(*seen[4:])) > 10 * len(names)
    rates = {row["stage"]: row["lr"] for row in run.history}
    assert rates == pytest.approx({"head": 0.03, "all": 1e-4})


@pytest.mark.slow
def test_stored_features_train_the_same_head(s: SimpleNamespace):
    """The head stage from the bank equals the one that runs the frozen network in every step."""
    heads = []
    for banked in (True, False):
        torch.manual_seed(0)
        net = models.build("tiny", 60, weights="pretrained")
        module = pair.few(s, 2, 0)
        recipe = {"steps": 6, "batch_size": 32, "lr": 1e-9, "schedule": "constant", "optimizer": "sgd"}
        if banked:
            adapt(net, module, head_lr=0.1, head_share=0.5, **recipe)
        else:
            engine.fit(Adaptation(net, 0.1, 0.5), module, **recipe)
        heads.append(net.head.weight.detach())
    torch.testing.assert_close(*heads, rtol=1e-4, atol=1e-5)


def test_a_network_without_weights_learns_all_at_once(s: SimpleNamespace):
    run = adapt(models.build("tiny", 60), pair.few(s, 1, 0), head_share=0.0, steps=2, batch_size=32)
    assert run.config["method"]["name"] == "scratch"
    assert "banks" not in run.config


@pytest.mark.parametrize("options", [{"head_lr": 0.0}, {"head_share": 1.0}, {"head_share": -0.1}])
def test_options_of_the_adaptation_have_ranges(options: dict):
    with pytest.raises(LabkitError, match="head_lr must be greater than 0 and head_share in"):
        Adaptation(models.build("tiny", 3), **options)


@pytest.mark.slow
def test_the_bank_is_that_of_the_teacher_and_kept_for_what_it_holds(s: SimpleNamespace, teacher):
    model, _ = teacher
    bank = pair.teacher_bank(s, 0, 2, model, ("logits", "maps.3"))
    assert bank.views == 2
    assert bank.folder is None
    assert pair.teacher_bank(s, 0, 2, model, ("logits",)) is bank
    again = engine.FeatureBank(
        model, bank.split, views=2, augment=bank.augment, seed=bank.seed, outputs=("logits",), keep=False
    )
    torch.testing.assert_close(bank.features("logits", 1), again.features("logits", 1), rtol=2e-3, atol=1e-2)
    other, _ = pair.adapted(s, 1, 2)
    assert pair.teacher_bank(s, 0, 2, other, ("logits",)) is not bank, "another teacher of the same labels"


@pytest.mark.slow
def test_all_methods_start_from_the_same_student(s: SimpleNamespace, teacher):
    model, _ = teacher
    names = [name for name in methods.available() if not methods.asks_vlm(name)]
    nets = [pair.create(s, name, 0, 2, guide=model).student for name in names]
    first = nets[0].state_dict()
    for net in nets[1:]:
        assert all(torch.equal(t, first[name]) for name, t in net.state_dict().items())
    assert not torch.equal(pair.create(s, "scratch", 1, 2).student.head.weight, nets[0].head.weight)


@pytest.mark.slow
def test_controls_need_no_teacher_unless_they_distil(s: SimpleNamespace):
    pair.KEPT.clear()
    assert pair.create(s, "label_smoothing", 0, 2).teacher is None
    assert not pair.KEPT["teachers"]
    assert pair.create(s, "scratch", 0, 2, kd_weight=1.0).teacher is pair.adapted(s, 0, 2)[0]


@pytest.mark.slow
def test_train_takes_options_of_method_and_recipe(s: SimpleNamespace, tmp_path):
    model, _ = pair.adapted(s, 0, 2)
    run = pair.train(s, "hinton", 0, 2, guide=model, temperature=2.0, lr=0.02, steps=3, out=tmp_path / "run")
    assert run.config["method"]["temperature"] == 2.0
    assert run.config["recipe"]["lr"] == 0.02
    assert run.config["recipe"]["batch_size"] == 32
    assert len(run.losses) == 3
    assert "banks" in run.config
    again = pair.train(s, "hinton", 0, 2, guide=model, temperature=2.0, lr=0.02, steps=3)
    assert again.losses == run.losses
    live = pair.train(s, "hinton", 0, 2, guide=model, bank=False, epochs=1, student="small")
    assert "banks" not in live.config
    assert (live.config["epochs"], live.config["steps"], live.model.name) == (1, None, "small")


def test_what_follows_the_head_has_the_steps_that_an_epoch_really_has():
    images = SimpleNamespace(train=range(100))  # 64 a step: one step an epoch, the rest is left out
    assert _rest({"epochs": 20, "batch_size": 64}, 0.5, images) == {"batch_size": 64, "steps": 10}
    assert passes({"epochs": 20, "batch_size": 64}, 100, 0.5) == 10
