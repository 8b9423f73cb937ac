"""The birds of the Aviary: families of look-alikes, names, and what pre-training may see of them."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from labkit.data.aviary import (
    ATTRIBUTES,
    BENCHMARK,
    FAMILIES,
    GENERIC,
    PART_OF,
    PARTS,
    SCENES,
    Species,
    caption,
    discriminative,
    wild,
)

WILD = [wild(seed, i) for seed in (0, 7) for i in range(2000)]


def parts_that_differ(a: Species, b: Species) -> set[str]:
    return {PART_OF[name] for name in ATTRIBUTES if a.attributes[name] != b.attributes[name]}


def relatives(species: Species) -> list[Species]:
    return [s for s in BENCHMARK if s.family == species.family and s != species]


def benchmark_names() -> set[tuple[str, frozenset[str]]]:
    """Family and details of each benchmark name, whatever their order."""
    return {(s.family, frozenset(s.name.split()[:-1])) for s in BENCHMARK}


def test_the_benchmark_has_60_species_in_15_families() -> None:
    assert len(set(BENCHMARK)) == len({s.name for s in BENCHMARK}) == 60
    assert len({s.description for s in BENCHMARK}) == 60
    sizes = Counter(s.family for s in BENCHMARK)
    assert len(sizes) >= 15
    assert min(sizes.values()) >= 2
    assert len(FAMILIES) > len(sizes)  # some occur in pre-training only
    assert len(ATTRIBUTES) >= 6


def test_relatives_differ_in_one_or_two_parts_and_each_has_one_that_differs_in_a_single_one() -> None:
    for species in BENCHMARK:
        differences = [parts_that_differ(species, other) for other in relatives(species)]
        assert all(1 <= len(parts) <= 2 for parts in differences), species.name
        assert min(map(len, differences)) == 1, species.name


def test_discriminative_parts_are_those_in_which_relatives_differ() -> None:
    for species in BENCHMARK:
        expected = set().union(*(parts_that_differ(species, other) for other in relatives(species)))
        assert set(discriminative(species)) == expected
        assert expected < set(PARTS)


def test_strangers_differ_in_more_than_look_alikes() -> None:
    for species in BENCHMARK:
        strangers = [s for s in BENCHMARK if s.family != species.family]
        assert min(len(parts_that_differ(species, s)) for s in strangers) >= 2


def test_a_name_says_the_two_details_that_tell_and_the_family() -> None:
    for species in BENCHMARK:
        *details, family = species.name.split()
        assert family == species.family
        assert len(details) == 2
        for other in relatives(species):
            assert set(details) != set(other.name.split()[:-1])
    assert "red-billed white-capped reedfinch" in {s.name for s in BENCHMARK}


def test_the_vector_and_the_attributes_say_the_same() -> None:
    for species in (*BENCHMARK, *GENERIC[:20], *WILD[:20]):
        values = [ATTRIBUTES[a][v] for a, v in zip(ATTRIBUTES, species.vector, strict=True)]
        assert values == list(species.attributes.values()) == list(species.values)


def test_a_description_names_every_value() -> None:
    for species in BENCHMARK:
        words = species.description.split()
        assert Counter(species.values) - Counter(words) == Counter(), species.description


@pytest.mark.parametrize("birds", [GENERIC, WILD], ids=["generic", "wild"])
def test_no_bird_of_pre_training_is_a_benchmark_species_or_bears_its_name(birds: list[Species]) -> None:
    assert not set(birds) & set(BENCHMARK)
    assert not {s.name for s in birds} & {s.name for s in BENCHMARK}
    taken = {(s.family, tuple(s.attributes[a] for a in telling(s))) for s in BENCHMARK}
    for bird in birds:
        assert (bird.family, tuple(bird.attributes[a] for a in telling(bird))) not in taken


def telling(species: Species) -> list[str]:
    """The attributes in which the benchmark species of the same family differ."""
    kin = [s.attributes for s in BENCHMARK if s.family == species.family]
    return [a for a in ATTRIBUTES if len({k[a] for k in kin}) > 1]


def test_generic_species_are_200_different_ones() -> None:
    assert len(set(GENERIC)) == len(GENERIC) == 200


def test_wild_birds_are_drawn_from_their_keys_and_vary() -> None:
    assert [wild(7, i) for i in range(50)] == WILD[2000:2050]
    assert len(set(WILD)) > 3900
    assert {s.family for s in WILD} == {f.name for f in FAMILIES}
    for name, values in ATTRIBUTES.items():
        assert {s.attributes[name] for s in WILD} == set(values)


def test_captions_hold_every_word_of_names_and_descriptions_but_no_benchmark_combination() -> None:
    texts = [caption(s, SCENES[i % len(SCENES)], 0, i) for i, s in enumerate(WILD)]
    words = set(" ".join(texts).split())
    needed = {word for s in BENCHMARK for word in f"{s.name} {s.description}".split()}
    assert needed - words == set()
    forbidden = benchmark_names()
    for text in texts:
        found = text.split()
        for family, details in forbidden:
            assert not (family in found and details <= set(found)), text


def test_captions_are_reproducible_short_and_vary() -> None:
    species = WILD[0]
    texts = [caption(species, "sea", 3, i) for i in range(400)]
    assert texts == [caption(species, "sea", 3, i) for i in range(400)]
    assert len(set(texts)) > 200
    assert max(len(re.findall(r"\w+", t)) for t in texts) <= 30  # what CLIP reads: 32 less start and end
    shares = [sum(species.family in t for t in texts), sum("sea" in t or "shore" in t for t in texts)]
    assert all(20 < s < 390 for s in shares), shares


def test_a_caption_with_all_but_words_of_its_own_bird_is_rare() -> None:
    slips = 0
    for i, species in enumerate(WILD):
        phrases = " ".join(species.phrases)
        text = caption(species, "sky", 0, i)
        wrong = [v for v in ATTRIBUTES["cap"] if f" {v} cap" in f" {text}" and f"{v} cap" not in phrases]
        slips += bool(wrong)
    assert 0 < slips < 0.05 * len(WILD)
