"""The Aviary: fine-grained vision in miniature, a procedural world of small birds.

A species is a tuple of part attributes (`world`), painted (`paint`) into a scene (`scene`) with pose, light,
blur and noise (`render`), and described as the web would (`text`). `load("aviary")` gives the benchmark of 60
species (`dataset`), `annotate` explains its pictures, `pretraining` gives small foundation models their food.
"""

from .annotations import Annotations, annotate
from .corpus import Pretraining, pretraining
from .dataset import AviarySet, tied_scene
from .paint import PARTS
from .render import Picture, render
from .text import caption
from .world import (
    ATTRIBUTES,
    AVIARY_VERSION,
    BENCHMARK,
    FAMILIES,
    GENERIC,
    PART_OF,
    SCENES,
    Family,
    Species,
    discriminative,
    wild,
)

__all__ = [
    "ATTRIBUTES",
    "AVIARY_VERSION",
    "BENCHMARK",
    "FAMILIES",
    "GENERIC",
    "PARTS",
    "PART_OF",
    "SCENES",
    "Annotations",
    "AviarySet",
    "Family",
    "Picture",
    "Pretraining",
    "Species",
    "annotate",
    "caption",
    "discriminative",
    "pretraining",
    "render",
    "tied_scene",
    "wild",
]
