"""CUB-200-2011 and its first 50 classes: replicas of the archive, all that can break, and the real files."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fine_grained_replicas import CUB_NAMES, Pictures, cub, evaluated, even
from test_fetch import mirror

from labkit import LabkitError, data
from labkit.data.fine_grained import cub as reader
from labkit.data.names import cub as clean
from labkit.data.prompts import templates
from labkit.errors import MissingError
from labkit.paths import datasets

TRAIN, TEST = [3, 4, 3], [2, 3, 4]


@pytest.fixture
def small(alone: Path, tmp_path: Path) -> Path:
    """CUB_200_2011 with three classes."""
    return cub(tmp_path / "sets", TRAIN, TEST, Pictures(tmp_path))


def load(root: Path, **options: object) -> data.DataModule:
    return data.load("cub200", root=root, image_size=8, complete=False, **options)


@pytest.mark.slow
def test_the_whole_set(alone: Path, tmp_path: Path) -> None:
    root = cub(tmp_path, even(5994, 200), even(5794, 200), Pictures(tmp_path, shared=True))
    module = data.load("cub200", root=root, image_size=4)
    assert [len(s) for s in (module.train, module.val, module.test)] == [5394, 600, 5794]
    assert module.num_classes == len(set(module.classes)) == 200
    (root / "images" / "007.Parakeet_Auklet").rename(tmp_path / "gone")
    with pytest.raises(MissingError, match=r"59 of the 11,788 images that images.txt .* first is images/007"):
        data.load("cub200", root=root, image_size=4)


def test_images_labels_ids_and_names(small: Path) -> None:
    module = load(small.parent)
    ids = torch.cat([s.ids for s in (module.train, module.val, module.test)])
    assert sorted(ids.tolist()) == list(range(19))
    files = [line.split()[1] for line in (small / "images.txt").read_text().splitlines()]
    is_training = [line.split()[1] for line in (small / "train_test_split.txt").read_text().splitlines()]
    for split in (module.train, module.val, module.test):
        paths = [small / "images" / files[i] for i in split.ids]
        assert torch.equal(split.fetch(range(len(split))), evaluated(paths, 8))
        assert split.labels.tolist() == [int(path.parent.name[:3]) - 1 for path in paths]
        assert {is_training[i] for i in split.ids} == {"0" if split is module.test else "1"}
    assert module.classes == ("Black-footed Albatross", "Laysan Albatross", "Sooty Albatross")
    assert module.prompts(templates("cub200")[0])[1] == ("a photo of a Laysan Albatross, a type of bird.")
    assert module.augment == data.Augment.named("rrc-imagenet")


def test_the_seed_draws_validation_and_budget_and_nothing_else(small: Path) -> None:
    a, b = (load(small, seed=seed, per_class=1) for seed in (0, 1))
    assert torch.equal(a.test.ids, b.test.ids)
    assert any(not torch.equal(load(small, seed=s).val.ids, a.val.ids) for s in range(1, 6))
    assert torch.bincount(a.train.labels).tolist() == [1, 1, 1]
    assert torch.bincount(a.val.labels).tolist() == [1, 1, 1]  # at least one of every class


def test_it_is_found_in_the_folder_of_data_sets(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not next(i for i in data.info() if i.name == "cub200").present
    monkeypatch.setenv("LABKIT_DATASETS", str(small.parent))
    assert next(i for i in data.info() if i.name == "cub200").present
    with pytest.raises(LabkitError) as caught:
        data.load("cub200")
    assert str(caught.value).startswith(
        "'cub200' has 5,994 train, 5,794 test images of 200 classes, but images.txt and train_test_split.txt"
        f" in {small} list 10 train, 9 test images of 3 classes: unpack the archive of 'cub200' again,"
        " or load with complete=False"
    )


def test_blank_lines_mean_nothing(small: Path) -> None:
    for name in ("images.txt", "classes.txt"):
        (small / name).write_text("\n" + (small / name).read_text() + "\n  \n")
    assert len(load(small).test) == 9


def first_image(root: Path) -> Path:
    return next((root / "images").rglob("*.jpg"))


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace the first `old` in an annotation file."""

    def change(root: Path) -> None:
        path = root / name
        text = path.read_text()
        assert re.search(old, text, re.M)
        path.write_text(re.sub(old, new, text, count=1, flags=re.M))

    return change


def rename(root: Path) -> None:
    path = root / "images" / "002.Laysan_Albatross" / "Laysan_Albatross_0001_796112.jpg"
    path.rename(path.with_name("Laysan-1.jpg"))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "half unpacked": (
        lambda root: [p.unlink() for p in (root / "images" / "003.Sooty_Albatross").iterdir()],
        r"7 of the 19 images that images.txt and train_test_split.txt list are missing in {root}, the first"
        r" is images/003.Sooty_Albatross/Sooty_Albatross_0000_796111.jpg: unpack the archive of 'cub200'"
        r" again.$",
    ),
    "renamed": (
        rename,
        r"1 of the 19 images .* 1 other images are listed nowhere, such as"
        r" images/002.Laysan_Albatross/Laysan-1.jpg: were they renamed\?$",
    ),
    "empty image": (
        lambda root: first_image(root).write_bytes(b""),
        r"1 of the 19 images in {root} are empty files, the first is images/.*jpg: unpack",
    ),
    "damaged image": (
        lambda root: first_image(root).write_bytes(first_image(root).read_bytes()[:400]),
        r"Can't read the image {root}/images/.*jpg \(.*\): unpack the archive of 'cub200' again.$",
    ),
    "no split": (
        lambda root: (root / "train_test_split.txt").unlink(),
        r"'cub200' in {root} is incomplete, train_test_split.txt is missing: unpack",
    ),
    "no classes": (lambda root: (root / "classes.txt").unlink(), r".* classes.txt is missing"),
    "empty list": (lambda root: (root / "images.txt").write_text(""), r"{root}/images.txt is empty: unpack"),
    "binary list": (
        lambda root: (root / "images.txt").write_bytes(b"\xff\xfe1"),
        r"Can't read {root}/images.txt",
    ),
    "short line": (
        edit("images.txt", r"^4 .*$", "4"),
        r"Line 4 of {root}/images.txt should have 2 columns, but it is '4': unpack",
    ),
    "unknown image": (
        edit("image_class_labels.txt", r"^5 ", "55 "),
        r"{root}/image_class_labels.txt and images.txt know different images \(2 .* first is 5\): unpack",
    ),
    "unknown class": (
        edit("image_class_labels.txt", r"^5 1$", "5 7"),
        r"Image 5 of 'cub200' in {root} has the class '7', which is not in classes.txt",
    ),
    "no such split": (
        edit("train_test_split.txt", r"^5 \d", "5 2"),
        r"Image 5 in .* is marked '2' instead of",
    ),
    "an image twice": (
        edit("images.txt", r"^2 .*$", "2 001.Black_footed_Albatross/Black_Footed_Albatross_0000_796111.jpg"),
        r"The image 'images/001.* stands 2 times in images.txt",
    ),
    "a class twice": (
        edit("classes.txt", "Sooty", "Laysan"),
        r"The class 'Laysan Albatross' stands 2 times in images.txt",
    ),
    "a class without images": (
        edit("classes.txt", r"\Z", "4 004.Groove_billed_Ani\n"),
        r"The class 'Groove-billed Ani' has no train images in .* \(1 of 4 classes\): unpack",
    ),
    "ids that are no numbers": (
        lambda root: [
            edit(name, "^3 ", "three ")(root)
            for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt")
        ],
        r"The ids in {root}/images.txt should be numbers",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_answered_with_one_sentence(small: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(small)
    with pytest.raises(LabkitError) as caught:
        load(small)
    assert re.match(message.replace("{root}", re.escape(str(small))), str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_without_test_images_is_refused(alone: Path, tmp_path: Path) -> None:
    root = cub(tmp_path, [3, 3], [2, 0], Pictures(tmp_path))
    with pytest.raises(LabkitError, match="The class 'Laysan Albatross' has no test images"):
        load(root)


def test_files_that_labkit_fetched_are_mended_by_fetching_again(alone: Path) -> None:
    root = cub(alone / "datasets" / "cub200", TRAIN, TEST, Pictures(alone.parent))
    first_image(root).unlink()
    with pytest.raises(
        MissingError, match=r"run `labkit data remove cub200` and fetch it again \(`labkit data"
    ):
        data.load("cub200", complete=False)
    assert data.remove("cub200")
    with pytest.raises(MissingError, match="was not found"):
        data.load("cub200")


@pytest.mark.parametrize("name", ["cub200", "cub50", "aircraft", "cars", "dogs", "nabirds", "pets"])
def test_what_is_missing_is_named_with_size_licence_and_command(
    alone: Path, tmp_path: Path, name: str
) -> None:
    facts = next(i for i in data.info() if i.name == name)
    for options in ({}, {"root": tmp_path}):
        with pytest.raises(MissingError) as caught:
            data.load(name, **options)
        for part in (f"'{name}'", facts.size, facts.licence, facts.fetch, "LABKIT_PROFILE=cpu"):
            assert part in str(caught.value)
    assert not facts.present
    by_hand = "hand" in facts.size
    assert (f"labkit data get {name}" in facts.fetch) != by_hand
    if by_hand:
        with pytest.raises(LabkitError, match=f"labkit can't fetch '{name}': "):
            data.get(name)


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("cub200", "CUB_200_2011.tgz"),
        ("aircraft", "fgvc-aircraft-2013b.tar.gz"),
        ("nabirds", "nabirds.tar.gz"),
        ("cars", "cars_test.tgz"),
    ],
)
def test_a_packed_archive_is_to_be_unpacked(alone: Path, tmp_path: Path, name: str, archive: str) -> None:
    (tmp_path / archive).write_bytes(b"packed")
    with pytest.raises(
        MissingError, match=f"'{name}' is there, but packed: unpack it with `tar xf {tmp_path}"
    ):
        data.load(name, root=tmp_path)


def test_a_fetched_archive_is_unpacked_and_checked(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = cub(tmp_path / "made", TRAIN, TEST, Pictures(tmp_path))
    (tmp_path / "www").mkdir()
    tgz = tmp_path / "www" / "CUB_200_2011.tgz"
    with tarfile.open(tgz, "w:gz") as file:
        file.add(root, "CUB_200_2011")
    md5 = hashlib.md5(tgz.read_bytes()).hexdigest()
    with mirror(tmp_path / "www") as url:
        monkeypatch.setattr(reader, "_ARCHIVE", (f"{url}{tgz.name}", "0" * 32))
        with pytest.raises(MissingError, match=r"download of 'cub200' broke off .*LABKIT_PROFILE=cpu"):
            data.get("cub200")
        with pytest.raises(MissingError, match="was not found"):
            data.load("cub200")
        monkeypatch.setattr(reader, "_ARCHIVE", (f"{url}{tgz.name}", md5))
        assert data.get("cub200") == alone / "datasets" / "cub200" / "CUB_200_2011"
    assert len(data.load("cub200", complete=False, image_size=8).test) == sum(TEST)
    assert not list(alone.rglob("*.tgz"))


@pytest.fixture
def tar(alone: Path, tmp_path: Path) -> Path:
    """cub200_2011_50_160.tar with two test and three training images of each of the 50 classes."""
    root = cub(tmp_path / "made", [3] * 50, [2] * 50, Pictures(tmp_path, shared=True))
    path = tmp_path / "sets" / "cub200_2011_50_160.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as file:
        file.add(root, path.stem)
    return path


def test_the_small_tar_file(alone: Path, tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"image_size": 8, "complete": False}
    module = data.load("cub50", root=tar, **options)
    assert [len(s) for s in (module.train, module.val, module.test)] == [100, 50, 100]
    assert module.classes[8:10] == ("Brewer's Blackbird", "Red-winged Blackbird")
    monkeypatch.setenv("LABKIT_DATASETS", str(tar.parent))
    for again in (data.load("cub50", **options), data.load("cub50", root=tar.parent, **options)):
        assert torch.equal(again.test.fetch(range(100)), module.test.fetch(range(100)))
    assert len(list((alone / "datasets" / "cub50").glob("unpacked-*"))) == 1
    assert len(list(alone.rglob("*.npy"))) == 1
    with tarfile.open(tar) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    assert len(data.load("cub50", root=tmp_path / "unpacked", **options).test) == 100
    with pytest.raises(LabkitError, match=r"'cub50' has 1,500 train, 1,389 test images of 50 classes, but"):
        data.load("cub50")
    with pytest.raises(MissingError, match=r"'cub200' .*was not found"):  # a part is not the whole
        data.load("cub200")
    assert data.remove("cub50")
    assert tar.is_file()
    assert not list(alone.rglob("*.npy"))


def test_the_whole_set_contains_its_first_50_classes(alone: Path, tmp_path: Path) -> None:
    root = cub(tmp_path, [2] * 60, [1] * 60, Pictures(tmp_path, shared=True))
    module = data.load("cub50", root=root, image_size=4, complete=False)
    assert [len(s) for s in (module.train, module.val, module.test)] == [50, 50, 50]
    assert module.classes[-1] == "Eared Grebe"


def test_a_damaged_tar_file_is_named(alone: Path, tar: Path) -> None:
    tar.write_bytes(tar.read_bytes()[:20_000])
    with pytest.raises(LabkitError, match=f"Can't unpack {tar} into .* copy it again"):
        data.load("cub50", root=tar)
    assert not list((alone / "datasets" / "cub50").glob("*unpacked-*"))


def test_every_published_name_reads_as_english() -> None:
    names = [clean(f"{i + 1:03d}.{name}") for i, name in enumerate(CUB_NAMES)]
    assert len(set(names)) == 200
    assert not [name for name in names if re.search(r"[_.\d]", name)]
    wanted = {
        "Groove_billed_Ani": "Groove-billed Ani",
        "Chuck_will_Widow": "Chuck-will's-widow",
        "Gray_crowned_Rosy_Finch": "Gray-crowned Rosy Finch",
        "Blue_Jay": "Blue Jay",
        "Whip_poor_Will": "Whip-poor-will",
        "Geococcyx": "Geococcyx",
        "Harris_Sparrow": "Harris's Sparrow",
        "Le_Conte_Sparrow": "Le Conte's Sparrow",
        "Nelson_Sharp_tailed_Sparrow": "Nelson's Sharp-tailed Sparrow",
        "Artic_Tern": "Arctic Tern",
        "Forsters_Tern": "Forster's Tern",
        "Black_and_white_Warbler": "Black-and-white Warbler",
        "American_Three_toed_Woodpecker": "American Three-toed Woodpecker",
    }
    assert {raw: names[CUB_NAMES.index(raw)] for raw in wanted} == wanted
    assert sum("'s" in name for name in names) == 18  # 16 of somebody, Forster's tern, Chuck-will's-widow


@pytest.mark.skipif(
    datasets() is None or not (datasets() / "cub200_2011_50_160.tar").is_file(),
    reason="LABKIT_DATASETS has no cub200_2011_50_160.tar",
)
def test_the_real_first_50_classes() -> None:
    module = data.load("cub50", image_size=64)
    assert [len(s) for s in (module.train, module.val, module.test)] == [1350, 150, 1389]
    assert torch.bincount(module.test.labels).tolist()[:3] == [30, 30, 28]
    assert module.classes == tuple(clean(name) for name in CUB_NAMES[:50])
    assert module.test.ids[0] == 0  # image 1 is a test image
    mean = module.test.fetch(range(300)).float().mean((0, 2, 3))
    assert ((mean > 90) & (mean < 150)).all()
