"""The birds of the Aviary: part attributes, families of look-alikes, species, their names and descriptions.

A benchmark family has four species: two values of one small part times two of another, all else equal. So a
family is told by its shape and colours, and a species by details of a few pixels. Every word of a benchmark
name occurs in the pre-training captions; the pair of details that a benchmark name joins to its family never
does, so that zero-shot recognition of the 60 species is possible and honest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np

AVIARY_VERSION = 1

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "bill colour": ("red", "orange", "yellow", "black", "blue"),
    "bill shape": ("short", "long", "hooked"),
    "cap": ("white", "black", "red", "yellow", "blue"),
    "eyes": ("white", "yellow", "red", "black"),
    "back": ("brown", "green", "blue", "grey", "purple", "orange"),
    "breast": ("white", "yellow", "orange", "pink", "grey"),
    "pattern": ("plain", "spotted", "streaked", "banded"),
    "wingbars": ("no", "one", "two"),
    "tail": ("white", "black", "red", "yellow", "blue"),
    "legs": ("red", "yellow", "black", "blue"),
}
SCENES = ("sky", "sea", "forest", "snow", "sand", "rock", "meadow", "dusk")

# what an attribute is called in a name ({} is the value), and the part of the bird where it shows
_WORDS = {
    "bill colour": "{}-billed",
    "bill shape": "{}-billed",
    "cap": "{}-capped",
    "eyes": "{}-eyed",
    "back": "{}-backed",
    "breast": "{}-breasted",
    "pattern": "{}-breasted",
    "wingbars": "{}-barred",
    "tail": "{}-tailed",
    "legs": "{}-legged",
}
PART_OF = {
    "bill colour": "bill",
    "bill shape": "bill",
    "cap": "cap",
    "eyes": "eye",
    "back": "back",
    "breast": "breast",
    "pattern": "breast",
    "wingbars": "wing",
    "tail": "tail tip",
    "legs": "legs",
}


class Build(NamedTuple):
    """A family's shape, in units of the body's length; see `paint`."""

    length: float = 0.50  # half axes of the body
    depth: float = 0.33
    head: float = 0.30  # radius
    neck: float = 0.0  # how much higher and further out the head sits
    leg: float = 0.26
    tail: float = 0.50
    fork: str = "fan"  # fan, forked or narrow
    crest: str = "none"  # none, peak or tuft


@dataclass(frozen=True)
class Family:
    """A family of look-alikes.

    Attributes:
        name: its noun, such as 'reedfinch'.
        base: the value of every attribute, in the order of `ATTRIBUTES`.
        varies: the two attributes in which the benchmark species differ, each with its two values; empty
            for a family that occurs in pre-training only.
        build: its shape.
    """

    name: str
    base: tuple[str, ...]
    varies: tuple[tuple[str, tuple[str, str]], ...]
    build: Build


def _family(name: str, base: str, varies: str = "", **build: float | str) -> Family:
    """A row of the table below; `varies` reads 'cap white/black, legs red/blue'."""
    pairs = [entry.rsplit(" ", 1) for entry in varies.split(", ") if entry]
    return Family(
        name,
        tuple(base.split()),
        tuple((attribute, tuple(values.split("/"))) for attribute, values in pairs),
        Build(**build),
    )


# columns of `base`: bill colour and shape, cap, eyes, back, breast, pattern, wingbars, tail, legs
FAMILIES: tuple[Family, ...] = (
    _family("reedfinch", "red short white black brown yellow plain one black yellow",
            "bill colour red/black, cap white/blue", depth=0.36, tail=0.42),
    _family("hillwren", "black short red white brown white banded no white black",
            "cap red/yellow, tail white/blue", length=0.44, depth=0.36, tail=0.34, leg=0.3),
    _family("sandlark", "yellow long black yellow orange white plain two white red",
            "wingbars no/two, legs red/black", neck=0.06, leg=0.34, fork="narrow"),
    _family("mossthrush", "orange short black red green yellow spotted one black red",
            "pattern spotted/plain, bill colour orange/blue", length=0.54, depth=0.35),
    _family("pinetit", "black short white white green white plain two yellow blue",
            "tail yellow/black, eyes white/red", length=0.43, depth=0.36, head=0.32, crest="peak"),
    _family("brookjay", "black hooked blue white blue white plain one white black",
            "cap blue/black, breast white/orange", length=0.55, tail=0.56, crest="tuft"),
    _family("cliffswift", "red short black yellow grey grey plain no black black",
            "bill colour red/yellow, tail black/white", length=0.55, depth=0.27, leg=0.18, tail=0.6,
            fork="forked"),
    _family("fenbunting", "yellow short black white brown orange streaked two black red",
            "pattern streaked/banded, cap black/white", depth=0.36),
    _family("dunepipit", "orange long yellow black orange yellow streaked no red yellow",
            "legs yellow/blue, tail red/black", neck=0.05, leg=0.36, fork="narrow", depth=0.29),
    _family("thornshrike", "black hooked black red grey pink plain two white black",
            "bill shape hooked/long, wingbars two/no", tail=0.58, fork="narrow", head=0.31),
    _family("lakemartin", "blue short blue white purple white plain no blue red",
            "breast white/yellow, legs red/black", depth=0.29, tail=0.58, fork="forked", leg=0.22),
    _family("glenrobin", "yellow short red black green orange plain one yellow black",
            "breast orange/grey, bill colour yellow/red", length=0.46, depth=0.38, head=0.31),
    _family("willowquail", "red hooked yellow yellow grey pink banded two red blue",
            "pattern banded/spotted, eyes yellow/black", length=0.52, depth=0.40, tail=0.3, crest="tuft"),
    _family("heathstart", "orange long red white purple yellow plain one red yellow",
            "tail red/yellow, cap red/white", leg=0.32, tail=0.48, crest="peak"),
    _family("marshrail", "red long white red blue grey banded no white red",
            "bill shape long/short, wingbars no/two", neck=0.1, leg=0.42, tail=0.3, length=0.47),
    _family("icepetrel", "black hooked black black grey white plain no black blue", fork="forked"),
    _family("emberlark", "orange short red yellow orange yellow spotted one red yellow", crest="peak"),
    _family("cloudpigeon", "yellow short white red purple pink plain two blue red", depth=0.39, head=0.27),
    _family("oakcreeper", "blue long yellow white brown grey streaked one yellow black", fork="narrow"),
    _family("ricedove", "red hooked blue yellow green white spotted two white yellow", neck=0.08, leg=0.36),
)  # fmt: skip
_BY_NAME = {family.name: family for family in FAMILIES}
_NAMES = tuple(ATTRIBUTES)


@dataclass(frozen=True)
class Species:
    """One kind of bird: a family and the values of its part attributes, in the order of `ATTRIBUTES`."""

    family: str
    values: tuple[str, ...]

    @property
    def attributes(self) -> dict[str, str]:
        """Value by attribute."""
        return dict(zip(_NAMES, self.values, strict=True))

    @property
    def vector(self) -> tuple[int, ...]:
        """Position of each value among those of its attribute."""
        return tuple(ATTRIBUTES[a].index(v) for a, v in self.attributes.items())

    @property
    def build(self) -> Build:
        """The family's shape."""
        return _BY_NAME[self.family].build

    @property
    def name(self) -> str:
        """The two details that tell it from its family, then the family: 'red-billed white-capped reedfinch'.

        Species of a family without look-alikes are named by cap and tail.
        """
        telling = [attribute for attribute, _ in _BY_NAME[self.family].varies] or ["cap", "tail"]
        return " ".join([*(word(a, self.attributes[a]) for a in telling), self.family])

    @property
    def description(self) -> str:
        """All attributes in the words of the captions, without commas: CLIP here reads 30 tokens at most."""
        return f"{self.family} with " + " ".join(self.phrases)

    @property
    def phrases(self) -> tuple[str, ...]:
        """One phrase per part: 'short red bill', 'white cap', ..."""
        a = self.attributes
        return (
            f"{a['bill shape']} {a['bill colour']} bill",
            f"{a['cap']} cap",
            f"{a['eyes']} eyes",
            f"{a['back']} back",
            f"{a['pattern']} {a['breast']} breast",
            f"{a['wingbars']} wingbars",
            f"{a['tail']} tail",
            f"{a['legs']} legs",
        )

    @cached_property
    def key(self) -> int:
        """63 bits that depend on the species alone, for the random numbers of its pictures."""
        text = "|".join((self.family, *self.values)).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def word(attribute: str, value: str) -> str:
    """How a name says it: word('cap', 'white') is 'white-capped'."""
    if (attribute, value) == ("wingbars", "no"):
        return "plain-winged"
    return _WORDS[attribute].format(value)


def _members(family: Family) -> list[Species]:
    """The four benchmark species of a family."""
    (first, these), (second, those) = family.varies
    base = dict(zip(_NAMES, family.base, strict=True))
    return [
        Species(family.name, tuple((base | {first: a, second: b}).values())) for a, b in product(these, those)
    ]


BENCHMARK: tuple[Species, ...] = tuple(s for family in FAMILIES if family.varies for s in _members(family))
_TAKEN = {family.name: {a: set(v) for a, v in family.varies} for family in FAMILIES}


def discriminative(species: Species) -> tuple[str, ...]:
    """The parts by which a species is told from the others of its family, such as ('bill', 'cap')."""
    return tuple(dict.fromkeys(PART_OF[attribute] for attribute in _TAKEN[species.family]))


def wild(seed: int, index: int) -> Species:
    """A bird for pre-training: any family, any attributes, but no name that a benchmark species bears.

    About half of its attributes are its family's usual ones, so that a family keeps its look.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 0, 1]))
    while True:
        family = FAMILIES[int(rng.integers(len(FAMILIES)))]
        own = rng.integers(0, 2, len(_NAMES))
        values = tuple(
            usual if keep else ATTRIBUTES[a][int(rng.integers(len(ATTRIBUTES[a])))]
            for a, usual, keep in zip(_NAMES, family.base, own, strict=True)
        )
        species = Species(family.name, values)
        if not bears_benchmark_name(species):
            return species


def bears_benchmark_name(species: Species) -> bool:
    """Whether a species has the two details and the family of a benchmark name."""
    taken = _TAKEN[species.family]
    return bool(taken) and all(species.attributes[a] in values for a, values in taken.items())


def _generic(count: int) -> tuple[Species, ...]:
    drawn: dict[Species, None] = {}
    index = 0
    while len(drawn) < count:
        drawn[wild(2**31, index)] = None
        index += 1
    return tuple(drawn)


GENERIC: tuple[Species, ...] = _generic(200)
