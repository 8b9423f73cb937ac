"""Lab 13: its references against the package's losses and method, the listing, and what students type."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit import losses
from labkit.course import labs, source, stubs
from labkit.course.labs.lab13 import labels_share
from labkit.course.labs.lab13_ira import ira
from labkit.course.labs.lab13_review import DEFECTS, LINES
from labkit.course.labs.lab13_sia import sia
from labkit.course.labs.lab13_sra import sra
from labkit.course.labs.lab13_stage_one import stage_one_loss
from labkit.course.verdict import judge
from labkit.methods.dait_parts import Condensation
from labkit.methods.vlm_teacher import Balance
from labkit.models import Output

LAB = Path(__file__).resolve().parents[2] / "solutions" / "13_dait.py"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def lab():
    return source.read(LAB)


# The references -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "b"), [(0.5, 0.0), (1.0, 0.0), (0.0, 0.3), (3.0, -0.5)])
def test_lambda_is_the_packages(k: float, b: float):
    for epoch, step in ((0, 0), (3, 2), (9, 4)):
        progress = (epoch + step / 5) / 10
        assert labels_share(epoch, step, 5, 10, k, b) == pytest.approx(Balance(k, b)(progress))


def test_sia_and_ira_are_the_packages():
    u, texts, v, t = torch.randn(5, 8), torch.randn(7, 8), torch.randn(5, 6), torch.randn(7, 6)
    wanted = losses.semantic_image_alignment(u, v, texts, 2.0, 14.0, vlm_text_emb=t)
    torch.testing.assert_close(sia(u, texts, v, t, 14.0, 2.0), wanted)
    unit = F.normalize(u, dim=1), F.normalize(2 * v.repeat(1, 2)[:, :8], dim=1)
    torch.testing.assert_close(
        ira(u, 2 * v.repeat(1, 2)[:, :8]), losses.image_representation_alignment(*unit)
    )


@pytest.mark.parametrize(("ours", "theirs"), [(4, 8), (8, 4), (6, 6)])
def test_sra_is_the_packages(ours: int, theirs: int):
    s, t = torch.randn(3, 5, ours, ours), torch.randn(3, 5, theirs, theirs)
    torch.testing.assert_close(sra(s, t), losses.spatial_representation_alignment(s, t))


def test_stage_one_is_the_methods():
    """DAIT.adapt's total, from the same layers."""
    from types import SimpleNamespace

    from labkit.methods.dait import DAIT

    v, t = F.normalize(torch.randn(5, 6), dim=1), F.normalize(torch.randn(4, 6), dim=1)
    out = Output(torch.randn(5, 4), torch.randn(5, 3), (None,) * 4, None)
    labels, project, layers = (
        torch.tensor([0, 1, 2, 3, 1]),
        nn.Linear(3, 8),
        Condensation(6, 8, "learned", True),
    )
    teacher = SimpleNamespace(scale=1 / 0.07, anchors=t)
    method = SimpleNamespace(
        intermediate=lambda _: out, condensation=layers, projection=project, teacher=teacher, temperature=2.0,
        balance=Balance(0.5, 0.0), sia_weight=1.0, ira_weight=1.0,
        ask_teacher=lambda _: SimpleNamespace(embedding=v),
    )  # fmt: skip
    method._by_texts = lambda *given: DAIT._by_texts(method, *given)
    wanted = DAIT.adapt(method, SimpleNamespace(image=None, label=labels), 0.6)["total"]
    got = stage_one_loss(out, v, t, labels, 0.3, project, layers.image, layers.text)
    torch.testing.assert_close(got, wanted)


def test_numbers_of_the_lab_by_hand():
    assert labels_share(4, 5, 20, 10) == pytest.approx(0.2125)
    target, answer = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    assert losses.hinton_kd(answer, target, 1.0).item() == pytest.approx(0.11, abs=0.002)
    assert ira(torch.tensor([[3.0, 4]]), torch.tensor([[0.0, 2]])).item() == pytest.approx(0.4)
    row, two = torch.tensor([1.0, 3, 0, 2]), torch.tensor([2.0, 2])
    pooled = row.view(2, 2).mean(1)
    assert (pooled - two).square().mean().item() == pytest.approx(0.5)


# The review ---------------------------------------------------------------------------------------------


def listing(lab) -> list[str]:
    """The numbered lines of the public implementation, without their numbers."""
    (text,) = [cell.source for cell in lab.cells if cell.kind == "text" and "```python" in cell.source]
    block = text.split("```python\n")[1].split("\n```")[0]
    rows = [re.match(r"\s*(\d+)(?:  (.*))?$", row) for row in block.split("\n")]
    assert [int(row[1]) for row in rows] == list(range(1, len(rows) + 1))
    return [row[2] or "" for row in rows]


def test_the_listing_is_python_and_its_lines_are_those_of_the_check(lab):
    rows = listing(lab)
    assert len(rows) == LINES
    ast.parse("\n".join(rows))
    for defect in DEFECTS:
        assert defect.code in rows[defect.lines[0] - 1], defect
        assert all(rows[line - 1] for line in defect.lines)


@pytest.mark.slow
def test_every_accepted_line_passes_and_any_other_gets_the_symptoms_hint():
    check = labs.get("13-review")
    for defect in DEFECTS:
        for lines in (*defect.lines, list(defect.lines)):
            assert judge(check, check.reference | {defect.symptom: lines}).status == "passed"
        wrong = next(i for i in range(1, LINES + 1) if i not in defect.lines)
        for answer in (wrong, [defect.lines[0], wrong], "12"):
            verdict = judge(check, check.reference | {defect.symptom: answer})
            assert defect.hint in verdict.hint
    two = {DEFECTS[3].symptom: 1, DEFECTS[8].symptom: 1}
    assert DEFECTS[3].hint in judge(check, check.reference | two).hint  # the first of the list


def test_the_prompt_holds_every_symptom_and_no_line(lab):
    (cell,) = [cell for cell in lab.of("exercise") if cell.id == "13-review"]
    space: dict = {}
    exec(stubs.cut(cell, labs.get("13-review")), space)
    assert space["review"] == dict.fromkeys(defect.symptom for defect in DEFECTS)
    verdict = judge(labs.get("13-review"), space["review"])
    assert (verdict.status, verdict.misconception) == ("failed", "an entry still open")
    (solved,) = [cell for cell in lab.of("exercise") if cell.id == "13-review"]
    exec(stubs.keep(solved), space)
    assert judge(labs.get("13-review"), space["review"]).status == "passed"


# What students type -------------------------------------------------------------------------------------


def test_right_answers_pass_however_they_are_written():
    def share(epoch, step, steps, epochs, k=0.5, b=0.0):
        return torch.tensor(k * (epoch * steps + step) / (epochs * steps) + b).clamp(0, 1).item()

    def semantic(u, texts, v, vlm_texts, scale=1 / 0.07, temperature=2.0):
        with torch.no_grad():
            p = torch.softmax(
                scale / temperature * torch.cosine_similarity(v[:, None], vlm_texts[None], -1), 1
            )
        q = torch.softmax(scale / temperature * torch.cosine_similarity(u[:, None], texts[None], -1), 1)
        return temperature**2 * (p * (p.log() - q.log())).sum(1).mean()

    def visual(u, v):
        u, v = u / u.norm(dim=1, keepdim=True), v.detach() / v.detach().norm(dim=1, keepdim=True)
        return F.l1_loss(u, v)

    def spatial(student_map, target):
        assert student_map.shape[1] == target.shape[1]
        if student_map.shape[-1] > target.shape[-1]:
            student_map = F.adaptive_avg_pool2d(student_map, target.shape[-1])
        else:
            target = F.adaptive_avg_pool2d(target, student_map.shape[-1])
        return (student_map - target.detach()).pow(2).mean()

    for id, mine in (("13-lambda", share), ("13-sia", semantic), ("13-ira", visual), ("13-sra", spatial)):
        verdict = judge(labs.get(id), mine)
        assert verdict.status == "passed", (id, verdict.message)


def test_two_mistakes_at_once_get_a_hint():
    """Who forgets T and to detach, say, hears of the first."""

    def semantic(u, texts, v, vlm_texts, scale=1 / 0.07, temperature=2.0):
        logits = scale * F.normalize(u, dim=1) @ F.normalize(texts, dim=1).T / temperature
        target = scale * F.normalize(v, dim=1) @ F.normalize(vlm_texts, dim=1).T / temperature
        return F.kl_div(logits.log_softmax(1), target.softmax(1), reduction="batchmean")  # no T^2, no detach

    assert judge(labs.get("13-sia"), semantic).misconception == "T² forgotten"
