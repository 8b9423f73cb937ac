"""A classifier normalises its own input, says what is wrong with a bad one, and survives copying."""

import copy

import pytest
import torch
from torch import nn

from labkit.errors import LabkitError
from labkit.models import Classifier, DirectTap, Output, Parts, build


def toy(mean: float = 0.25, std: float = 0.5, **kw) -> Classifier:
    """One Linear on the mean colour, so that logits can be computed by hand."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            embedding = x.mean((2, 3))
            return Output(self.head(embedding), embedding, (x, x, x, x), x)

    parts = Parts(Net(), DirectTap(), (mean,) * 3, (std,) * 3, (3, 3, 3, 3), **kw)
    return Classifier(parts, {"name": "toy", "num_classes": 2})


def test_normalises_with_its_own_statistics():
    model, x = toy(), torch.rand(4, 3, 5, 6)
    expected = (x - 0.25) / 0.5
    torch.testing.assert_close(model(x).final_map, expected)
    torch.testing.assert_close(model(x).logits, model.head(expected.mean((2, 3))))
    assert model.mean.shape == model.std.shape == (1, 3, 1, 1)


@pytest.mark.parametrize(
    ("shape", "says"),
    [((2, 1, 8, 8), "in_chans=1"), ((3, 8, 8), r"x\[None\]"), ((2, 3), r"\(B, 3, H, W\) but got \(2, 3\)")],
)
def test_wrong_shapes_name_both(shape, says):
    with pytest.raises(LabkitError, match=says):
        toy()(torch.rand(shape))


def test_uint8_is_refused():
    with pytest.raises(LabkitError, match="divide by 255"):
        toy()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_fixed_size_is_enforced():
    model = toy(image_size=8)
    assert model(torch.rand(1, 3, 8, 8)).logits.shape == (1, 2)
    with pytest.raises(LabkitError, match="image_size=9"):
        model(torch.rand(1, 3, 8, 9))


def test_state_dict_round_trip():
    a, b = build("digit_student", 5), build("digit_student", 5)
    x = torch.rand(3, 1, 8, 8)
    a(x)  # moves the running statistics
    b.load_state_dict(a.state_dict())
    torch.testing.assert_close(a.eval()(x), b.eval()(x))
    assert {"mean", "std", "net.head.weight"} <= set(a.state_dict())


@pytest.mark.parametrize("name", ["digit_student", "resnet18", "torchvision/shufflenet_v2_x0_5"])
def test_copies_are_equal_and_independent(name):
    model = build(name, 5).eval()
    x = torch.rand(2, model.mean.shape[1], 32, 32)
    copied = copy.deepcopy(model)
    assert not any(module.training for module in copied.modules())
    torch.testing.assert_close(copied(x), model(x), rtol=0, atol=0)
    with torch.no_grad():
        copied.head.weight.zero_()
    assert model(x).logits.std() > 0
    copied.train()(x).logits.sum().backward()
    assert model.head.weight.grad is None


def test_config_rebuilds_the_same_network():
    model = build("digit_cnn", 4, in_chans=3, widths=(4, 6, 8), hidden=10, dropout=0.1)
    again = build(**model.config)
    again.load_state_dict(model.state_dict())
    assert again.config == model.config
    assert (again.embedding_dim, again.map_channels) == (10, (4, 6, 6, 8))


def test_reset_head_replaces_only_the_head():
    torch.manual_seed(0)
    model = build("resnet18", 4).eval()
    x = torch.rand(2, 3, 32, 32)
    before = model(x)
    assert model.reset_head(6) is model
    after = model(x)
    assert after.logits.shape == (2, 6)
    assert (model.num_classes, model.config["num_classes"], model.head.out_features) == (6, 6, 6)
    torch.testing.assert_close(after.embedding, before.embedding)
    with pytest.raises(LabkitError, match="num_classes"):
        model.reset_head(0)


def test_other_precisions():
    model, x = build("digit_student", 5).eval(), torch.rand(2, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).logits.dtype == torch.bfloat16
    assert model.double()(x).logits.dtype == torch.float64


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digit_student", "torchvision/shufflenet_v2_x0_5"])
def test_compiles_without_graph_breaks(name):
    torch._dynamo.reset()
    model = build(name, 5).eval()
    x = torch.rand(2, model.mean.shape[1], 32, 32)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))
