"""Lab 14: its references against the package, its worked numbers, its bug cell as the student finds it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from labkit import losses
from labkit.course import labs, source, stubs
from labkit.course.labs.lab14 import neighbours
from labkit.course.labs.lab14_bug import train_student
from labkit.course.labs.lab14_calibrate import calibrate
from labkit.course.labs.lab14_js import js_divergence
from labkit.course.labs.lab14_objective import pand_loss
from labkit.course.labs.lab14_relation import neighbourhood_loss
from labkit.course.verdict import judge
from labkit.methods.coop import coop_rate, train_prompts
from labkit.models import Output

LAB = Path(__file__).resolve().parents[2] / "solutions" / "14_pand.py"


@pytest.fixture
def bug():
    """The function that the student finds, with its defect."""
    (cell,) = [cell for cell in source.read(LAB).of("exercise") if cell.id == "14-bug"]
    space: dict = {"torch": torch, "F": F}
    exec(stubs.cut(cell, labs.get("14-bug")), space)
    return space["train_student"]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_neighbourhood_loss_is_the_packages(k: int):
    s, t = 3 * draw(8, 5), 3 * draw(8, 5, seed=1)
    torch.testing.assert_close(neighbourhood_loss(s, t, k), losses.neighborhood_relation(s, t, k))


def test_calibration_is_the_packages():
    class Learner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.context = torch.nn.Parameter(draw(4, 6, seed=5))

        def forward(self):
            return F.normalize(self.context, dim=1)

    from labkit.methods.calibration import clipped_step
    from labkit.rng import permutation

    features, labels = F.normalize(draw(24, 6), dim=1), torch.arange(24) % 4
    val = F.normalize(draw(30, 6, seed=2), dim=1), torch.arange(30) % 4

    def batches(epoch: int):
        return [(features[i], labels[i]) for i in permutation(24, 0, epoch).split(8)]

    theirs = Learner()
    recipe = {"batch_size": 8, "weight_decay": 0.0, "warmup": 0, "step": clipped_step, "progress": False}
    train_prompts(theirs, features, labels, scale=5.0, epochs=4, lr=0.5, validation=val, **recipe)
    torch.testing.assert_close(calibrate(Learner(), batches, val, 4, 0.5, 5.0), theirs().detach())


def test_numbers_of_the_lab_by_hand():
    rates = [round(coop_rate(e, 4, 0.002, warmup=0), 4) for e in range(4)]
    assert rates == [0.002, 0.0017, 0.001, 0.0003]
    z = torch.tensor([[3.0, 4, 0], [0, 2, 0], [4, 3, 0]])
    assert neighbours(z, 1).flatten().tolist() == [2, 0, 0]
    sure, even = torch.tensor([40.0, -40.0]), torch.zeros(2)
    assert js_divergence(sure, even).item() == pytest.approx(0.216, abs=5e-4)
    assert js_divergence(sure, -sure).item() == pytest.approx(math.log(2), abs=1e-5)
    teacher = torch.tensor([[2.0, 0, 1], [1, 1, 1]])
    student = torch.tensor([[0.0, 0, 1], [0, 1, 0]])
    first = (teacher[0] - teacher[1]).softmax(0)
    torch.testing.assert_close(first, torch.tensor([0.665, 0.090, 0.245]), atol=1e-3, rtol=0)
    assert js_divergence(student[0] - student[1], teacher[0] - teacher[1]).item() == pytest.approx(
        0.10, abs=5e-3
    )
    moved = student + torch.tensor([5.0, 5, 7])
    torch.testing.assert_close(neighbourhood_loss(moved, teacher, 1), neighbourhood_loss(student, teacher, 1))


def test_js_is_finite_where_probabilities_are_not():
    a, b = torch.tensor([[900.0, -900.0, 0.0]]), torch.tensor([[-900.0, 900.0, 0.0]])
    a.requires_grad_()
    value = js_divergence(a, b)
    value.sum().backward()
    assert value.item() == pytest.approx(math.log(2))
    assert a.grad.isfinite().all()


def test_the_objective_is_the_methods(monkeypatch):
    """One batch through PAND, and through the lab's formula with the same layers."""
    from labkit.data import Batch
    from labkit.methods import PAND

    class Teacher(torch.nn.Module):
        embed_dim, name, logit_scale = 6, "toy", 10.0

        def encode_image(self, images):
            return F.normalize(images.flatten(1)[:, :6], dim=1)

        def encode_text(self, texts):
            raise AssertionError("the anchors are given")

    class Student(torch.nn.Module):
        num_classes, embedding_dim = 4, 5

        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(12, 5), torch.nn.Linear(5, 4)

        def forward(self, x):
            h = self.body(x.flatten(1))
            return Output(self.head(h), h, (None,) * 4, None)

    torch.manual_seed(0)
    t = F.normalize(draw(4, 6, seed=3), dim=1)
    method = PAND(Student(), Teacher(), anchors=t, k=2, weight=0.7, temperature=0.5)
    images = draw(8, 3, 2, 2, seed=4).sigmoid()
    batch = Batch(images, torch.arange(8) % 4, torch.arange(8), torch.zeros(8, dtype=torch.long), {})
    wanted = method.losses(batch, 0.8)["total"]
    v = method.ask_teacher(batch).embedding
    condensed = method.image_layer(v), method.text_layer(t)
    ours = pand_loss(method.student(images), batch.label, v, t, *condensed, 0.1, 2, 0.7, 0.5)
    torch.testing.assert_close(ours, wanted)


def test_the_cell_as_it_was_gets_its_hint(bug):
    verdict = judge(labs.get("14-bug"), bug)
    assert verdict.misconception == "the training as it was"
    assert "T_max" in verdict.hint


def test_the_rate_rises_again_in_the_cell_as_it_was(bug):
    pairs = [(draw(4, 3), torch.arange(4))]
    for train, rises in ((bug, True), (train_student, False)):
        rates = train(torch.nn.Linear(3, 4), pairs, 130, 0.1, 0.001)
        assert any(b > a for a, b in itertools.pairwise(rates)) == rises


def test_a_mended_training_passes_however_it_is_mended():
    def by_hand(student, pairs, epochs, lr, floor):
        optimizer = torch.optim.AdamW(student.parameters(), lr=lr)
        rates = []
        for epoch in range(epochs):
            rate = floor + (lr - floor) * (1 + math.cos(math.pi * epoch / epochs)) / 2
            optimizer.param_groups[0]["lr"] = rate
            rates.append(rate)
            for features, labels in pairs:
                optimizer.zero_grad()
                F.cross_entropy(student(features), labels).backward()
                optimizer.step()
        return rates

    verdict = judge(labs.get("14-bug"), by_hand)
    assert verdict.status == "passed", verdict.message


@pytest.mark.parametrize("last_first", [False, True])
def test_any_order_of_equally_near_rows_is_right(last_first):
    def by_sorting(z, k):
        cosines = (F.normalize(z, dim=1) @ F.normalize(z, dim=1).T).fill_diagonal_(-torch.inf)
        if last_first:
            return len(z) - 1 - cosines.flip(1).argsort(dim=1, descending=True, stable=True)[:, :k]
        return cosines.argsort(dim=1, descending=True, stable=True)[:, :k]

    verdict = judge(labs.get("14-neighbours"), by_sorting)
    assert verdict.status == "passed", verdict.message
