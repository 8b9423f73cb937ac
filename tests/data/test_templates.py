"""Templates: one place for the class each, and filled in as they read."""

from __future__ import annotations

from string import Formatter

import pytest

from labkit import data
from labkit.data.prompts import AVIARY_DESCRIPTIONS, SEVEN, TEMPLATES, templates


@pytest.mark.parametrize("name", [*TEMPLATES, "somebody's own"])
def test_every_template_has_one_place_for_the_class(name):
    found = templates(name)
    assert found
    assert len(set(found)) == len(found)
    for template in found:
        assert [field for _, field, _, _ in Formatter().parse(template) if field is not None] == [""]


def test_unknown_data_sets_get_the_seven():
    assert templates("somebody's own") is SEVEN
    assert len(SEVEN) == 7


def test_templates_are_filled_in_by_the_data_set():
    digits = data.load("digits")
    (template,) = templates("digits")
    assert digits.prompts(template)[3] == 'a photo of the number: "3".'


def test_the_aviarys_texts_fit_its_model():
    """30 tokens between start and end: a text that is cut off would lose its last words in silence."""
    import open_clip

    from labkit.data.aviary import BENCHMARK

    encode = open_clip.SimpleTokenizer(context_length=32).encode
    for species in BENCHMARK:
        for template in (*templates("aviary"), *AVIARY_DESCRIPTIONS):
            text = template.format(species.name, description=species.description)
            assert len(encode(text)) <= 30, text
