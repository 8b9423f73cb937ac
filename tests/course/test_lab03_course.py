"""Lab 03: the bug as students find it is recognised, and right answers pass however they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from labkit.course import labs, source, stubs
from labkit.course.labs.lab03_mistakes import family_mistakes
from labkit.course.labs.lab03_toys import Toy
from labkit.course.verdict import judge
from labkit.engine import mistakes

LAB = Path(__file__).resolve().parents[2] / "solutions" / "03_classifier.py"


@pytest.fixture
def bug():
    """The function that the student finds, with its defect."""
    (cell,) = [cell for cell in source.read(LAB).of("exercise") if cell.id == "03-bug"]
    space: dict = {}
    exec(stubs.cut(cell, labs.get("03-bug")), space)
    return space["distil_from"]


def test_the_bug_as_it_was_gets_its_hint(bug):
    assert judge(labs.get("03-bug"), bug).misconception == "the function as it was"


def test_a_mended_bug_passes_however_it_is_mended():
    def other_order(teacher, student, num_classes, train, distill):
        teacher = teacher.reset_head(num_classes)
        train(teacher)
        for parameter in teacher.eval().parameters():
            parameter.requires_grad = False
        distill(student, teacher)
        return student

    assert judge(labs.get("03-bug"), other_order).status == "passed"


def test_a_teacher_may_be_frozen_parameter_by_parameter():
    def freeze(network):
        for parameter in network.parameters():
            parameter.requires_grad = False
        return network.eval()

    assert judge(labs.get("03-freeze-teacher"), freeze).status == "passed"


def test_a_shuffling_without_a_loop_passes():
    def shuffle(logits):
        keys = torch.rand_like(logits).scatter(1, logits.argmax(1, keepdim=True), -1.0)
        places = torch.ones_like(logits).scatter(1, logits.argmax(1, keepdim=True), 0.0).bool()
        others = logits.gather(1, keys.argsort(1)[:, 1:])
        return logits.clone().masked_scatter(places, others)

    assert judge(labs.get("03-shuffle-others"), shuffle).status == "passed"


def test_a_living_state_dict_is_the_last_epochs():
    def train(student, epochs, step, measure):
        curves, best, kept = {"train": [], "val": [], "test": []}, -1.0, None
        for epoch in epochs:
            pairs = [(step(batch)[1], len(batch.label)) for batch in epoch]
            curves["train"].append(sum(h for h, _ in pairs) / sum(n for _, n in pairs))
            curves["val"].append(measure(student, "val"))
            curves["test"].append(measure(student, "test"))
            if curves["val"][-1] > best:
                best, kept = curves["val"][-1], student.state_dict()
        student.load_state_dict(kept)
        return curves

    assert judge(labs.get("03-train-loop"), train).misconception == "the last epoch's weights"


def test_the_courses_scores_are_those_of_the_engine():
    torch.manual_seed(0)
    logits, labels, families = torch.randn(40, 6), torch.randint(6, (40,)), torch.tensor([0, 0, 1, 1, 2, 2])
    found = mistakes(logits, labels, families)
    assert family_mistakes(logits, labels, families) == pytest.approx((found.inside, found.mass), abs=1e-6)


def test_the_toy_loses_its_head():
    toy = Toy(classes=7).reset_head(3)
    assert toy(torch.rand(5, 1, 3, 4)).logits.shape == (5, 3)


def test_a_frozen_copy_is_not_taken_for_none():
    """What a student gets who returns something else: the words must fit it."""
    found = judge(
        labs.get("03-freeze-teacher"), lambda network: network.eval().requires_grad_(False).state_dict()
    )
    assert "OrderedDict" in found.message
    assert found.misconception == ""


def _shuffled_by_place(logits):
    shuffled = logits.clone()
    for row in shuffled:
        others = torch.tensor([i for i in range(len(row)) if i != row.argmax()])
        row[others] = row[torch.randperm(len(others))]
    return shuffled


def _largest_put_back(logits):
    shuffled = logits.clone()
    for i, row in enumerate(logits):
        shuffled[i] = row[torch.randperm(len(row))]
        shuffled[i, row.argmax()] = row.max()
    return shuffled


def _rebound(logits):
    shuffled = logits.clone()
    for row in shuffled:
        row = row[torch.randperm(len(row))]
    return shuffled


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shuffle", "mistake"),
    [
        (_shuffled_by_place, "values lost and doubled"),
        (_largest_put_back, "values lost and doubled"),
        (_rebound, "nothing shuffled"),
        (torch.Tensor.clone, "nothing shuffled"),
        (lambda z: z[:, torch.randperm(z.shape[1])], "whole columns shuffled"),
        (
            lambda z: torch.stack([row[torch.randperm(len(row))] for row in z]),
            "the largest logit shuffled as well",
        ),
        (lambda z: z.scatter(1, z.argsort(1)[:, :-1], torch.randn(len(z), z.shape[1] - 1)), "new values"),
    ],
)
def test_a_shuffling_is_recognised_whatever_order_it_drew(shuffle, mistake):
    assert judge(labs.get("03-shuffle-others"), shuffle).misconception == mistake
