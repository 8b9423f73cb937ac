"""Lab 10: what the student finds in the bug cell is recognised, as often as it is checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from labkit.course import labs, source, stubs
from labkit.course.labs.lab10_prompts import assemble, encode_prompts
from labkit.course.labs.lab10_toys import ToyText
from labkit.course.verdict import judge

LAB = Path(__file__).resolve().parents[2] / "solutions" / "10_clip_prompts.py"


@pytest.fixture
def bug():
    """The class that the student finds, with its defect."""
    (cell,) = [cell for cell in source.read(LAB).of("exercise") if cell.id == "10-bug"]
    space: dict = {}
    exec(stubs.cut(cell, labs.get("10-bug")), space)
    return space["Ensemble"]


def test_the_cell_as_it_was_gets_its_hint_again_and_again(bug):
    check, before = labs.get("10-bug"), list(bug.templates)
    for _ in range(2):
        verdict = judge(check, bug)
        assert verdict.misconception == "the class as it was"
        assert bug.templates == before  # checking must not make it worse


def test_a_mended_cell_passes_however_it_is_mended(bug):
    def copied(self, extra):
        self.templates = list(type(self).templates)
        self.templates.append(extra)

    def added(self, extra):
        self.templates = self.templates + [extra]  # noqa: RUF005  as a student would

    def renamed(self, extra):
        self.mine = (*self.templates, extra)

    for mend in (copied, added):
        bug.__init__ = mend
        assert judge(labs.get("10-bug"), bug).status == "passed"
    bug.__init__ = renamed
    bug.prompts = lambda self, classes: [[t.format(name) for name in classes] for t in self.mine]
    assert judge(labs.get("10-bug"), bug).status == "passed"


def test_the_toy_tower_is_causal():
    torch.manual_seed(0)
    tower, x = ToyText(length=6, width=8, embed=4), torch.randn(2, 6, 8)
    tokens = torch.tensor([[98, 5, 99, 0, 0, 0], [98, 5, 6, 7, 99, 0]])
    changed = x.clone()
    changed[0, 3:] += 1
    torch.testing.assert_close(encode_prompts(tower, x, tokens), encode_prompts(tower, changed, tokens))


def test_assembling_moves_rows_and_loses_none():
    torch.manual_seed(0)
    prefix, context, suffix = torch.randn(2, 1, 3), torch.randn(4, 3), torch.randn(2, 5, 3)
    for position in ("end", "middle", "front"):
        prompts = assemble(prefix, context, suffix, [2, 1], position)
        for c in range(2):
            rows = torch.cat([prefix[c], context, suffix[c]])
            assert sorted(prompts[c].tolist()) == sorted(rows.tolist())
