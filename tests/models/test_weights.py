"""Files of weights: what loads, and the one sentence for each that does not."""

import pytest
import torch
from safetensors.torch import save_file

from labkit.errors import LabkitError, MissingError
from labkit.models import build, load_weights


@pytest.fixture
def saved(tmp_path):
    """(a trained-looking student, its file)."""
    model = build("digit_student", 5)
    model(torch.rand(4, 1, 8, 8))
    path = tmp_path / "best.safetensors"
    save_file(model.state_dict(), path)
    return model, path


def test_round_trip(saved):
    model, path = saved
    again = build("digit_student", 5, weights=path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))  # noqa: B905


def test_half_precision_and_bare_networks(tmp_path):
    model = build("digit_student", 5)
    bare = {
        key: value.half() if value.is_floating_point() else value
        for key, value in model.net.state_dict().items()
    }
    save_file(bare, tmp_path / "bare.safetensors")
    again = build("digit_student", 5, weights=str(tmp_path / "bare.safetensors"))
    assert again.head.weight.dtype == torch.float32
    torch.testing.assert_close(again.head.weight, model.head.weight, rtol=1e-3, atol=1e-4)


def test_no_such_file(tmp_path):
    with pytest.raises(MissingError, match="no weights file"):
        build("digit_student", 5, weights=tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 2000])
def test_truncated_file(saved, keep):
    model, path = saved
    path.write_bytes(path.read_bytes()[:keep])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(LabkitError, match=r"not a complete \.safetensors file"):
        load_weights(model, path)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_another_class_count_is_said(saved):
    with pytest.raises(
        LabkitError, match=r"head for 5 classes .* asked for 7.*num_classes=5.*reset_head\(7\)"
    ):
        build("digit_student", 7, weights=saved[1])


def test_another_network_is_said(saved):
    with pytest.raises(LabkitError, match=r"does not fit 'digit_teacher': 6 missing \(net.features.conv3"):
        build("digit_teacher", 5, weights=saved[1])


def test_another_width_is_said(saved):
    with pytest.raises(LabkitError, match=r"has shape \(16, 1, 3, 3\) in the file and \(8, 1, 3, 3\)"):
        build("digit_student", 5, widths=(8, 32), weights=saved[1])
