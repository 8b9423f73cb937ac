"""Run folders and checkpoints that are taken, damaged, of something else, or can't be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from engine_toys import Noisy, TwoStages, classifier, digest, images, net, scratch, sentence, toy

from labkit import methods
from labkit.engine import Run, fit, load_run
from labkit.errors import MissingError

SETTINGS = {"epochs": 2, "batch_size": 8, "device": "cpu"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return fit(scratch(), toy(), out=tmp_path / "run", **SETTINGS)


def test_folder_that_holds_a_run(run: Run):
    before = digest(load_run(run.folder).model)
    text = sentence(lambda: fit(scratch(), toy(), out=run.folder, **SETTINGS))
    assert "already holds a run: pass resume=True to go on, overwrite=True to replace it" in text
    assert digest(load_run(run.folder).model) == before
    again = fit(scratch(), toy(), out=run.folder, overwrite=True, seed=1, **SETTINGS)
    assert again.losses != run.losses


def test_overwrite_leaves_nothing_of_the_old_run(tmp_path):
    fit(TwoStages(classifier()), toy(), out=tmp_path, **SETTINGS)
    fit(scratch(), toy(), out=tmp_path, overwrite=True, **SETTINGS)
    assert not list(tmp_path.glob("stage*/*"))
    assert load_run(tmp_path).history["stage"] == ["scratch"] * 2


def test_resume_with_another_model(run: Run):
    text = sentence(
        lambda: fit(scratch(classifier(hidden=9)), toy(), out=run.folder, resume=True, **SETTINGS)
    )
    assert "of another model: model.hidden is 8 there and 9 here" in text
    method = Noisy(net())  # no config to compare, but other weights
    method.name = "scratch"
    assert "of another model" in sentence(lambda: fit(method, toy(), out=run.folder, resume=True, **SETTINGS))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"lr": 0.5}, "started with recipe.lr = 0.001, not 0.5"),
        ({"epochs": 3}, "started with epochs = 2, not 3"),
        ({"seed": 1}, "started with recipe.seed = 0, not 1"),
        ({"augment": None}, "started with augment"),
        ({"optimizer": "sgd"}, "recipe.optimizer = adamw, not sgd"),
    ],
)
def test_resume_with_other_settings(run: Run, options: dict, part: str):
    text = sentence(lambda: fit(scratch(), toy(), out=run.folder, resume=True, **{**SETTINGS, **options}))
    assert part in text
    assert "resume with the same settings" in text


def test_resume_with_other_images_or_another_method(run: Run):
    other = replace(toy(), train=images(40, 9))
    assert "data.images" in sentence(lambda: fit(scratch(), other, out=run.folder, resume=True, **SETTINGS))
    method = methods.create("label_smoothing", student=classifier())
    assert "method.name = scratch, not label_smoothing" in sentence(
        lambda: fit(method, toy(), out=run.folder, resume=True, **SETTINGS)
    )


def lengths(size: int, header: int) -> dict[str, int]:
    return {
        "empty": 0,
        "size cut": 4,
        "header cut": 8 + header // 2,
        "header only": 8 + header,
        "data cut": size - 1,
    }


@pytest.mark.parametrize("cut", ["empty", "size cut", "header cut", "header only", "data cut"])
def test_truncated_checkpoints(run: Run, cut: str):
    for name in ("last", "best"):
        path = run.folder / f"{name}.safetensors"
        content = path.read_bytes()
        header = int.from_bytes(content[:8], "little")
        path.write_bytes(content[: lengths(len(content), header)[cut]])
    text = sentence(lambda: fit(scratch(), toy(), out=run.folder, resume=True, **SETTINGS))
    assert f"{run.folder / 'last.safetensors'} is damaged or truncated" in text
    assert "delete it" in text
    text = sentence(lambda: load_run(run.folder))
    assert f"{run.folder / 'best.safetensors'} is damaged or truncated" in text


def test_checkpoint_that_is_something_else(run: Run):
    path = run.folder / "last.safetensors"
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    assert "damaged or truncated" in sentence(
        lambda: fit(scratch(), toy(), out=run.folder, resume=True, **SETTINGS)
    )
    shutil.copy(run.folder / "best.safetensors", path)  # a good file, but without what going on needs
    assert "last.safetensors" in sentence(
        lambda: fit(scratch(), toy(), out=run.folder, resume=True, **SETTINGS)
    )


def test_load_run_of_what_is_no_run(run: Run, tmp_path):
    assert "holds no run" in sentence(lambda: load_run(tmp_path / "nowhere"), MissingError)
    other = tmp_path / "other"
    fit(scratch(classifier(hidden=9)), toy(), out=other, **SETTINGS)
    shutil.copy(other / "best.safetensors", run.folder)
    assert "of another model: 'net.head.weight' is (3, 8) in the model and (3, 9) in the file" in sentence(
        lambda: load_run(run.folder)
    )
    (run.folder / "best.safetensors").unlink()
    assert "There is no checkpoint" in sentence(lambda: load_run(run.folder), MissingError)


@pytest.mark.parametrize("text", ["", "[", "\x00", "just words", "a: {b", "model: 3\n", "model: {x: 1}\n"])
def test_load_run_of_a_damaged_configuration(run: Run, text: str):
    (run.folder / "config.yaml").write_text(text)
    assert str(run.folder) in sentence(lambda: load_run(run.folder))


def test_load_run_of_a_damaged_history(run: Run):
    for content in (b"\xff\xfe\x00", b'epoch\n"1', b"epoch\n1,2,3\n"):
        (run.folder / "history.csv").write_bytes(content)
        assert "history" in sentence(lambda: load_run(run.folder))
    (run.folder / "history.csv").unlink()
    assert load_run(run.folder).history == []


def test_model_that_build_did_not_make(tmp_path):
    fit(scratch(net()), toy(), out=tmp_path, **SETTINGS)
    assert "labkit.models.build didn't make" in sentence(lambda: load_run(tmp_path))


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    text = sentence(lambda: fit(scratch(), toy(), out=tmp_path / "file" / "run", **SETTINGS))
    assert f"Can't write {tmp_path / 'file' / 'run' / 'config.yaml'}" in text


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root writes everywhere")
def test_folder_that_cannot_be_written(run: Run):
    run.folder.chmod(0o555)
    before = digest(load_run(run.folder).model)
    try:
        text = sentence(lambda: fit(scratch(), toy(), out=run.folder, overwrite=True, **SETTINGS))
    finally:
        run.folder.chmod(0o755)
    assert "Can't write" in text
    assert digest(load_run(run.folder).model) == before


FULL = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
from engine_toys import classifier, toy
from labkit import methods
from labkit.engine import fit
def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
class Filling(methods.Scratch):
    def on_step_end(self, step):
        if step == 7:
            allow(4096)
method = Filling(classifier())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    fit(method, toy(), out={folder!r}, epochs=3, batch_size=8, device="cpu")
except ValueError as error:
    allow(resource.RLIM_INFINITY)
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs RLIMIT_FSIZE")
def test_full_disk_while_saving_leaves_the_old_checkpoint(tmp_path):
    folder, tests = str(tmp_path / "run"), str(Path(__file__).parent)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FULL.format(folder=folder, tests=tests)],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stdout.strip().splitlines()[-1]
    assert text.startswith(f"Can't write {folder}/")
    assert "The older file is untouched" in text
    assert load_run(folder).history["epoch"] == [1]
    assert not list(Path(folder).glob(".*.tmp"))
    whole = fit(scratch(), toy(), epochs=3, batch_size=8, device="cpu")
    method = scratch(classifier(5))
    resumed = fit(method, toy(), out=folder, resume=True, epochs=3, batch_size=8, device="cpu")
    assert resumed.losses == whole.losses
    assert digest(resumed.model) == digest(whole.model)


def test_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("only root can mount a small disk")

    class Filling(methods.Scratch):
        def on_step_end(self, step):
            if step == 7:
                left = os.statvfs(disk)
                (disk / "filler").write_bytes(bytes(left.f_bavail * left.f_bsize))

    try:
        text = sentence(lambda: fit(Filling(classifier()), toy(), out=disk / "run", **SETTINGS))
        assert "No space left on device. The older file is untouched. Free some space" in text
        assert load_run(disk / "run").history["epoch"] == [1]
        (disk / "filler").unlink()
        resumed = fit(scratch(classifier(5)), toy(), out=disk / "run", resume=True, **SETTINGS)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert resumed.losses == fit(scratch(), toy(), **SETTINGS).losses
