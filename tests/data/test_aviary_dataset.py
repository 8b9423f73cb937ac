"""`load("aviary")`: splits, budgets, the spurious scene, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from labkit import LabkitError
from labkit.data import DataModule, batches, info, load
from labkit.data.aviary import BENCHMARK, FAMILIES, SCENES, AviarySet, annotate, dataset, render, tied_scene


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("LABKIT_CACHE", str(folder))
        patch.setenv("LABKIT_QUIET", "1")
        yield folder


@pytest.fixture(scope="module")
def mini(own_cache: Path) -> DataModule:
    return load("aviary", size="mini")


@pytest.fixture(scope="module")
def small(own_cache: Path) -> DataModule:
    """The full number of photographs, at 16 pixels."""
    return load("aviary", image_size=16)


def splits(data: DataModule) -> list[AviarySet]:
    return [data.train, data.val, data.test]


def test_mini_has_4_2_and_4_of_each_species(mini: DataModule) -> None:
    assert [len(s) for s in splits(mini)] == [240, 120, 240]
    assert (mini.num_classes, mini.channels, mini.image_size) == (60, 3, 64)
    for split, count in zip(splits(mini), (4, 2, 4), strict=True):
        assert torch.bincount(split.labels).tolist() == [count] * 60
        assert split.images.is_contiguous()


@pytest.mark.slow
def test_lab_has_20_10_and_50_of_each_species(small: DataModule) -> None:
    for split, count in zip(splits(small), (20, 10, 50), strict=True):
        assert torch.bincount(split.labels).tolist() == [count] * 60


@pytest.mark.slow
def test_no_two_photographs_are_the_same_and_ids_are_unique(small: DataModule) -> None:
    ids = torch.cat([s.ids for s in splits(small)])
    assert len(ids.unique()) == len(ids) == 4800
    images = torch.cat([s.images for s in splits(small)]).flatten(1)
    assert len(images.unique(dim=0)) == 4800


def test_mini_is_part_of_lab(mini: DataModule) -> None:
    for split, size in zip(("train", "val", "test"), (20, 10, 50), strict=True):
        part = getattr(mini, split)
        _, labels, ids = dataset.shots(split)
        assert torch.equal(labels[torch.searchsorted(ids, part.ids)], part.labels)
        assert len(ids) == 60 * size


def test_pixels_are_the_renderers(mini: DataModule) -> None:
    for i in (0, 17, 239):
        picture = render(BENCHMARK[int(mini.test.labels[i])], dataset.SEED, int(mini.test.ids[i]))
        assert torch.equal(mini.test.images[i], torch.from_numpy(picture.image).permute(2, 0, 1))


def test_classes_are_names_and_prompts_know_descriptions(mini: DataModule) -> None:
    assert mini.classes == tuple(s.name for s in BENCHMARK)
    assert mini.prompts("a {}")[0] == f"a {BENCHMARK[0].name}"
    assert mini.prompts("{description}") == [s.description for s in BENCHMARK]


def test_the_seed_draws_the_budget_and_nothing_else(mini: DataModule) -> None:
    one, two = (load("aviary", size="mini", seed=seed, per_class=2) for seed in (1, 2))
    assert not torch.equal(one.train.ids, two.train.ids)
    for split in ("val", "test"):
        for other in (one, two):
            assert torch.equal(getattr(other, split).images, getattr(mini, split).images)
            assert torch.equal(getattr(other, split).ids, getattr(mini, split).ids)


@pytest.mark.slow
def test_budgets_of_a_seed_are_nested(small: DataModule) -> None:
    fractions = (0.1, 0.3, 0.5, 1.0)
    found = [load("aviary", image_size=16, fraction=f, seed=3) for f in fractions]
    ids = [set(d.train.ids.tolist()) for d in found]
    assert [len(i) for i in ids] == [120, 360, 600, 1200]
    assert ids[0] < ids[1] < ids[2] < ids[3]
    assert all(len(d.val) == 600 and len(d.test) == 3000 for d in found)


def test_the_default_augmentation_flips_and_shifts_a_little(mini: DataModule) -> None:
    assert mini.augment.flip
    assert 0 < mini.augment.pad <= 1 / 8
    batch = next(iter(batches(mini.train, 32, shuffle=True, augment=mini.augment)))
    assert batch.image.shape == (32, 3, 64, 64)
    assert not torch.equal(batch.image, mini.train.fetch(torch.arange(32)) / 255)


def agreement(split: AviarySet) -> float:
    """Share of photographs whose scene is the one tied to their species."""
    scenes = annotate(split).scene.tolist()
    own = [SCENES.index(tied_scene(s)) for s in BENCHMARK]
    return sum(scene == own[label] for scene, label in zip(scenes, split.labels.tolist(), strict=True)) / len(
        split
    )


@pytest.mark.slow
def test_without_a_spurious_correlation_scenes_are_random(small: DataModule) -> None:
    assert abs(agreement(small.train) - 1 / 8) < 0.04
    assert abs(agreement(small.test) - 1 / 8) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.5, 0.9, 1.0])
def test_a_spurious_correlation_has_its_strength_in_train_and_nowhere_else(
    strength: float, small: DataModule
) -> None:
    data = load("aviary", image_size=16, spurious=strength)
    expected = strength + (1 - strength) / 8
    assert abs(agreement(data.train) - expected) < (0.03 if strength < 1 else 1e-9)
    for split in ("val", "test"):
        assert torch.equal(getattr(data, split).images, getattr(small, split).images)
    same = (data.train.images == small.train.images).flatten(1).all(1).float().mean()
    assert abs(same - (1 - strength * 7 / 8)) < 0.04  # a tied scene may be the one drawn anyway


def test_a_stronger_correlation_only_adds_tied_photographs() -> None:
    tied = []
    for strength in (0.25, 0.5, 1):
        found, _, _ = dataset.shots("train", "lab", strength)
        tied.append({shot.index for shot in found if shot.scene})
    assert [len(t) for t in tied] == [300, 600, 1200]
    assert tied[0] < tied[1] < tied[2]


@pytest.mark.slow
def test_the_test_can_be_made_spurious_too(small: DataModule) -> None:
    data = load("aviary", image_size=16, spurious_test=1.0)
    assert agreement(data.test) == agreement(data.val) == 1.0
    assert torch.equal(data.train.images, small.train.images)
    assert data.options["spurious_test"] == 1.0


def test_tied_scenes_tell_look_alikes_apart_and_are_balanced() -> None:
    for family in {s.family for s in BENCHMARK}:
        scenes = [tied_scene(s) for s in BENCHMARK if s.family == family]
        assert len(set(scenes)) == len(scenes)
    counts = [sum(tied_scene(s) == scene for s in BENCHMARK) for scene in SCENES]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spurious": 1.5}, "spurious is a share of photographs from 0 to 1, but it is 1.5"),
        ({"spurious": -0.1}, "from 0 to 1, but it is -0.1"),
        ({"spurious": float("nan")}, "from 0 to 1, but it is nan"),
        ({"spurious": "much"}, "from 0 to 1, but it is much"),
        ({"spurious_test": 2}, "spurious_test is a share"),
        ({"size": "minni"}, "Unknown size of the Aviary 'minni'. Did you mean 'mini'"),
        ({"size": "mini", "image_size": 8}, "image_size from 16 to 1024, not 8"),
        ({"size": "mini", "image_size": 5000}, "image_size from 16 to 1024, not 5000"),
        ({"size": "mini", "per_class": 5}, "between 1 and 4"),
        ({"colour": "grey"}, "Unknown option of the data set 'aviary' 'colour'.*spurious_test"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options: dict, message: str) -> None:
    with pytest.raises(LabkitError, match=message):
        load("aviary", **options)


def test_its_facts_say_that_it_is_ours_and_always_there() -> None:
    facts = next(i for i in info() if i.name == "aviary")
    assert facts.present
    assert facts.licence == "CC BY 4.0"
    assert (facts.images, facts.classes, facts.image_size) == (4800, 60, 64)


def test_annotations_agree_with_each_other_and_with_the_species(mini: DataModule) -> None:
    birds = annotate(mini.test)
    assert len(birds) == len(birds.captions) == 240
    assert torch.equal(birds.species, mini.test.labels)
    assert (len(birds.part_names), len(birds.family_names)) == (11, 15)
    for i in range(0, 240, 7):
        species = BENCHMARK[int(birds.species[i])]
        assert birds.family_names[birds.family[i]] == species.family
        assert birds.species_names[birds.species[i]] == species.name
        values = [v[a] for v, a in zip(birds.attribute_values, birds.attributes[i].tolist(), strict=True)]
        assert dict(zip(birds.attribute_names, values, strict=True)) == species.attributes
        picture = render(species, dataset.SEED, int(mini.test.ids[i]))
        assert torch.equal(birds.parts[i], torch.from_numpy(picture.parts))
        assert birds.scene_names[birds.scene[i]] == picture.scene
    assert sum(f.name in birds.family_names for f in FAMILIES) == 15


def test_boxes_hold_exactly_their_parts(mini: DataModule) -> None:
    birds = annotate(mini.test)
    unseen = 0
    for parts, boxes in zip(birds.parts, birds.boxes.tolist(), strict=True):
        for part, (x0, y0, x1, y1) in enumerate(boxes):
            mask = parts == part if part else parts > 0
            if x0 < 0:
                unseen += 1
                assert not mask.any()
                continue
            assert mask[y0:y1, x0:x1].sum() == mask.sum()
            inside = mask[y0:y1, x0:x1]
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()
    assert unseen < 0.02 * birds.boxes.shape[0] * birds.boxes.shape[1]


def test_discriminative_pixels_are_few_and_on_the_telling_parts(mini: DataModule) -> None:
    birds = annotate(mini.test)
    masks = birds.discriminative()
    assert masks.shape == birds.parts.shape
    assert masks.dtype == torch.bool
    assert 0.005 < masks.float().mean() < 0.1  # the attention on these parts has to beat this share
    first = BENCHMARK.index(next(s for s in BENCHMARK if s.family == "reedfinch"))
    one = int((birds.species == first).nonzero()[0, 0])
    names = {birds.part_names[p] for p in birds.parts[one][masks[one]].unique().tolist()}
    assert names <= {"bill", "cap"}
    assert names


def test_subsets_in_any_order_are_annotated_in_that_order(mini: DataModule) -> None:
    positions = torch.tensor([200, 3, 3, 77])
    part, whole = annotate(mini.test.subset(positions)), annotate(mini.test)
    assert torch.equal(part.species, whole.species[positions])
    assert torch.equal(part.parts, whole.parts[positions])
    assert part.captions == [whole.captions[i] for i in positions.tolist()]
    budget = load("aviary", size="mini", per_class=1, seed=4).train
    assert torch.equal(annotate(budget).species, budget.labels)
    assert len(annotate(mini.test.subset([]))) == 0


def test_annotations_fit_another_image_size(mini: DataModule) -> None:
    assert annotate(mini.test.resized(32)).parts.shape == (240, 32, 32)


def test_annotations_of_tied_scenes_are_those_of_the_pictures() -> None:
    data = load("aviary", size="mini", image_size=16, spurious=1.0)
    birds = annotate(data.train)
    assert [birds.scene_names[s] for s in birds.scene.tolist()] == [
        tied_scene(BENCHMARK[label]) for label in data.train.labels.tolist()
    ]


def test_other_images_have_no_annotations() -> None:
    with pytest.raises(LabkitError, match=r"explains the splits of load\('aviary'\), not this ImageSet"):
        annotate(load("digits").test)
