"""What the Aviary draws is the same to the byte wherever and however it is drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from labkit.data.aviary import BENCHMARK, PARTS, SCENES, golden, render
from labkit.data.aviary.drawing import Shot, take, take_all

SHOTS = [Shot(species, 3, i) for i, species in enumerate(BENCHMARK)] * 2
ELSEWHERE = """
import json
from labkit.data.aviary import golden
print(json.dumps(golden.fingerprint()))
"""


def fingerprint_of_another_process(**environment: str) -> dict[str, object]:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ELSEWHERE],
        env=os.environ | {"PYTHONHASHSEED": "123"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


@pytest.mark.slow
def test_one_and_two_workers_draw_the_same_bytes_in_the_same_order() -> None:
    drawn = [
        np.concatenate([*take_all(SHOTS, 32, parts=True, workers=workers)]).tobytes() for workers in (1, 2)
    ]
    assert drawn[0] == drawn[1] == take(SHOTS, 32, parts=True).tobytes()


KILLED = """
import os, signal
from labkit.data.aviary import BENCHMARK
from labkit.data.aviary.drawing import Shot, take_all
shots = [Shot(BENCHMARK[i % 60], 0, i) for i in range(20_000)]
for _ in take_all(shots, 64, workers=2):
    import psutil
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a process on Windows doesn't learn that its parent is gone")
def test_the_workers_of_a_killed_process_end() -> None:
    result = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=300)
    pids = [int(pid) for pid in result.stdout.split()]
    assert len(pids) >= 2
    deadline = time.monotonic() + 120
    while alive := [pid for pid in pids if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.5)


def simd() -> str:
    """What numpy can do on this processor beyond the least that it needs."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))


@pytest.mark.slow
def test_another_process_on_a_lesser_processor_draws_the_same() -> None:
    lesser = {"NPY_DISABLE_CPU_FEATURES": simd(), "OPENBLAS_CORETYPE": "Prescott"}
    assert fingerprint_of_another_process(**lesser) == golden.fingerprint()


def test_a_picture_depends_on_species_seed_and_index() -> None:
    first = render(BENCHMARK[0], 1, 2).image
    assert np.array_equal(first, render(BENCHMARK[0], 1, 2).image)
    for other in ((BENCHMARK[1], 1, 2), (BENCHMARK[0], 2, 2), (BENCHMARK[0], 1, 3)):
        assert (render(*other).image != first).mean() > 0.3


def test_annotating_changes_no_pixel() -> None:
    for i, species in enumerate(BENCHMARK[::6]):
        with_parts, without = (render(species, 0, i, annotate=annotate) for annotate in (True, False))
        assert np.array_equal(with_parts.image, without.image)
        assert without.parts is None


def test_a_scene_changes_the_background_and_leaves_the_bird_in_its_place() -> None:
    for i, species in enumerate(BENCHMARK[::10]):
        pictures = [render(species, 0, i, scene=scene) for scene in SCENES]
        assert [p.scene for p in pictures] == list(SCENES)
        assert len({p.image.tobytes() for p in pictures}) == len(SCENES)
        for picture in pictures[1:]:
            assert np.array_equal(picture.parts, pictures[0].parts)
        drawn = render(species, 0, i)
        assert np.array_equal(drawn.image, render(species, 0, i, scene=drawn.scene).image)


def test_scenes_and_poses_say_nothing_about_the_species() -> None:
    found = [render(species, 0, i, image_size=16) for i in range(40) for species in BENCHMARK[:16]]
    share = [np.mean([p.scene == scene for p in found]) for scene in SCENES]
    assert max(abs(s - 1 / 8) for s in share) < 0.04  # three standard errors of 640 draws
    assert 0.44 < np.mean([p.mirrored for p in found]) < 0.56
    by_species = [[found[i + 16 * k].scene for k in range(40)] for i in range(16)]
    assert all(len(set(scenes)) >= 6 for scenes in by_species)


def test_every_part_is_seen_on_most_pictures_and_birds_fill_them() -> None:
    maps = np.stack([render(species, 0, i).parts for i, species in enumerate(BENCHMARK * 2)])
    for part in range(1, len(PARTS)):
        seen = (maps == part).any((1, 2)).mean()
        assert seen > 0.9, PARTS[part]
    area = (maps > 0).mean((1, 2))
    assert 0.08 < np.median(area) < 0.5
    assert maps.max() < len(PARTS)


@pytest.mark.parametrize("side", [16, 32, 96])
def test_other_sizes_show_the_same_bird(side: int) -> None:
    small, large = render(BENCHMARK[5], 0, 1, image_size=side), render(BENCHMARK[5], 0, 1, image_size=64)
    assert small.image.shape == (side, side, 3)
    assert small.scene == large.scene
    assert small.mirrored == large.mirrored
    assert abs((small.parts > 0).mean() - (large.parts > 0).mean()) < 0.04
