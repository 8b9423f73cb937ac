"""Replicas of the official archives of the fine-grained sets, as large or as small as a test wants.

`Pictures` are either all different, for tests that look at pixels, or one file under many names (hard links),
for replicas with the official number of images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from labkit.data.images import decode_all

# classes.txt of CUB-200-2011, numbers left out
CUB_NAMES = [
    "Black_footed_Albatross",
    "Laysan_Albatross",
    "Sooty_Albatross",
    "Groove_billed_Ani",
    "Crested_Auklet",
    "Least_Auklet",
    "Parakeet_Auklet",
    "Rhinoceros_Auklet",
    "Brewer_Blackbird",
    "Red_winged_Blackbird",
    "Rusty_Blackbird",
    "Yellow_headed_Blackbird",
    "Bobolink",
    "Indigo_Bunting",
    "Lazuli_Bunting",
    "Painted_Bunting",
    "Cardinal",
    "Spotted_Catbird",
    "Gray_Catbird",
    "Yellow_breasted_Chat",
    "Eastern_Towhee",
    "Chuck_will_Widow",
    "Brandt_Cormorant",
    "Red_faced_Cormorant",
    "Pelagic_Cormorant",
    "Bronzed_Cowbird",
    "Shiny_Cowbird",
    "Brown_Creeper",
    "American_Crow",
    "Fish_Crow",
    "Black_billed_Cuckoo",
    "Mangrove_Cuckoo",
    "Yellow_billed_Cuckoo",
    "Gray_crowned_Rosy_Finch",
    "Purple_Finch",
    "Northern_Flicker",
    "Acadian_Flycatcher",
    "Great_Crested_Flycatcher",
    "Least_Flycatcher",
    "Olive_sided_Flycatcher",
    "Scissor_tailed_Flycatcher",
    "Vermilion_Flycatcher",
    "Yellow_bellied_Flycatcher",
    "Frigatebird",
    "Northern_Fulmar",
    "Gadwall",
    "American_Goldfinch",
    "European_Goldfinch",
    "Boat_tailed_Grackle",
    "Eared_Grebe",
    "Horned_Grebe",
    "Pied_billed_Grebe",
    "Western_Grebe",
    "Blue_Grosbeak",
    "Evening_Grosbeak",
    "Pine_Grosbeak",
    "Rose_breasted_Grosbeak",
    "Pigeon_Guillemot",
    "California_Gull",
    "Glaucous_winged_Gull",
    "Heermann_Gull",
    "Herring_Gull",
    "Ivory_Gull",
    "Ring_billed_Gull",
    "Slaty_backed_Gull",
    "Western_Gull",
    "Anna_Hummingbird",
    "Ruby_throated_Hummingbird",
    "Rufous_Hummingbird",
    "Green_Violetear",
    "Long_tailed_Jaeger",
    "Pomarine_Jaeger",
    "Blue_Jay",
    "Florida_Jay",
    "Green_Jay",
    "Dark_eyed_Junco",
    "Tropical_Kingbird",
    "Gray_Kingbird",
    "Belted_Kingfisher",
    "Green_Kingfisher",
    "Pied_Kingfisher",
    "Ringed_Kingfisher",
    "White_breasted_Kingfisher",
    "Red_legged_Kittiwake",
    "Horned_Lark",
    "Pacific_Loon",
    "Mallard",
    "Western_Meadowlark",
    "Hooded_Merganser",
    "Red_breasted_Merganser",
    "Mockingbird",
    "Nighthawk",
    "Clark_Nutcracker",
    "White_breasted_Nuthatch",
    "Baltimore_Oriole",
    "Hooded_Oriole",
    "Orchard_Oriole",
    "Scott_Oriole",
    "Ovenbird",
    "Brown_Pelican",
    "White_Pelican",
    "Western_Wood_Pewee",
    "Sayornis",
    "American_Pipit",
    "Whip_poor_Will",
    "Horned_Puffin",
    "Common_Raven",
    "White_necked_Raven",
    "American_Redstart",
    "Geococcyx",
    "Loggerhead_Shrike",
    "Great_Grey_Shrike",
    "Baird_Sparrow",
    "Black_throated_Sparrow",
    "Brewer_Sparrow",
    "Chipping_Sparrow",
    "Clay_colored_Sparrow",
    "House_Sparrow",
    "Field_Sparrow",
    "Fox_Sparrow",
    "Grasshopper_Sparrow",
    "Harris_Sparrow",
    "Henslow_Sparrow",
    "Le_Conte_Sparrow",
    "Lincoln_Sparrow",
    "Nelson_Sharp_tailed_Sparrow",
    "Savannah_Sparrow",
    "Seaside_Sparrow",
    "Song_Sparrow",
    "Tree_Sparrow",
    "Vesper_Sparrow",
    "White_crowned_Sparrow",
    "White_throated_Sparrow",
    "Cape_Glossy_Starling",
    "Bank_Swallow",
    "Barn_Swallow",
    "Cliff_Swallow",
    "Tree_Swallow",
    "Scarlet_Tanager",
    "Summer_Tanager",
    "Artic_Tern",
    "Black_Tern",
    "Caspian_Tern",
    "Common_Tern",
    "Elegant_Tern",
    "Forsters_Tern",
    "Least_Tern",
    "Green_tailed_Towhee",
    "Brown_Thrasher",
    "Sage_Thrasher",
    "Black_capped_Vireo",
    "Blue_headed_Vireo",
    "Philadelphia_Vireo",
    "Red_eyed_Vireo",
    "Warbling_Vireo",
    "White_eyed_Vireo",
    "Yellow_throated_Vireo",
    "Bay_breasted_Warbler",
    "Black_and_white_Warbler",
    "Black_throated_Blue_Warbler",
    "Blue_winged_Warbler",
    "Canada_Warbler",
    "Cape_May_Warbler",
    "Cerulean_Warbler",
    "Chestnut_sided_Warbler",
    "Golden_winged_Warbler",
    "Hooded_Warbler",
    "Kentucky_Warbler",
    "Magnolia_Warbler",
    "Mourning_Warbler",
    "Myrtle_Warbler",
    "Nashville_Warbler",
    "Orange_crowned_Warbler",
    "Palm_Warbler",
    "Pine_Warbler",
    "Prairie_Warbler",
    "Prothonotary_Warbler",
    "Swainson_Warbler",
    "Tennessee_Warbler",
    "Wilson_Warbler",
    "Worm_eating_Warbler",
    "Yellow_Warbler",
    "Northern_Waterthrush",
    "Louisiana_Waterthrush",
    "Bohemian_Waxwing",
    "Cedar_Waxwing",
    "American_Three_toed_Woodpecker",
    "Pileated_Woodpecker",
    "Red_bellied_Woodpecker",
    "Red_cockaded_Woodpecker",
    "Red_headed_Woodpecker",
    "Downy_Woodpecker",
    "Bewick_Wren",
    "Cactus_Wren",
    "Carolina_Wren",
    "House_Wren",
    "Marsh_Wren",
    "Rock_Wren",
    "Winter_Wren",
    "Common_Yellowthroat",
]


class Pictures:
    """Writes pictures: each another one, or (shared) all the same file.

    Args:
        folder: where the shared file lies.
        shared: write one file and link to it.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self.generator = np.random.default_rng(0)
        self.shared = folder / "shared.jpg" if shared else None
        self.folders: set[str] = set()
        if self.shared:
            self._save(self.shared)

    def _save(self, path: Path) -> None:
        pixels = self.generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((36, 48), Image.Resampling.BICUBIC).save(path, format="JPEG")

    def __call__(self, path: Path) -> None:
        folder = os.path.dirname(path)
        if folder not in self.folders:
            os.makedirs(folder, exist_ok=True)
            self.folders.add(folder)
        if self.shared:
            os.link(self.shared, path)
        else:
            self._save(path)


def evaluated(files: Sequence[Path], size: int) -> Tensor:
    """What evaluation sees of photographs: the short side resized to 1.14 times the size, then the middle."""
    return center_crop(decode_all(files, round(1.14 * size)), [size, size])


def even(total: int, classes: int) -> list[int]:
    """`total` images over `classes` as evenly as possible."""
    return [total // classes + (i < total % classes) for i in range(classes)]


def _lines(path: Path, rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


def cub(root: Path, train: Sequence[int], test: Sequence[int], pictures: Pictures) -> Path:
    """CUB_200_2011 with so many training and test images in each of the first classes, the splits mixed."""
    root, rows = root / "CUB_200_2011", []
    for label, (n, m) in enumerate(zip(train, test, strict=True)):
        folder = f"{label + 1:03d}.{CUB_NAMES[label]}"
        for i in range(n + m):
            is_training = i % 2 == 0 if i < 2 * min(n, m) else n > m
            rows.append(
                (f"{folder}/{CUB_NAMES[label].title()}_{i:04d}_{796111 + i}.jpg", label + 1, is_training)
            )
    for file, _, _ in rows:
        pictures(root / "images" / file)
    ids = range(1, len(rows) + 1)
    _lines(root / "images.txt", [(i, file) for i, (file, _, _) in zip(ids, rows, strict=True)])
    _lines(root / "image_class_labels.txt", [(i, row[1]) for i, row in zip(ids, rows, strict=True)])
    _lines(root / "train_test_split.txt", [(i, int(row[2])) for i, row in zip(ids, rows, strict=True)])
    _lines(root / "bounding_boxes.txt", [(i, 60.0, 27.0, 325.0, 304.0) for i in ids])
    _lines(root / "classes.txt", [(i + 1, f"{i + 1:03d}.{CUB_NAMES[i]}") for i in range(len(train))])
    return root


def nabirds(root: Path, train: Sequence[int], test: Sequence[int], pictures: Pictures) -> Path:
    """The folder nabirds: a tree of classes, of which the leaves have images, and ids with dashes."""
    root, rows, first = root / "nabirds", [], 456  # nodes 0..455 of the tree have no images
    for label, (n, m) in enumerate(zip(train, test, strict=True)):
        for i in range(n + m):
            key = f"{label:04x}-{i:04x}-4262"
            rows.append((key, f"{first + label:04d}/{key.replace('-', '')}.jpg", first + label, int(i < n)))
    rows.sort(key=lambda row: row[0][::-1])  # as in the original, in no order of classes
    for _, file, _, _ in rows:
        pictures(root / "images" / file)
    _lines(root / "images.txt", [row[:2] for row in rows])
    _lines(root / "image_class_labels.txt", [(row[0], row[2]) for row in rows])
    _lines(root / "train_test_split.txt", [(row[0], row[3]) for row in rows])
    plumages = ("(Breeding male)", "(Female/juvenile)", "")
    nodes = [(i, f"Order {i}") for i in range(first)]
    leaves = [(first + i, f"Duck, number {i} {plumages[i % 3]}".strip()) for i in range(len(train))]
    _lines(root / "classes.txt", [*nodes, *leaves])
    _lines(root / "hierarchy.txt", [(first + i, i % first) for i in range(len(train))])
    return root


def aircraft(root: Path, counts: dict[str, Sequence[int]], pictures: Pictures) -> Path:
    """fgvc-aircraft-2013b with so many images of each variant per split."""
    data = root / "fgvc-aircraft-2013b" / "data"
    n = len(next(iter(counts.values())))
    variants = ["707-320", "Cessna 172", "F-16A/B", *(f"A{i}00" for i in range(n))][:n]
    makers = ["Boeing", "Cessna", "Lockheed Martin", *["Airbus"] * n][:n]
    number = 34308
    for split, sizes in counts.items():
        rows = []
        for i in range(max(sizes)):
            for label, size in enumerate(sizes):
                if i < size:
                    number += 1
                    rows.append((f"{number:07d}", label))
                    pictures(data / "images" / f"{number:07d}.jpg")
        _lines(data / f"images_variant_{split}.txt", [(key, variants[label]) for key, label in rows])
        _lines(data / f"images_manufacturer_{split}.txt", [(key, makers[label]) for key, label in rows])
    (data / "variants.txt").write_text("\n".join(variants) + "\n")
    return root / "fgvc-aircraft-2013b"


def car_names(n: int) -> list[str]:
    """The first of the 196 and as many more."""
    first = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012"]
    return [*first, *(f"Volvo {i} Sedan 1993" for i in range(n))][:n]


def _car_rows(sizes: Sequence[int]) -> list[int]:
    """Labels in an order without order."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(1).permutation(labels).tolist()


_BOX = [("bbox_x1", "O"), ("bbox_y1", "O"), ("bbox_x2", "O"), ("bbox_y2", "O")]


def _cells(values: Sequence[str]) -> np.ndarray:
    out = np.empty((1, len(values)), object)
    out[0] = list(values)
    return out


def cars(root: Path, train: Sequence[int], test: Sequence[int], pictures: Pictures) -> Path:
    """stanford_cars as the four archives unpack, and as torchvision reads it."""
    root = root / "stanford_cars"
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": _cells(car_names(len(train)))})
    places = {
        "train": root / "devkit" / "cars_train_annos.mat",
        "test": root / "cars_test_annos_withlabels.mat",
    }
    for split, sizes in (("train", train), ("test", test)):
        labels = _car_rows(sizes)
        table = np.empty((1, len(labels)), [*_BOX, ("class", "O"), ("fname", "O")])
        for i, label in enumerate(labels):
            table[0, i] = (1, 1, 30, 40, label + 1, f"{i + 1:05d}.jpg")
            pictures(root / f"cars_{split}" / f"{i + 1:05d}.jpg")
        savemat(places[split], {"annotations": table})
    unlabelled = np.empty((1, sum(test)), [*_BOX, ("fname", "O")])
    for i in range(sum(test)):
        unlabelled[0, i] = (1, 1, 30, 40, f"{i + 1:05d}.jpg")
    savemat(root / "devkit" / "cars_test_annos.mat", {"annotations": unlabelled})
    return root


def cars_one_list(root: Path, train: Sequence[int], test: Sequence[int], pictures: Pictures) -> Path:
    """The older layout: car_ims and cars_annos.mat."""
    root = root / "stanford_cars"
    rows = [(label, 0) for label in _car_rows(train)] + [(label, 1) for label in _car_rows(test)]
    rows = [rows[i] for i in np.random.default_rng(2).permutation(len(rows))]
    table = np.empty((1, len(rows)), [("relative_im_path", "O"), *_BOX, ("class", "O"), ("test", "O")])
    for i, (label, is_test) in enumerate(rows):
        file = f"car_ims/{i + 1:06d}.jpg"
        table[0, i] = (file, 1, 1, 30, 40, label + 1, is_test)
        pictures(root / file)
    savemat(root / "cars_annos.mat", {"annotations": table, "class_names": _cells(car_names(len(train)))})
    return root


def cars_folders(root: Path, train: Sequence[int], test: Sequence[int], pictures: Pictures) -> Path:
    """car_data/car_data/{train,test}/<class>/*, the copy that is most common today."""
    root = root / "car_data" / "car_data"
    for split, sizes in (("train", train), ("test", test)):
        for label, size in enumerate(sizes):
            for i in range(size):
                name = car_names(len(sizes))[label].replace("/", "-")
                pictures(root / split / name / f"{label}{i:04d}.jpg")
    return root


def dogs(root: Path, train: Sequence[int], test: Sequence[int], pictures: Pictures) -> Path:
    """The folder StanfordDogs: Images and the three lists."""
    root = root / "StanfordDogs"
    breeds = ["n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02089078-black-and-tan_coonhound"]
    breeds += [f"n0{2090000 + i}-breed_{i}" for i in range(len(train))]
    for split, sizes, start in (("train", train, [0] * len(train)), ("test", test, train)):
        files = [
            f"{breeds[label]}/{breeds[label][:9]}_{start[label] + i}.jpg"
            for label, size in enumerate(sizes)
            for i in range(size)
        ]
        labels = np.repeat(np.arange(1, len(sizes) + 1), sizes)
        for file in files:
            pictures(root / "Images" / file)
        columns = {"file_list": _cells(files).T, "labels": labels[:, None].astype(float)}
        savemat(root / f"{split}_list.mat", columns | {"annotation_list": _cells(files).T})
    return root


def pets(root: Path, train: Sequence[int], test: Sequence[int], pictures: Pictures) -> Path:
    """oxford-iiit-pet: names of files are breeds, two of them with the same first word."""
    root = root / "oxford-iiit-pet"
    breeds = ["Abyssinian", "american_bulldog", "american_pit_bull_terrier"]
    breeds += [f"breed_{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(len(train))]
    number = dict.fromkeys(breeds, 0)
    for name, sizes in (("trainval", train), ("test", test)):
        rows = []
        for label, size in enumerate(sizes):
            for _ in range(size):
                number[breeds[label]] += 1
                image = f"{breeds[label]}_{number[breeds[label]]}"
                rows.append((image, label + 1, 1 + (label > 0), label + 1))
                pictures(root / "images" / f"{image}.jpg")
        _lines(root / "annotations" / f"{name}.txt", rows)
    return root
