"""Lab 04: its references against the package's losses, and what the student finds in the bug cell."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit import losses
from labkit.course import labs, source, stubs
from labkit.course.labs.lab04 import connector
from labkit.course.labs.lab04_attention import attention_map
from labkit.course.labs.lab04_bug import Hint, _flat, _Net, phase_one
from labkit.course.labs.lab04_hcl import hcl
from labkit.course.labs.lab04_hint import hint_loss
from labkit.course.verdict import judge

LAB = Path(__file__).resolve().parents[2] / "solutions" / "04_feature_distillation.py"


@pytest.fixture
def bug():
    """The function that the student finds, with its defect."""
    (cell,) = [cell for cell in source.read(LAB).of("exercise") if cell.id == "04-bug"]
    space: dict = {"torch": torch}
    exec(stubs.cut(cell, labs.get("04-bug")), space)
    return space["phase_one"]


def maps(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 6, 8, 16])
def test_hcl_is_the_packages(side: int):
    s, t = maps(3, 4, side, side)
    torch.testing.assert_close(hcl(s, t), losses.hcl([s], [t]))


def test_hint_loss_is_the_packages():
    s, t = maps(3, 4, 5, 5)
    torch.testing.assert_close(hint_loss(s, t), losses.hint_mse(s, t))


@pytest.mark.parametrize("p", [1, 2, 4])
def test_attention_maps_give_the_packages_loss(p: int):
    s, t = maps(3, 4, 6, 6)[0], maps(3, 7, 12, 12)[1]  # the teacher's is larger, and has other channels
    ours = F.mse_loss(attention_map(s, 6, p), attention_map(t, 6, p))
    torch.testing.assert_close(ours, losses.attention_transfer([s], [t], p=p))


def test_numbers_of_the_lab_by_hand():
    features = torch.tensor([[[3.0, 0, 1]], [[1, 2, 1]]])[None]  # (1, 2, 1, 3)
    got = attention_map(features, 3)
    torch.testing.assert_close(got, torch.tensor([[0.9129, 0.3651, 0.1826]]), atol=1e-4, rtol=0)
    assert (
        2 * losses.hint_mse(torch.zeros(2, 1, 1, 3), torch.tensor([1.0, 0, 2]).expand(2, 1, 1, 3)) == 10 / 3
    )
    zero = torch.zeros(1, 1, 2, 2)
    pattern, shift = torch.tensor([[1.0, -1], [1, -1]])[None, None], torch.ones(1, 1, 2, 2)
    assert float(hcl(pattern, zero)) == pytest.approx(2 / 3)
    assert float(hcl(shift, zero)) == pytest.approx(1.0)
    made = connector(2, 1)
    torch.nn.init.ones_(made[0].weight)
    got = made(torch.tensor([[[[1.0, 2, 0]], [[0, 1, 3]]]])).flatten()
    torch.testing.assert_close(got, torch.tensor([-1.414, 0.707, 0.707]), atol=1e-3, rtol=0)


class NormFirst(nn.Module):
    """A connector whose norm is made before its convolution, which keeps its harmless bias."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(after), nn.Conv2d(before, after, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


@pytest.mark.parametrize(
    "made",
    [NormFirst, lambda s, t: nn.Sequential(nn.Conv2d(s, t, 1), nn.BatchNorm2d(t))],
    ids=["a module of its own", "a bias before the norm"],
)
def test_connectors_that_do_the_same_pass(made):
    verdict = judge(labs.get("04-connector"), made)
    assert verdict.status == "passed", verdict.message


def test_parts_without_a_module_around_them_are_named():
    verdict = judge(labs.get("04-connector"), lambda s, t: [nn.Conv2d(s, t, 1), nn.BatchNorm2d(t)])
    assert verdict.status == "failed"
    assert "a list, not a module: put the parts into one nn.Sequential" in verdict.message


def test_the_cell_as_it_was_gets_its_hint(bug):
    verdict = judge(labs.get("04-bug"), bug)
    assert verdict.misconception == "the phase as it was"
    assert "optimiser" in verdict.hint


def test_a_mended_phase_passes_however_it_is_mended():
    def only_the_lower_part(student, teacher, hint, pairs, layer, lr):
        lower = [*student.convs[: layer + 1].parameters(), *hint.parameters()]
        optimizer = torch.optim.SGD(lower, lr=lr)
        found = []
        for images, _ in pairs:
            loss = hint(student(images).maps[layer], teacher(images).maps[layer].detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    def two_groups(student, teacher, hint, pairs, layer, lr):
        groups = [{"params": student.parameters()}, {"params": hint.connector.parameters()}]
        optimizer = torch.optim.SGD(groups, lr=lr)
        found = []
        for images, _ in pairs:
            optimizer.zero_grad()
            loss = hint(student(images).maps[layer], teacher(images).maps[layer])
            loss.backward()
            optimizer.step()
            found.append(loss.detach())
        return found

    for mended in (only_the_lower_part, two_groups):
        verdict = judge(labs.get("04-bug"), mended)
        assert verdict.status == "passed", verdict.message


def test_the_bug_leaves_the_connector_where_it_was(bug):
    torch.manual_seed(0)
    pairs = list(zip(torch.randn(5, 3, 2, 4, 4), torch.randint(3, (5, 3)), strict=True))
    for phase, moves in ((bug, False), (phase_one, True)):
        student, teacher, hint = _Net(3), _Net(5).requires_grad_(False), Hint(3, 5)
        before = _flat(hint.parameters()), _flat(student.head.parameters())
        phase(student, teacher, hint, pairs, 1, 0.1)
        assert torch.equal(_flat(hint.parameters()), before[0]) != moves
        assert torch.equal(_flat(student.head.parameters()), before[1])  # no hint reaches the head
