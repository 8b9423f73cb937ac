"""Lab 12: its references against the package's losses and method, its numbers by hand, its bug."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit import losses
from labkit.course import labs, source, stubs
from labkit.course.labs.lab12 import kd_clip
from labkit.course.labs.lab12_layer import Condensation
from labkit.course.labs.lab12_spread import spread
from labkit.course.labs.lab12_step import vl2lite_step
from labkit.course.labs.lab12_text import linguistic_loss
from labkit.course.labs.lab12_toys import Distiller, Student, state
from labkit.course.labs.lab12_visual import visual_loss
from labkit.course.verdict import judge
from labkit.data import Batch
from labkit.methods import vlm_teacher
from labkit.methods.vl2lite import condensation

LAB = Path(__file__).resolve().parents[2] / "solutions" / "12_asking_clip.py"


def made(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def bug():
    """The loop that the student finds, with its defect."""
    (cell,) = [cell for cell in source.read(LAB).of("exercise") if cell.id == "12-bug"]
    space: dict = {"torch": torch, "F": F}
    exec(stubs.cut(cell, labs.get("12-bug")), space)
    return space["distil"]


def test_the_losses_are_the_packages():
    h, a = torch.randn(5, 6, generator=made()), torch.randn(4, 6, generator=made(1))
    v, t = torch.randn(5, 8, generator=made(2)), torch.randn(4, 8, generator=made(3))
    ours = linguistic_loss(h, a, v, t, 7.0, 2.5)
    torch.testing.assert_close(ours, losses.vl2lite_linguistic(h, a, v, t, 2.5, 7.0))
    condensed = F.normalize(torch.randn(5, 6, generator=made(4)), dim=-1)
    theirs = losses.vl2lite_visual(F.normalize(h, dim=-1), condensed)
    torch.testing.assert_close(visual_loss(h, condensed), theirs)
    torch.testing.assert_close(spread(h), vlm_teacher.spread(h))


def test_the_condensation_is_the_packages_with_unit_length():
    ours, theirs = Condensation(7, 4), condensation(7, 4)
    ours.layers.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 7, generator=made())
    torch.testing.assert_close(ours(x), F.normalize(theirs(x), dim=-1))


def test_kd_from_clip_is_lab_01s_objective_on_zero_shot_logits():
    z, labels = torch.randn(5, 4, generator=made()), torch.tensor([0, 1, 2, 3, 0])
    v = F.normalize(torch.randn(5, 8, generator=made(1)), dim=-1)
    t = F.normalize(torch.randn(4, 8, generator=made(2)), dim=-1)
    wanted = losses.kd_objective(z, 14.0 * v @ t.T, labels, temperature=2.0, hard_weight=0.3)
    torch.testing.assert_close(kd_clip(z, 3 * v, t, labels, 14.0, 2.0, 0.3), wanted)


def test_numbers_of_the_lab_by_hand():
    # sections 1 and 5: cosines 0.8 and 0.6 against a student that is undecided
    v, t = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.8, 0.6, 0], [0.6, 0, 0.8]])
    target = (5 * v @ t.T).softmax(1)
    torch.testing.assert_close(target, torch.tensor([[0.731, 0.269]]), atol=1e-3, rtol=0)
    flat, label = torch.zeros(1, 2), torch.tensor([0])
    assert float(kd_clip(flat, v, t, label, 10.0, 2.0, 0.0)) == pytest.approx(0.444, abs=1e-3)
    assert float(kd_clip(flat, v, t, label, 1.0, 2.0, 0.0)) == pytest.approx(0.005, abs=1e-3)
    weak = (0.5 * v @ t.T).softmax(1)
    torch.testing.assert_close(weak, torch.tensor([[0.525, 0.475]]), atol=1e-3, rtol=0)
    h, a = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.6, -0.8]])
    assert float(linguistic_loss(h, a, v, t, 10.0, 2.0)) == pytest.approx(0.222, abs=1e-3)
    # section 3
    layer = Condensation(2, 2)
    with torch.no_grad():
        layer.layers[0].weight.copy_(torch.eye(2))
        layer.layers[0].bias.zero_()
        layer.layers[2].weight.copy_(torch.tensor([[1.5, 1.0], [2.0, -1.0]]))
        layer.layers[2].bias.zero_()
    torch.testing.assert_close(layer(torch.tensor([[2.0, -1.0]])), torch.tensor([[0.6, 0.8]]))
    rows = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert float(visual_loss(rows, torch.eye(2))) == pytest.approx(0.3)
    # section 4
    assert float(spread(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))) == pytest.approx(0.5)


def test_a_step_moves_the_head_by_the_labels_alone():
    def moved(progress: float) -> torch.Tensor:
        torch.manual_seed(0)
        student, layers = Student(), [Condensation(7, 4), Condensation(7, 4)]
        before = state(student.head)
        optimizer = torch.optim.SGD([w for m in (student, *layers) for w in m.parameters()], lr=0.1)
        rows = torch.arange(5)
        batch = Batch(torch.randn(5, 1, 2, 3), rows % 3, rows, rows, {"features": torch.randn(5, 7)})
        vl2lite_step(student, *layers, optimizer, batch, torch.randn(3, 7), progress, 1 / 8, 6.0, 2.0)
        return (state(student.head) - before).norm()

    assert moved(0.0) == 0
    torch.testing.assert_close(2 * moved(0.4), moved(0.8))


def test_the_cell_as_it_was_gets_its_hint(bug):
    verdict = judge(labs.get("12-bug"), bug)
    assert verdict.misconception == "the loop as it was"
    assert "module.train()" in verdict.hint


def test_the_bug_wakes_clip_up(bug):
    from labkit.course.labs.lab12_bug import distil

    for loop, sleeps in ((bug, False), (distil, True)):
        torch.manual_seed(0)
        module = Distiller()
        before = state(module.clip)
        loop(module, list(torch.randn(2, 8, 6)), 2, 0.1, lambda student: 0.0)
        assert torch.equal(state(module.clip), before) == sleeps


def test_a_mended_loop_passes_however_it_is_mended(bug):
    def parts(module, batches, epochs, lr, validate):
        module.clip.requires_grad_(False)
        optimizer = torch.optim.SGD([*module.student.parameters(), *module.layer.parameters()], lr=lr)
        scores = []
        for _ in range(epochs):
            module.clip.eval()
            module.student.train()
            for images in batches:
                with torch.no_grad():
                    v = module.clip(images)
                loss = F.l1_loss(F.normalize(module.student(images)), F.normalize(module.layer(v)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            module.eval()
            scores.append(validate(module.student))
        return scores

    def stubborn(module, *rest):
        def train(mode=True):
            nn.Module.train(module, mode)
            module.clip.eval()
            return module

        module.train = train
        return bug(module, *rest)

    for mended in (parts, stubborn):
        verdict = judge(labs.get("12-bug"), mended)
        assert verdict.status == "passed", verdict.message
