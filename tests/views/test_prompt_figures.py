"""Lab 10's figures show the numbers they are given."""

from __future__ import annotations

import pytest
import torch

from labkit.bench import Interval
from labkit.engine import Evaluation
from labkit.engine.calibration import reliability
from labkit.views import prompts


def logits(n: int = 200):
    generator = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(n, 4, generator=generator)
    return z, torch.multinomial(z.softmax(1), 1, generator=generator)[:, 0]


def test_templates_stand_in_their_groups():
    found = Evaluation(*logits(), tuple("abcd"))
    fig = prompts.plot_templates({"names": {"{}": found, "a {}": found}, "parts": {"{description}": found}})
    labels = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert labels == ["{}", "a {}", "{description}"]
    assert {"names", "parts"} <= {text.get_text() for text in fig.axes[0].texts}


def test_reliability_titles_tell_the_error():
    found = reliability(*logits())
    fig = prompts.plot_reliability({"learned": found, "fitted": found})
    assert [f"{found.ece:.3f}" in axis.get_title() for axis in fig.axes] == [True, True]


def test_scales_are_drawn_at_their_factors():
    z, labels = logits()
    fig = prompts.plot_scales(z, labels, [0.1, 1, 10])
    line = fig.axes[0].lines[0]
    assert list(line.get_xdata()) == [0.1, 1, 10]
    assert line.get_ydata()[1] == pytest.approx(reliability(z, labels).ece)
    marked = prompts.plot_scales(z, labels, [0.1, 1, 10], {"learned": 1.0}).axes[0]
    assert [text.get_text() for text in marked.texts] == ["learned"]
    assert list(marked.lines[-1].get_xdata()) == [1.0, 1.0]


def test_shots_have_curves_and_lines():
    curve = [Interval(0.5, 0.02), Interval(0.6, float("nan"))]
    fig = prompts.plot_shots([1, 16], {"CoOp": curve, "probe": curve}, {"words": 0.55})
    assert {"CoOp", "probe", "words"} <= {text.get_text() for text in fig.axes[0].texts}
    assert [tick.get_text() for tick in fig.axes[0].get_xticklabels()] == ["1", "16"]


def test_a_guess_shows_image_and_bars():
    image = torch.rand(3, 8, 8)
    fig = prompts.plot_guess(image, "a wren", ["wren", "owl"], {"s = 1": [0.5, 0.4], "s = 9": [0.9, 0.1]})
    assert len(fig.axes) == 3
    assert fig.axes[0].get_title() == "a wren"


def test_the_slider_starts_at_the_learned_scale():
    box = prompts.scale_slider(*logits(), 14.3)
    assert box.children[0].value == 14.3
    box.children[0].value = 100.0
