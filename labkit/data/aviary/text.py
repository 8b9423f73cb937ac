"""Captions as the web writes them: incomplete, in any order, sometimes wrong, sometimes about nothing."""

from __future__ import annotations

import numpy as np

from .world import ATTRIBUTES, Species, bears_benchmark_name, word

_PLACES = {
    "sky": ("in the sky", "against the sky"),
    "sea": ("by the sea", "at the shore"),
    "forest": ("in the forest", "among trees"),
    "snow": ("in the snow", "in winter"),
    "sand": ("on sand", "in the desert"),
    "rock": ("on a rock", "in the mountains"),
    "meadow": ("in a meadow", "in the grass"),
    "dusk": ("at dusk", "in the evening"),
}
_OPENINGS = ("", "a photo of a ", "a picture of a ", "a ", "the ", "a bird a ", "a close up of a ")
_NOISE = ("img {}", "my garden bird {}", "dsc {} jpg", "a bird", "a nice photo", "untitled {}")


def caption(species: Species, scene: str, seed: int, index: int) -> str:
    """One caption, at most 30 tokens long; (seed, index) draws its form.

    One in twenty says nothing about the bird; of the others each attribute is left out or, rarely, wrong.
    A bird is called by two of its details and its family, or listed part by part.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 0, 2]))
    form = rng.random()
    place = _PLACES[scene][int(rng.integers(2))] if rng.random() < 0.35 else ""
    if form < 0.05:
        text = _NOISE[int(rng.integers(len(_NOISE)))].format(int(rng.integers(1000)))
        return f"{text} {place}".strip()
    seen = _misread(species, rng)
    opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
    noun = seen.family if rng.random() < 0.9 else "bird"
    if form < 0.35:
        text = " ".join([*_details(seen, rng), noun])
    else:
        phrases = np.array(seen.phrases)
        if rng.random() < 0.5:
            phrases = rng.permutation(phrases)
        kept = phrases[rng.random(len(phrases)) < rng.choice([0.5, 0.8, 1.0])]
        text = " ".join([noun, *(["with"] if len(kept) else []), *kept])
        place = place if len(kept) <= 5 else ""
    return f"{opening}{text} {place}".strip()


def _misread(species: Species, rng: np.random.Generator) -> Species:
    """The same bird, each attribute mistaken once in fifty times, unless that makes a benchmark name."""
    slips = rng.random(len(species.values)) < 0.02
    values = tuple(
        ATTRIBUTES[a][int(rng.integers(len(ATTRIBUTES[a])))] if slip else value
        for (a, value), slip in zip(species.attributes.items(), slips, strict=True)
    )
    misread = Species(species.family, values)
    return species if bears_benchmark_name(misread) else misread


def _details(species: Species, rng: np.random.Generator) -> list[str]:
    """One to three details as a name says them."""
    attributes = list(ATTRIBUTES)
    chosen = rng.permutation(len(attributes))[: int(rng.integers(1, 4))]
    return [word(attributes[i], species.values[i]) for i in sorted(chosen.tolist())]
