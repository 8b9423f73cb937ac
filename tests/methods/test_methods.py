"""The registry of methods, their contract, and their losses against formulas written here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from vlm_toys import PROMPTS, ToyVLM

from labkit import LabkitError, methods, models
from labkit.data import Batch
from labkit.methods import Method, available, create


def classifier(seed: int = 0, classes: int = 3) -> models.Classifier:
    torch.manual_seed(seed)
    return models.build("digit_cnn", classes, widths=(2, 4), hidden=8)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 1, 6, 6, generator=generator)
    index = torch.arange(5)
    return Batch(images, torch.tensor([0, 2, 1, 1, 0]), index, torch.zeros_like(index), {})


# Methods whose teacher is a vision-language model, and what else they can't do without; all others take a
# classifier and no option.
ASKS_VLM = {name: {"prompts": PROMPTS} for name in ("kd_clip", "takd_clip", "vl2lite", "pand", "dait")}
ASKS_VLM["rkd_clip"] = {}


def fitting(name: str) -> tuple[nn.Module, dict]:
    """A teacher of the kind that the method asks for, and its necessary options."""
    options = dict(ASKS_VLM.get(name, {}))
    if name == "dait":
        options["intermediate"] = classifier(2).eval()
    return (ToyVLM() if name in ASKS_VLM else classifier(1)), options


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Against probabilities (B, N)."""
    return -(target * logits.log_softmax(1)).sum(1).mean()


def test_every_method_says_which_kind_of_teacher_it_takes():
    assert {name for name in available() if methods.asks_vlm(name)} == set(ASKS_VLM)
    with pytest.raises(LabkitError, match=r"Did you mean 'dait'\?"):
        methods.asks_vlm("dati")


def test_the_registry_names_every_method():
    assert {"scratch", "label_smoothing", "hinton"} <= set(available())
    assert available() == sorted(available())


@pytest.mark.parametrize("name", available())
def test_contract_that_every_method_keeps(name: str, batch: Batch):
    (teacher, options), student = fitting(name), classifier()
    method = create(name, student=student, teacher=teacher, **options)
    assert method.name == name
    assert method.deployed() is student
    assert not any("teacher" in key for key in method.deployed().state_dict())
    for stage in method.stages():
        assert {*stage.module.parameters()} <= {*method.parameters()}
    method.train()
    assert method.teacher is None or not teacher.training
    terms = method.losses(batch, 0.0)
    assert all(isinstance(value, Tensor) and value.ndim == 0 and value.isfinite() for value in terms.values())
    terms["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_scratch_is_cross_entropy_and_ignores_a_teacher(batch: Batch):
    method = create("scratch", student=classifier(), teacher=classifier(1))
    logits = method.student(batch.image).logits
    terms = method.losses(batch, 0.0)
    assert torch.allclose(terms["total"], cross_entropy(logits, torch.eye(3)[batch.label]))
    assert method.teacher is None
    assert len(list(method.parameters())) == len(list(method.student.parameters()))


def test_label_smoothing_spreads_its_share_evenly(batch: Batch):
    method = create("label_smoothing", student=classifier(), smoothing=0.2)
    target = 0.8 * torch.eye(3)[batch.label] + 0.2 / 3
    wanted = cross_entropy(method.student(batch.image).logits, target)
    assert torch.allclose(method.losses(batch, 0.0)["total"], wanted)


def test_hinton_by_the_formula(batch: Batch):
    method = create("hinton", student=classifier(), teacher=classifier(1), temperature=2.0, hard_weight=0.3)
    method.train()
    student = method.student(batch.image).logits
    teacher = method.teacher(batch.image).logits
    soft = (teacher / 2).softmax(1)
    kd = 4 * (soft * (soft.log() - (student / 2).log_softmax(1))).sum(1).mean()
    ce = cross_entropy(student, torch.eye(3)[batch.label])
    terms = method.losses(batch, 0.0)
    assert torch.allclose(terms["kd"], kd, atol=1e-6)
    assert torch.allclose(terms["ce"], ce)
    assert torch.allclose(terms["total"], 0.3 * ce + 0.7 * kd)
    assert not terms["kd"].isclose(torch.tensor(0.0))


def test_teacher_is_frozen_and_asked_without_gradient(batch: Batch):
    teacher = classifier(1).train()
    method = create("hinton", student=classifier(), teacher=teacher)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not method.ask_teacher(batch).logits.requires_grad
    statistics = {k: v.clone() for k, v in teacher.state_dict().items()}
    method.train().ask_teacher(batch)
    assert all(torch.equal(statistics[k], v) for k, v in teacher.state_dict().items())


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: create("hintom", student=classifier()), "Unknown method 'hintom'. Did you mean 'hinton'?"),
        (
            lambda: create("hinton", student=classifier(), teacher=classifier(), temprature=2),
            "Unknown option of the method 'hinton' 'temprature'. Did you mean 'temperature'?",
        ),
        (lambda: create("hinton", student=classifier()), "The method 'hinton' needs a trained teacher"),
        (
            lambda: create("hinton", student=classifier(), teacher=classifier(classes=4)),
            "have 3 and 4: build both with the same num_classes",
        ),
        (lambda: create("scratch", student="resnet18"), "The student must be a network, not 'resnet18'"),
        (
            lambda: create("hinton", student=classifier(), teacher=classifier(), temperature=0),
            "temperature must be greater than 0 and hard_weight in [0, 1], but they are 0 and 0.5",
        ),
        (
            lambda: create("hinton", student=classifier(), teacher=classifier(), hard_weight=1.5),
            "but they are 4.0 and 1.5",
        ),
        (
            lambda: create("label_smoothing", student=classifier(), smoothing=1.0),
            "smoothing must be in [0, 1), but it is 1.0",
        ),
    ],
)
def test_bad_input_is_named(call, part: str):
    with pytest.raises(LabkitError) as caught:
        call()
    assert part in str(caught.value)


def test_a_new_method_is_one_class(batch: Batch):
    @methods.register
    class Half(Method):
        name = "half"

        def __init__(self, student, teacher=None, share: float = 0.5) -> None:
            super().__init__(student, share=share)
            self.share = share

        def losses(self, batch, progress):
            return {"total": self.share * self.student(batch.image).logits.square().mean()}

    try:
        made = create("half", student=classifier(), share=0.25)
        assert made.options == {"share": 0.25}
        assert made.losses(batch, 0.0)["total"] > 0
    finally:
        methods.base._METHODS.pop("half")
