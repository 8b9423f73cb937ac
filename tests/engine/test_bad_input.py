"""Bad input to `fit`, `evaluate` and `load_run`: one sentence that says what, where and how to mend it."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_toys import classifier, images, scratch, sentence, toy
from torch import nn

from labkit import LabkitError, methods
from labkit.engine import Run, Stage, evaluate, fit, load_run, records

SETTINGS = {"epochs": 2, "batch_size": 8, "device": "cpu"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return fit(scratch(), toy(), out=tmp_path / "run", **SETTINGS)


# Not finite ----------------------------------------------------------------------------------------------


class Bursting(methods.Scratch):
    """Loses its finite loss at one step."""

    def __init__(self, student: nn.Module, step: int, value: float = math.nan) -> None:
        super().__init__(student)
        self.step, self.value, self.calls = step, value, 0

    def losses(self, batch, progress):
        terms = super().losses(batch, progress)
        self.calls += 1
        return {name: v * (self.value if self.calls == self.step else 1.0) for name, v in terms.items()}


@pytest.mark.parametrize(("step", "epoch", "batch"), [(1, 1, 1), (5, 1, 5), (6, 2, 1), (9, 2, 4)])
@pytest.mark.parametrize("every", [1, 32, 3])
def test_loss_that_is_not_finite_names_epoch_and_batch(monkeypatch, step, epoch, batch, every):
    monkeypatch.setitem(records.LOOK_EVERY, "cpu", every)  # as on an accelerator
    method = Bursting(classifier(), step)
    text = sentence(lambda: fit(method, toy(), **SETTINGS))
    assert f"not finite at epoch {epoch}, batch {batch} of 5 (total nan, ce nan)" in text
    assert "lower lr" in text
    assert method.calls <= min(5 * epoch, step + every - 1)


def test_weights_are_still_good_after_a_loss_that_is_not_finite():
    method = Bursting(classifier(), 7, math.inf)
    sentence(lambda: fit(method, toy(), **SETTINGS))
    assert all(p.isfinite().all() for p in method.student.parameters())


def test_batch_number_is_right_after_a_resume(tmp_path):
    class Cut(Bursting):
        def on_step_end(self, step):
            if step == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Cut(classifier(), 100), toy(), out=tmp_path, **SETTINGS)
    method = Bursting(classifier(), 4)
    method.options, method.name = {}, "scratch"
    text = sentence(lambda: fit(method, toy(), out=tmp_path, resume=True, **SETTINGS))
    assert "epoch 2, batch 4 of 5" in text


def test_nan_leaves_the_last_good_checkpoint(tmp_path):
    sentence(lambda: fit(Bursting(classifier(), 7), toy(), out=tmp_path, **SETTINGS))
    assert load_run(tmp_path).history["epoch"] == [1]


# Arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"optimiser": "adam"}, "Unknown option of fit 'optimiser'. Did you mean 'optimizer'?"),
        ({"optimizer": "adamx"}, "Unknown optimizer 'adamx'. Did you mean 'adam'?"),
        ({"schedule": "cos"}, "Unknown schedule 'cos'. Did you mean 'cosine'?"),
        ({"precision": "half"}, "Unknown precision 'half'."),
        ({"precision": "fp16"}, "needs a GPU"),
        ({"batch_size": 0}, "batch_size must be greater than 0, but it is 0."),
        ({"batch_size": 8.5}, "batch_size must be a whole number, but it is 8.5."),
        ({"lr": "1e-3"}, "lr must be a number, but it is '1e-3'."),
        ({"lr": math.nan}, "lr must be greater than 0, but it is nan."),
        ({"clip": 0.0}, "clip must be greater than 0"),
        ({"patience": 0}, "patience must be greater than 0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or greater"),
        ({"warmup": 1.0}, "warmup is the share of steps in [0, 1)"),
        ({"epochs": None}, "either epochs=... or steps=..."),
        ({"steps": 3}, "either epochs=... or steps=..."),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, but it is 0."),
        ({"epochs": None, "steps": 2.5}, "steps must be a whole number of at least 1, but it is 2.5."),
        ({"augment": "crop-flop"}, "Unknown augmentation 'crop-flop'. Did you mean 'crop-flip'?"),
        ({"device": "gpu"}, "Unknown device 'gpu'"),
        ({"resume": True}, "resume=True needs out=..."),
        ({"batch_size": 1, "epochs": True}, "epochs must be a whole number"),
    ],
)
def test_wrong_options(options: dict, part: str):
    assert part in sentence(lambda: fit(scratch(), toy(), **{**SETTINGS, **options}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_that_is_not_there():
    assert "device='cuda'" in sentence(lambda: fit(scratch(), toy(), **{**SETTINGS, "device": "cuda"}))


def test_a_classifier_is_no_method():
    text = sentence(lambda: fit(classifier(), toy(), **SETTINGS))
    assert text.startswith("fit trains a method, but got Classifier")
    assert "methods.create('scratch', student=network)" in text


def test_empty_training_split():
    text = sentence(lambda: fit(scratch(), replace(toy(), train=images(0, 1)), **SETTINGS))
    assert "training split of 'toy' is empty" in text


def test_class_counts_that_differ():
    from labkit.models import build

    other = build("digit_cnn", 10, widths=(2, 4), hidden=8)
    text = sentence(lambda: fit(scratch(other), toy(), **SETTINGS))
    assert "has 10 classes and 'toy' 3: build it with num_classes=3" in text
    assert "10 classes and the data 3" in sentence(lambda: evaluate(other, toy().val))


def test_evaluating_an_empty_split():
    assert "split to evaluate is empty" in sentence(lambda: evaluate(classifier(), images(0, 1)))


LOSSES = {
    "no total": (
        lambda z: {"ce": z.sum()},
        "must return a dict with a 'total', but returned a dict with ['ce']",
    ),
    "no dict": (lambda z: z.sum(), "must return a dict with a 'total', but returned Tensor"),
    "nothing": (lambda z: None, "but returned NoneType"),
    "per image": (lambda z: {"total": z.sum(1)}, "'total' is (8,): take its mean"),
    "number": (lambda z: {"total": z.sum(), "weight": 0.5}, "'weight' is float"),
    "detached": (lambda z: {"total": z.detach().sum()}, "depends on nothing that is trained"),
}


@pytest.mark.parametrize("case", LOSSES)
def test_losses_that_cannot_be_minimised(case: str):
    compute, part = LOSSES[case]

    class Wrong(methods.Scratch):
        def losses(self, batch, progress):
            return compute(self.student(batch.image).logits)

    assert part in sentence(lambda: fit(Wrong(classifier()), toy(), **SETTINGS))


def test_stage_without_anything_to_train():
    class Freezing(methods.Scratch):
        def stages(self):
            return [Stage("nothing", self.student.requires_grad_(False))]

    frozen = scratch(classifier().requires_grad_(False))
    for name, method in {"scratch": frozen, "nothing": Freezing(classifier())}.items():
        text = sentence(lambda method=method: fit(method, toy(), **SETTINGS))
        assert f"Stage '{name}' has nothing to train" in text


def test_after_an_error_nothing_of_the_loop_is_left_behind():
    method = Bursting(classifier(), 3)
    sentence(lambda: fit(method, toy(), **SETTINGS))
    assert all(p.requires_grad for p in method.parameters())
    assert not any("forward" in vars(m) for m in method.modules())
    assert not method.student._forward_hooks


def test_fit_in_another_thread_needs_no_signals():
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(scratch(), toy(), **SETTINGS)))
    thread.start()
    thread.join()
    assert found[0].losses == fit(scratch(), toy(), **SETTINGS).losses


def test_a_loss_that_cant_take_the_batch_is_one_sentence():
    method = methods.create("rkd", student=classifier(), teacher=classifier(1).eval())
    with pytest.raises(LabkitError, match="The method 'rkd' can't train on batches of 1: student_emb and"):
        fit(method, toy(), steps=1, batch_size=1, progress=False)
