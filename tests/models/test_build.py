"""Names, and everything a user may get wrong about them."""

import pytest
import torch

from labkit.errors import LabkitError
from labkit.models import Parts, available, build, register, timm_parts
from labkit.models.registry import _FACTORIES


def test_available_lists_all_three_kinds():
    assert available("digit_*") == ["digit_cnn", "digit_student", "digit_teacher"]
    assert {"resnet18", "torchvision/resnet18"} <= set(available("*resnet18"))
    assert available()[0] == "aviary-vit"
    assert len(available()) > 1000


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("resnet81", "resnet18"),
        ("digits_teacher", "digit_teacher"),
        ("torchvision/resnet_18", "torchvision/resnet18"),
        ("resnet18.no_such_tag", "resnet18"),
    ],
)
def test_unknown_names_get_the_nearest_one(name, guess):
    with pytest.raises(LabkitError, match=f"Unknown model '{name}'. Did you mean '{guess}'"):
        build(name, 3)


@pytest.mark.parametrize("classes", [0, -1, 2.5, None, True])
def test_class_count(classes):
    with pytest.raises(LabkitError, match="num_classes must be"):
        build("digit_student", classes)


@pytest.mark.parametrize("settings", [{"in_chans": 0}, {"image_size": 1.5}])
def test_sizes_are_whole_numbers(settings):
    with pytest.raises(LabkitError, match="at least 1"):
        build("digit_student", 3, **settings)


@pytest.mark.parametrize("name", ["digit_student", "resnet18", "torchvision/resnet18"])
def test_unknown_settings_are_named(name):
    with pytest.raises(LabkitError, match="'widht'"):
        build(name, 3, widht=4)


def test_pretrained_is_spelt_weights():
    with pytest.raises(LabkitError, match="weights='pretrained'"):
        build("resnet18", 3, pretrained=True)


def test_registering_a_network_of_another_library():
    @register("narrow")
    def narrow(num_classes: int, in_chans: int | None = None, image_size: int | None = None) -> Parts:
        return timm_parts("mobilenetv2_050", num_classes, in_chans, output_stride=8)

    try:
        model = build("narrow", 3).eval()
        assert "narrow" in available()
        assert [64 // m.shape[-1] for m in model(torch.rand(1, 3, 64, 64)).maps] == [4, 8, 8, 8]
        with pytest.raises(LabkitError, match="already a model"):
            register("narrow")(narrow)
    finally:
        del _FACTORIES["narrow"]
