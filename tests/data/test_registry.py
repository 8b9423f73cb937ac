"""`load`, `get`, `remove`, `info`: what all data sets have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from labkit import LabkitError, data
from labkit.data import ImageSet, Info, Official, registry
from labkit.errors import MissingError

FACTS = {"images": 30, "classes": 3, "image_size": 8, "licence": "CC0 1.0", "size": "1 MB", "citation": "-"}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, make_set: Callable[..., ImageSet]) -> None:
    """A data set of its own in a copy of the registry."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    facts = Info("toy", "random pixels", fetch="draw it", **FACTS)

    @data.register(facts, find=lambda root: root or Path())
    def read(root: Path | None, *, image_size: int | None = None, channels: int = 3) -> Official:
        return Official(make_set(30, channels=channels), make_set(12, channels=channels))


def test_a_data_set_joins_with_one_decorated_reader(toy: None) -> None:
    module = data.load("toy", per_class=2, val=3, channels=1, image_size=12)
    assert [len(s) for s in (module.train, module.val, module.test)] == [6, 9, 12]
    assert (module.channels, module.image_size) == (1, 12)
    assert "toy" in data.available("t*")


def test_a_name_is_taken_once(toy: None) -> None:
    with pytest.raises(LabkitError, match="a data set 'toy' already"):
        data.register(Info("toy", "", fetch="", **FACTS), find=lambda root: None)(print)


def test_train_and_validation_share_no_image_and_the_test_split_is_fixed(toy: None) -> None:
    seen = set()
    for seed in range(4):
        module = data.load("toy", seed=seed)
        train, val = set(module.train.ids.tolist()), set(module.val.ids.tolist())
        assert not train & val
        assert len(train | val) == 30
        assert torch.equal(module.test.images, data.load("toy", seed=9).test.images)
        seen.add(tuple(sorted(val)))
    assert len(seen) > 1


def test_budgets_of_one_seed_are_nested_and_leave_validation_alone(toy: None) -> None:
    small, large = (data.load("toy", per_class=k, seed=5) for k in (2, 7))
    assert set(small.train.ids.tolist()) < set(large.train.ids.tolist())
    assert torch.equal(small.val.ids, large.val.ids)
    assert len(data.load("toy", fraction=0.5).train) == 12  # 4 of the 9 of each class


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "whole number from 1, not 0"),
        ({"image_size": 8.5}, "whole number from 1, not 8.5"),
        ({"colour": True}, "Unknown option of the data set 'toy' 'colour'.*Known: channels"),
        ({"val": 0}, "held-out part must be"),
        ({"val": 10}, "Class 'a' has 10 images"),
        ({"per_class": 10}, "between 1 and 9"),
        ({"per_class": 2, "fraction": 0.5}, "either per_class"),
    ],
)
def test_bad_options_are_refused(toy: None, options: dict, message: str) -> None:
    with pytest.raises(LabkitError, match=message):
        data.load("toy", **options)


@pytest.mark.parametrize("call", [data.load, data.get, data.remove])
def test_an_unknown_name_is_answered_with_the_nearest(call: Callable) -> None:
    with pytest.raises(LabkitError, match=r"Unknown data set 'cifar'\. Did you mean 'cifar10'"):
        call("cifar")


def test_every_data_set_states_its_facts(alone: Path) -> None:
    facts = {i.name: i for i in data.info()}
    assert list(facts) == data.available()
    assert {"digits", "mnist", "cifar10", "cifar100", "folder"} <= set(facts)
    for i in facts.values():
        assert all((i.description, i.licence, i.size, i.fetch, i.citation)), i.name
        assert "\n" not in i.description
    assert facts["digits"].present
    assert not facts["cifar10"].present


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_missing_data_name_size_licence_command_and_the_way_on(alone: Path, name: str) -> None:
    with pytest.raises(MissingError) as caught:
        data.load(name)
    facts = next(i for i in data.info() if i.name == name)
    for part in (name, facts.size, facts.licence, f"labkit data get {name}", "LABKIT_PROFILE=cpu"):
        assert part in str(caught.value)


def test_a_given_root_is_the_only_place_looked_at(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_DATASETS", str(tmp_path / "elsewhere"))
    with pytest.raises(MissingError, match=f"not found in {tmp_path / 'mine'}"):
        data.load("mnist", root=tmp_path / "mine")


def test_getting_digits_needs_nothing_and_getting_a_folder_is_refused(alone: Path) -> None:
    assert data.get("digits").is_file()
    with pytest.raises(LabkitError, match="can't fetch 'folder': name your own folder"):
        data.get("folder")


def test_removing_deletes_the_cache_and_nothing_else(alone: Path, tmp_path: Path) -> None:
    assert not data.remove("cifar10")
    mine, other = alone / "datasets" / "cifar10" / "x", alone / "datasets" / "mnist" / "x"
    for file in (mine, other):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x")
    assert data.remove("cifar10")
    assert not mine.parent.exists()
    assert other.is_file()
    (alone / "datasets" / "cifar100").symlink_to(other.parent)
    assert data.remove("cifar100")  # the link, not what it points to
    assert other.is_file()
