"""Counts against hand-computed ones and against published ones."""

import pytest
import torch
from torch import nn

from labkit.models import build, cost


def test_a_tiny_network_by_hand():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, padding=1),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )
    found = cost(net, (2, 3, 16, 16))
    assert found.parameters == (27 + 1) * 8 + (72 + 1) * 4 + 1025 * 10
    assert found.macs == 2 * (16 * 16 * 8 * 27 + 16 * 16 * 4 * 72 + 1024 * 10)
    assert found.weight_bytes == 4 * found.parameters
    assert found.activation_bytes == 4 * 2 * (8 + 8) * 16 * 16  # first convolution and its ReLU, together
    assert net.training


def test_in_place_and_views_are_not_counted_twice():
    plain = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Unflatten(1, (4, 8, 8))
    )
    assert cost(plain, (1, 1, 8, 8)).activation_bytes == 4 * 4 * 64


@pytest.mark.parametrize(
    ("name", "low", "high", "millions"), [("resnet18", 1.81, 1.82, 11.69), ("resnet50", 4.08, 4.12, 25.56)]
)
def test_published_counts(name, low, high, millions):
    found = cost(build(name, 1000))
    assert low <= found.macs / 1e9 <= high
    assert found.parameters / 1e6 == pytest.approx(millions, abs=0.01)
    assert found.weight_bytes == pytest.approx(4 * found.parameters, rel=0.01)


def test_attention_is_counted_in_both_styles():
    dim, tokens = 8, 5
    expected = tokens * 3 * dim * dim + 2 * tokens * tokens * dim + tokens * dim * dim

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    assert cost(Attention(), (1, tokens, dim)).macs == expected
    assert torch.backends.mha.get_fastpath_enabled()


def test_precision_changes_the_bytes():
    full, half = (
        cost(build("digit_student", 10), (1, 1, 8, 8)),
        cost(build("digit_student", 10).bfloat16(), (1, 1, 8, 8)),
    )
    assert half.macs == full.macs
    # the step counters of the norms stay int64
    assert half.weight_bytes - 16 == (full.weight_bytes - 16) / 2
    assert half.activation_bytes < full.activation_bytes


def test_modes_of_frozen_parts_are_kept():
    model = build("torchvision/shufflenet_v2_x0_5", 3)
    model.net.conv1.eval()
    cost(model, (1, 3, 32, 32))
    assert model.training
    assert not model.net.conv1.training
    assert "MACs" in str(cost(model, (1, 3, 32, 32)))
