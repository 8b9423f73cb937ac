"""What one writes around a class name before a text tower reads it: templates per kind of data set.

The first template of a set is the published one that stands alone in comparisons; the sentences are those of
openai/CLIP's `data/prompts.md` (arXiv 2103.00020, section 3.1.4) and of CoOp's hand-crafted prompts (arXiv
2109.01134, KaiyangZhou/CoOp) for Pets, Aircraft and Cars. CLIP has none for Stanford Dogs, CUB-200-2011 and
NABirds: later papers write "a type of dog" by analogy, and give the two bird sets the sentence of Birdsnap.
"""

from __future__ import annotations

# The well-known 7 of the 80 that were written for ImageNet.
SEVEN = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
# CLIP's one for Birdsnap; the plain one and ours for comparison.
BIRDS = ("a photo of a {}, a type of bird.", "a photo of a {}.", "a bird, the {}.")
# CLIP's eight for Stanford Cars.
CARS = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of my {}.",
    "i love my {}!",
    "a photo of my dirty {}.",
    "a photo of my clean {}.",
    "a photo of my new {}.",
    "a photo of my old {}.",
)

# In the Aviary captions carry no full stops, and a text has 32 tokens: some of these are worse on purpose.
AVIARY = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a photo of a {}.",
    "a photo of a {}, a type of bird.",
    "a close up of a {}",
    "art of the {}.",
)
AVIARY_DESCRIPTIONS = ("{description}", "a {description}", "a photo of a {description}")

TEMPLATES: dict[str, tuple[str, ...]] = {
    "aviary": AVIARY,
    "cub200": BIRDS,
    "cub50": BIRDS,
    "nabirds": BIRDS,
    "aircraft": ("a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft."),
    "cars": CARS,
    "dogs": ("a photo of a {}, a type of dog.", "a photo of a {}, a breed of dog."),
    "pets": ("a photo of a {}, a type of pet.",),
    "cifar10": ("a photo of a {}.", "a blurry photo of a {}.", "a low resolution photo of a {}."),
    "cifar100": ("a photo of a {}.", "a blurry photo of a {}.", "a low resolution photo of a {}."),
    "digits": ('a photo of the number: "{}".',),
    "mnist": ('a photo of the number: "{}".',),
}


def templates(name: str) -> tuple[str, ...]:
    """The templates for a data set; the general seven where it has none of its own.

    Each has one `{}` for the class; `DataModule.prompts(template)` fills it in.

    >>> templates("pets")
    ('a photo of a {}, a type of pet.',)
    """
    return TEMPLATES.get(name, SEVEN)
