"""`fit`: repeatable, keeps the best weights, trains what it should and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from engine_toys import Noisy, classifier, digest, images, net, scratch, toy, train
from torch import nn

from labkit import data, methods
from labkit.engine import evaluate, load_run

# The same again ------------------------------------------------------------------------------------------


def test_same_seed_same_run_bit_by_bit():
    first, second = train(Noisy(classifier())), train(Noisy(classifier()))
    assert digest(first.model) == digest(second.model)
    assert first.losses == second.losses
    assert first.history == second.history


def test_another_seed_is_another_run():
    first, second = train(seed=0), train(seed=1)
    assert first.losses != second.losses
    assert digest(first.model) != digest(second.model)


def test_what_was_drawn_before_does_not_matter():
    first = train(Noisy(classifier()))
    method = Noisy(classifier())
    torch.rand(100)
    assert train(method).losses == first.losses


def test_network_that_was_evaluated_before_trains_alike():
    student = classifier()
    evaluate(student.eval(), toy().val)
    assert train(scratch(student)).losses == train(scratch()).losses


# By hand -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_equals_a_loop_written_by_hand(optimizer: str, clip: float | None):
    module = replace(toy(), val=images(0, 2))
    kw = {"optimizer": optimizer, "clip": clip, "lr": 0.05, "weight_decay": 0.1}
    run = train(scratch(net(dropout=0.0)), module, epochs=3, augment=None, schedule="linear", **kw)

    student = net(dropout=0.0)
    if optimizer == "sgd":
        made = torch.optim.SGD(student.parameters(), 0.05, momentum=0.9, weight_decay=0.1, nesterov=True)
    else:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
        made = kind(student.parameters(), 0.05, weight_decay=0.1)
    losses = []
    for epoch in range(3):
        for batch in data.batches(module.train, 8, seed=0, epoch=epoch, shuffle=True):
            made.param_groups[0]["lr"] = 0.05 * (1 - len(losses) / 15)
            loss = F.cross_entropy(student(batch.image).logits, batch.label)
            made.zero_grad()
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(student.parameters(), clip)
            made.step()
            losses.append(loss.item())
    assert run.losses == pytest.approx(losses, rel=1e-5)
    for ours, by_hand in zip(run.model.parameters(), student.parameters(), strict=True):
        assert torch.allclose(ours, by_hand, atol=1e-5)


def test_clip_ignores_gradients_of_what_is_not_trained():
    def run(stale: float) -> list[float]:
        method = methods.create("hinton", student=classifier(), teacher=classifier(1))
        for parameter in method.teacher.parameters():
            parameter.grad = torch.full_like(parameter, stale)
        return train(method, clip=0.1).losses

    assert run(0.0) == run(1e6)


# Best, early stop, length --------------------------------------------------------------------------------


def test_best_weights_by_validation_come_back(tmp_path):
    module = toy()
    run = train(module=module, epochs=8, lr=0.3, optimizer="sgd", schedule="constant", out=tmp_path)
    found = run.history["val_accuracy"]
    assert found[-1] < max(found), "the last epoch must not be the best, else this shows nothing"
    assert run.accuracy == max(found) == evaluate(run.model, module.val).accuracy
    assert load_run(tmp_path).accuracy == run.accuracy
    assert digest(load_run(tmp_path).model) == digest(run.model)


def test_patience_stops_after_so_many_validations_without_gain():
    run = train(scratch(net()), epochs=50, lr=1e-9, patience=3, validate_every=1)
    assert len(run.history) == 4
    assert run.accuracy == run.history["val_accuracy"][0]


def test_patience_counts_validations_and_not_epochs():
    run = train(scratch(net()), epochs=50, lr=1e-9, patience=2, validate_every=3)
    assert len(run.history) == 9
    assert [i + 1 for i, value in enumerate(run.history["val_accuracy"]) if value is not None] == [3, 6, 9]


def test_at_most_thirty_validations_and_always_the_last():
    run = train(module=toy(n=8, val=3), epochs=65)
    known = [i + 1 for i, value in enumerate(run.history["val_accuracy"]) if value is not None]
    assert known == [*range(3, 65, 3), 65]


def test_steps_and_epochs_are_two_ways_to_say_one_length():
    assert train(epochs=3).losses == train(epochs=None, steps=15).losses
    run = train(epochs=None, steps=7)
    assert len(run.losses) == 7
    assert run.history["epoch"] == [1, 2]
    assert run.history["step"] == [5, 7]


def test_without_a_validation_split_the_last_weights_are_the_result(tmp_path):
    for index, val in enumerate((images(0, 2), None)):
        run = train(module=replace(toy(), val=val), out=tmp_path / str(index))
        assert math.isnan(run.accuracy)
        assert "val_accuracy" not in run.history.columns
        loaded = load_run(tmp_path / str(index))
        assert digest(loaded.model) == digest(run.model)
        assert math.isnan(loaded.accuracy)


def test_a_set_smaller_than_the_batch_is_one_batch():
    run = train(module=toy(n=5), epochs=3, batch_size=64)
    assert len(run.losses) == 3


# What moves and what does not ----------------------------------------------------------------------------


def test_teacher_stays_in_eval_and_untouched():
    teacher = classifier(1).train()
    before = digest(teacher)
    seen = []

    class Watching(methods.Hinton):
        def losses(self, batch, progress):
            seen.append((self.teacher.training, self.student.training))
            return super().losses(batch, progress)

    method = Watching(classifier(), teacher)
    assert not teacher.training
    run = train(method)
    assert digest(teacher) == before
    assert set(seen) == {(False, True)}, "also after the validation of the first epoch"
    assert all(p.grad is None for p in teacher.parameters())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in run.model.parameters())


def test_teacher_that_a_parent_puts_in_train_mode_goes_back_to_eval():
    method = methods.create("hinton", student=classifier(), teacher=classifier(1))
    method.train()
    assert method.student.training
    assert not any(m.training for m in method.teacher.modules())


def test_result_is_left_in_eval_mode_and_works_without_the_method():
    method = methods.create("hinton", student=classifier(), teacher=classifier(1))
    run = train(method)
    assert not any(m.training for m in method.modules())
    assert not any("teacher" in key for key in run.model.state_dict())
    x = torch.rand(2, 1, 6, 6)
    before = run.model(x).logits
    del method
    assert torch.equal(run.model(x).logits, before)


def test_progress_runs_from_zero_to_one_of_the_stage_and_steps_are_counted():
    seen, ends = [], []

    class Watching(methods.Scratch):
        def losses(self, batch, progress):
            seen.append(progress)
            return super().losses(batch, progress)

        def on_step_end(self, step):
            ends.append(step)

    train(Watching(classifier()))
    assert seen == [i / 10 for i in range(10)]
    assert ends == list(range(10))


def test_param_groups_have_their_own_rate_under_the_schedule():
    class Grouped(methods.Scratch):
        def param_groups(self):
            return [
                {"params": list(self.student.net.features.parameters()), "lr": 0.0},
                {"params": list(self.student.head.parameters())},
            ]

    student = classifier()
    before = {name: p.detach().clone() for name, p in student.named_parameters()}
    train(Grouped(student))
    moved = {name for name, p in student.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"net.head.weight", "net.head.bias"}


def test_every_batch_is_new_and_in_the_loaders_order():
    seen = []

    class Watching(methods.Scratch):
        def losses(self, batch, progress):
            seen.append((batch.index.tolist(), batch.view.unique().tolist(), batch.image))
            return super().losses(batch, progress)

    module = toy()
    train(Watching(classifier()), module)
    for epoch in range(2):
        wanted = data.batches(module.train, 8, epoch=epoch, shuffle=True, augment=module.augment)
        for got, batch in zip(seen[5 * epoch :], wanted, strict=False):
            assert got[0] == batch.index.tolist()
            assert got[1] == [epoch]
            assert torch.equal(got[2], batch.image)


def test_augment_by_name_by_object_and_none():
    by_name, by_object, none = (
        train(augment=a).losses for a in ("crop-flip", data.Augment.named("crop-flip"), None)
    )
    assert by_name == by_object != none


# Precision -----------------------------------------------------------------------------------------------


def test_bf16_on_the_cpu_and_back():
    seen = []

    class Watching(methods.Scratch):
        def losses(self, batch, progress):
            logits = self.student(batch.image).logits
            seen.append(logits.dtype)
            return {"total": F.cross_entropy(logits, batch.label)}

    half = train(Watching(classifier()), precision="bf16")
    assert set(seen) == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in half.model.parameters())
    single = train(precision="fp32")
    assert half.losses == pytest.approx(single.losses, rel=0.05)
    assert half.losses != single.losses
    assert train().losses == single.losses, "'auto' is fp32 on a CPU, also after a run in bf16"


def test_float64_networks_get_float64_images():
    run = train(scratch(net().double()))
    assert next(run.model.parameters()).dtype == torch.float64
