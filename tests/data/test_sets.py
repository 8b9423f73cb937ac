"""Image sets and data modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from labkit import LabkitError
from labkit.data import DataModule, FileSet, ImageSet
from labkit.data import sets as sets_module


def test_an_item_is_a_float_image_and_its_label(make_set: Callable[..., ImageSet]) -> None:
    data = make_set(7)
    image, label = data[4]
    assert image.dtype == torch.float32
    assert torch.equal(image, data.images[4] / 255)
    assert (label, type(label)) == (1, int)
    assert torch.equal(data[-1][0], data[6][0])
    assert len(list(data)) == len(data) == 7
    with pytest.raises(IndexError):
        data[7]


def test_a_subset_keeps_the_ids(make_set: Callable[..., ImageSet]) -> None:
    data = make_set(9)
    part = data.subset([8, 2])
    assert part.ids.tolist() == [59, 17]
    assert torch.equal(part.fetch([1])[0], data.images[2])
    assert part.classes == data.classes == ("a", "b", "c")
    assert part.subset(torch.tensor([0])).ids.tolist() == [59]


def test_few_takes_so_many_of_each_class(make_set: Callable[..., ImageSet]) -> None:
    data = make_set(60)
    assert torch.bincount(data.few(4, seed=3).labels).tolist() == [4, 4, 4]
    assert torch.bincount(data.few(fraction=0.5).labels).tolist() == [10, 10, 10]
    assert set(data.few(4, seed=3).ids.tolist()) <= set(data.few(per_class=9, seed=3).ids.tolist())


def test_shape_and_size_of_a_set(make_set: Callable[..., ImageSet]) -> None:
    data = make_set(5, size=12, channels=1)
    assert (data.channels, data.image_size, data.num_classes) == (1, 12, 3)
    assert data.to("cpu").images.equal(data.images)


def test_resizing_at_once_equals_resizing_batch_by_batch(
    make_set: Callable[..., ImageSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_set(6, size=8)
    eager = data.resized(13)
    assert eager.images.shape == (6, 3, 13, 13)
    monkeypatch.setattr(sets_module, "MEMORY_LIMIT", 10)
    lazy = data.resized(13)
    assert lazy.images.shape == (6, 3, 8, 8)
    assert lazy.image_size == 13
    assert lazy.fetch([3, 1]).equal(eager.fetch([3, 1]))
    assert data.resized(None) is data


@pytest.mark.parametrize(
    ("images", "labels", "ids", "message"),
    [
        (torch.zeros(2, 3, 4, 4), [0, 1], None, r"must be \(N, C, H, W\) uint8"),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), [0, 1], None, r"must be \(N, C, H, W\) uint8"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0], None, "2 images need as many labels"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 1], torch.arange(3), "as many labels and ids"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 2], None, r"0\.\.1 for 2 classes.*0\.\.2"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [-1, 1], None, r"span -1\.\.1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(images, labels, ids, message: str) -> None:
    with pytest.raises(LabkitError, match=message):
        ImageSet(images, torch.tensor(labels), ["a", "b"], ids)


def test_a_file_set_is_an_image_set_on_disk(tmp_path: Path, write_images: Callable[..., list[Path]]) -> None:
    files = write_images(tmp_path, 5)
    data = FileSet([str(f) for f in files], [0, 1, 0, 1, 0], ["x", "y"], image_size=8)
    assert data.fetch([1, 4]).shape == (2, 3, 8, 8)
    part = data.subset([4, 1]).resized(6)
    assert (part.paths, part.ids.tolist(), part.image_size) == ([str(files[4]), str(files[1])], [4, 1], 6)
    image, label = data[1]
    assert (image.shape, image.dtype, label) == ((3, 8, 8), torch.float32, 1)
    assert len(data.few(1)) == 2


@pytest.fixture
def module(make_set: Callable[..., ImageSet]) -> DataModule:
    return DataModule("toy", make_set(9), make_set(3), make_set(6), descriptions=["first", "second", "third"])


@pytest.mark.parametrize(
    ("template", "first"),
    [
        ("a {}", "a a"),
        ("{name}!", "a!"),
        ("the {description}", "the first"),
        ("{} or {}, {name}: {description} {{x}}", "a or a, a: first {x}"),
    ],
)
def test_prompts_fill_in_names_and_descriptions(module: DataModule, template: str, first: str) -> None:
    assert module.prompts(template)[0] == first
    assert len(module.prompts(template)) == 3


@pytest.mark.parametrize("template", ["a photo", "{colour} {name}", "{0}", "{name.__class__}", "{name", "}"])
def test_a_template_without_a_known_field_is_refused(module: DataModule, template: str) -> None:
    with pytest.raises(LabkitError, match="The template"):
        module.prompts(template)


def test_a_module_describes_itself(module: DataModule) -> None:
    assert (
        module.describe() == "toy: 9 train, 3 val, 6 test images, 8x8 with 3 channels, 3 classes (a, b, c)."
    )
    assert (module.num_classes, module.channels, module.image_size) == (3, 3, 8)


def test_descriptions_default_to_the_names(make_set: Callable[..., ImageSet]) -> None:
    plain = DataModule("toy", make_set(9), make_set(3), make_set(6))
    assert plain.prompts("{description}") == ["a", "b", "c"]
