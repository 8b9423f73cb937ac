"""Lab 01's networks: sizes of the lab sheet, both digit sizes, maps, seeds."""

import pytest
import torch

from labkit.errors import LabkitError
from labkit.models import build


def by_hand(widths: tuple[int, ...], hidden: int, classes: int) -> int:
    """Parameters: 3x3 convolutions without bias, scale and shift of each norm, two Linears."""
    convolutions = sum(9 * a * b for a, b in zip((1, *widths), widths, strict=False))
    return convolutions + 2 * sum(widths) + (4 * widths[-1] + 1) * hidden + (hidden + 1) * classes


@pytest.mark.parametrize(
    ("name", "widths", "hidden", "channels"),
    [
        ("digit_teacher", (64, 128, 256), 512, (64, 128, 128, 256)),
        ("digit_student", (16, 32), 64, (16, 16, 32, 32)),
    ],
)
def test_sizes_of_the_lab_sheet(name, widths, hidden, channels):
    model = build(name, 10)
    assert sum(p.numel() for p in model.parameters()) == by_hand(widths, hidden, 10)
    assert (model.embedding_dim, model.map_channels) == (hidden, channels)


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("name", ["digit_teacher", "digit_student"])
def test_maps(name, side):
    model = build(name, 10).eval()
    out = model(torch.rand(3, 1, side, side))
    assert tuple(m.shape[1] for m in out.maps) == model.map_channels
    strides = [side // m.shape[-1] for m in out.maps]
    assert strides == ([2, 2, 4, 4] if name == "digit_teacher" else [1, 2, 2, 4])
    assert out.final_map is out.maps[-1]
    torch.testing.assert_close(model.head(out.embedding), out.logits)


def test_initialisation_depends_on_torchs_seed_alone():
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(build("digit_student", 10).state_dict()["net.head.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_dropout_acts_in_training_only():
    model, x = build("digit_cnn", 3, dropout=0.9), torch.rand(8, 1, 8, 8)
    assert (model(x).embedding == 0).float().mean() > 0.8
    model.eval()
    torch.testing.assert_close(model(x), model(x), rtol=0, atol=0)


def test_any_width_and_depth():
    model = build("digit_cnn", 3, in_chans=3, widths=[4, 5, 6, 7, 8], hidden=9)
    out = model(torch.rand(2, 3, 16, 16))
    assert [tuple(m.shape[1:]) for m in out.maps] == [(5, 4, 4), (6, 4, 4), (7, 4, 4), (8, 4, 4)]
    with pytest.raises(LabkitError, match="two widths"):
        build("digit_cnn", 3, widths=(4,))
