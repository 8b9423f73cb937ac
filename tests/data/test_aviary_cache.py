"""The Aviary's pictures in the cache: whole or not at all, never stale, shared, and not needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from labkit.data.aviary import BENCHMARK, drawing, records
from labkit.data.aviary.drawing import Shot, album, layout, take

SHOTS = [Shot(species, 0, i) for i, species in enumerate(BENCHMARK[:6])]
LAYOUT = layout(16)
WANTED = take(SHOTS, 16)


class Maker:
    """Yields the wanted records and counts how often it is asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Iterator[np.ndarray]:
        self.calls += 1
        yield from (WANTED[:4], WANTED[4:])


@pytest.fixture
def make() -> Maker:
    return Maker()


def kept(make: Callable[[], Iterator[np.ndarray]]) -> np.ndarray:
    return records.kept("toy", LAYOUT, len(WANTED), make)


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.suffix != ".lock" and p.is_file())


def test_records_are_made_once_and_read_back_memory_mapped(alone: Path, make: Maker) -> None:
    first, second = kept(make), kept(make)
    assert make.calls == 1
    assert files(alone) == ["toy.npy"]
    for found in (first, second):
        assert isinstance(found, np.memmap)
        assert found.tobytes() == WANTED.tobytes()
    path = alone / "datasets" / "aviary" / "toy.npy"
    assert np.load(path).tobytes() == WANTED.tobytes()  # an ordinary .npy


def test_writing_to_records_leaves_the_cache_alone(alone: Path, make: Maker) -> None:
    kept(make)["image"][:] = 0
    assert kept(make).tobytes() == WANTED.tobytes()
    assert make.calls == 1


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def cut_off_the_trailer(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x93NUMPY" + bytes(range(256)) * 20)


def zeros_behind_the_header(path: Path) -> None:
    """What a crash between rename and the disk's write may leave on some file systems."""
    content = path.read_bytes()
    path.write_bytes(content[:128] + bytes(len(content) - 128))


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


def something_longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def another_array(path: Path) -> None:
    np.save(path, np.zeros(10))


def pickled_objects(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


DAMAGES = [
    cut_short,
    cut_off_the_trailer,
    empty,
    garbage,
    zeros_behind_the_header,
    one_bit,
    something_longer,
    another_array,
    pickled_objects,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
def test_a_damaged_file_is_noticed_and_made_again(alone: Path, make: Maker, damage: Callable) -> None:
    kept(make)
    path = alone / "datasets" / "aviary" / "toy.npy"
    damage(path)
    assert records.read(path, LAYOUT, len(WANTED)) is None
    assert kept(make).tobytes() == WANTED.tobytes()
    assert make.calls == 2
    assert records.read(path, LAYOUT, len(WANTED)) is not None


def test_an_interrupted_drawing_leaves_nothing_behind(alone: Path, make: Maker) -> None:
    def interrupted() -> Iterator[np.ndarray]:
        yield WANTED[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(interrupted)
    assert files(alone) == []
    assert kept(make).tobytes() == WANTED.tobytes()


def test_without_a_place_to_write_the_birds_are_drawn_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Maker
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="choose a writable LABKIT_CACHE"):
        assert kept(make).tobytes() == WANTED.tobytes()


def test_a_full_disk_costs_the_cache_and_not_the_run(
    alone: Path, monkeypatch: pytest.MonkeyPatch, make: Maker
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records.os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert kept(make).tobytes() == WANTED.tobytes()
    assert files(alone) == []


def test_shots_sizes_and_parts_have_files_of_their_own(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album("x", SHOTS, 16)
    album("x", SHOTS[::-1], 16)
    album("x", [s._replace(scene="sea") for s in SHOTS], 16)
    album("x", [s._replace(seed=1) for s in SHOTS], 16)
    album("x", SHOTS, 24)
    album("x", SHOTS, 16, parts=True)
    names = files(alone)
    assert len(names) == 6
    album("x", SHOTS, 16)
    assert files(alone) == names
    monkeypatch.setattr(drawing, "WORLD", "another world")  # its sources, version or libraries changed
    album("x", SHOTS, 16)
    assert len(files(alone)) == 7


def test_the_key_of_the_world_covers_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    assert records._world() == records.WORLD
    monkeypatch.setattr(records, "AVIARY_VERSION", 999)
    assert records._world() != records.WORLD
    package = Path(records.__file__).parent
    others = {f"{name}.py" for name in records._NOT_THE_WORLD}
    drawn_by = {p.name for p in package.glob("*.py")} - others
    assert {"world.py", "paint.py", "scene.py", "render.py"} <= drawn_by
    assert others <= {p.name for p in package.glob("*.py")}


RACER = """
import sys
import numpy as np
from labkit.data.aviary import BENCHMARK, drawing
from labkit.data.aviary.drawing import Shot, album, take_all

def watched(*arguments, **options):
    print("drew", flush=True)
    yield from take_all(*arguments, **options)

drawing.take_all = watched
found = album("race", [Shot(BENCHMARK[i % 60], 0, i) for i in range(300)], 16)
print("sum", int(found["image"].sum(dtype=np.int64)), flush=True)
"""


@pytest.mark.slow
def test_processes_at_once_draw_once_and_read_the_same(alone: Path) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [racer.communicate(timeout=120)[0].split("\n") for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sum(lines.count("drew") for lines in outputs) == 1
    assert len({line for lines in outputs for line in lines if line.startswith("sum")}) == 1


SCRIPT = """
import labkit
from labkit.data.aviary import BENCHMARK, drawing
drawing._POOL_FROM = 0  # also few pictures go to the workers
data = labkit.data.load("aviary", size="mini", image_size=16)
print(len(data.train))
"""


@pytest.mark.slow
def test_a_script_without_a_main_guard_may_draw_with_workers(alone: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert result.stdout.split() == ["240"], result.stderr
