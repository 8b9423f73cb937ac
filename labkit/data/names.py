"""Class names as one would say them: what a text tower reads is a name, not the name of a folder.

A name's spelling is mended, the name itself never replaced: `110.Geococcyx` stays "Geococcyx". What each data
set needs, and why:

- CUB-200-2011 numbers its folders ("001."), turns spaces and hyphens into underscores and drops apostrophes.
  A hyphen is recognised by the small letter after it ("Black_footed" but "Blue_Jay"); birds that are named
  after somebody get their apostrophe back ("Brewer's Blackbird"); four names are listed one by one.
- NABirds writes names as they are, with the plumage in parentheses. The description puts it in front.
- Stanford Dogs prefixes the WordNet id.
- Stanford Cars ends in the year. In front of it the name reads as English, and CoOp's reader does the same
  (arXiv 2109.01134, KaiyangZhou/CoOp). Copies in class folders write "C-V" for "C/V".
- Oxford-IIIT Pets has only file names: "american_bulldog_12". The label is their class number, never the
  first word, which would merge breeds.
- FGVC-Aircraft's variants ("737-700") are names already; the description adds the maker ("Boeing 737-700").
"""

from __future__ import annotations

import re

# Who the birds of CUB-200-2011 are named after.
_PEOPLE = (
    "Anna",
    "Baird",
    "Bewick",
    "Brandt",
    "Brewer",
    "Clark",
    "Harris",
    "Heermann",
    "Henslow",
    "Le Conte",
    "Lincoln",
    "Nelson",
    "Scott",
    "Swainson",
    "Wilson",
)
_CUB = {
    "Artic Tern": "Arctic Tern",
    "Forsters Tern": "Forster's Tern",
    "Chuck-will Widow": "Chuck-will's-widow",
    "Whip-poor Will": "Whip-poor-will",
}


def cub(folder: str) -> str:
    """A class of CUB-200-2011 from its folder.

    >>> cub("001.Black_footed_Albatross"), cub("113.Baird_Sparrow")
    ('Black-footed Albatross', "Baird's Sparrow")
    """
    name = re.sub(r"^\d+\.", "", folder)
    name = re.sub(r"_(?=[a-z])", "-", name).replace("_", " ")
    for person in _PEOPLE:
        if name.startswith(f"{person} "):
            return f"{person}'s{name[len(person) :]}"
    return _CUB.get(name, name)


def nabirds_description(name: str) -> str:
    """A visual category of NABirds as one phrase.

    >>> nabirds_description("Hooded Merganser (Breeding male)")
    'Breeding male Hooded Merganser'
    """
    match = re.fullmatch(r"(.+?) \((.+)\)", name)
    return f"{match[2]} {match[1]}" if match else name


def dog(folder: str) -> str:
    """A breed of Stanford Dogs from its folder.

    >>> dog("n02085620-Chihuahua"), dog("n02089078-black-and-tan_coonhound")
    ('Chihuahua', 'black-and-tan coonhound')
    """
    return re.sub(r"^n\d{8}-", "", folder).replace("_", " ")


def car(name: str) -> str:
    """A model of Stanford Cars, the year first.

    >>> car("AM General Hummer SUV 2000"), car("Ram C-V Cargo Van Minivan 2012")
    ('2000 AM General Hummer SUV', '2012 Ram C/V Cargo Van Minivan')
    """
    name = name.strip().replace("Ram C-V", "Ram C/V")
    match = re.fullmatch(r"(.+) (\d{4})", name)
    return f"{match[2]} {match[1]}" if match else name


def pet(image: str) -> str:
    """A breed of Oxford-IIIT Pets from the name of one of its images.

    >>> pet("Abyssinian_100"), pet("american_pit_bull_terrier_7")
    ('Abyssinian', 'American Pit Bull Terrier')
    """
    return re.sub(r"_\d+$", "", image).replace("_", " ").title()


def aircraft_description(variant: str, maker: str) -> str:
    """A variant with its maker, unless it names it already.

    >>> aircraft_description("737-700", "Boeing"), aircraft_description("Cessna 172", "Cessna")
    ('Boeing 737-700', 'Cessna 172')
    """
    return variant if variant.startswith(maker) else f"{maker} {variant}"
