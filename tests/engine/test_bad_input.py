"""Bad input to `fit`, `evaluate` and `load_run`: one sentence that says what, where and how to mend it."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_toys import Noisy, TwoStages, classifier, digest, images, net, toy
from torch import nn

from labkit import LabkitError, methods
from labkit.engine import Run, Stage, evaluate, fit, load_run, records
from labkit.errors import MissingError

SETTINGS = {"epochs": 2, "batch_size": 8, "device": "cpu"}


def scratch(student: nn.Module | None = None) -> methods.Method:
    return methods.create("scratch", student=student or classifier())


def sentence(call, kind: type[Exception] = LabkitError) -> str:
    """The message of the error that `call` raises: one line."""
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return fit(scratch(), toy(), out=tmp_path / "run", **SETTINGS)


# Not finite ----------------------------------------------------------------------------------------------


class Bursting(methods.Scratch):
    """Loses its finite loss at one step."""

    def __init__(self, student: nn.Module, step: int, value: float = math.nan) -> None:
        super().__init__(student)
        self.step, self.value, self.calls = step, value, 0

    def losses(self, batch, progress):
        terms = super().losses(batch, progress)
        self.calls += 1
        return {name: v * (self.value if self.calls == self.step else 1.0) for name, v in terms.items()}


@pytest.mark.parametrize(("step", "epoch", "batch"), [(1, 1, 1), (5, 1, 5), (6, 2, 1), (9, 2, 4)])
@pytest.mark.parametrize("every", [1, 32, 3])
def test_loss_that_is_not_finite_names_epoch_and_batch(monkeypatch, step, epoch, batch, every):
    monkeypatch.setitem(records.LOOK_EVERY, "cpu", every)  # as on an accelerator
    method = Bursting(classifier(), step)
    text = sentence(lambda: fit(method, toy(), **SETTINGS))
    assert f"not finite at epoch {epoch}, batch {batch} of 5 (total nan, ce nan)" in text
    assert "lower lr" in text
    assert method.calls <= min(5 * epoch, step + every - 1)


def test_weights_are_still_good_after_a_loss_that_is_not_finite():
    method = Bursting(classifier(), 7, math.inf)
    sentence(lambda: fit(method, toy(), **SETTINGS))
    assert all(p.isfinite().all() for p in method.student.parameters())


def test_batch_number_is_right_after_a_resume(tmp_path):
    class Cut(Bursting):
        def on_step_end(self, step):
            if step == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Cut(classifier(), 100), toy(), out=tmp_path, **SETTINGS)
    method = Bursting(classifier(), 4)
    method.options, method.name = {}, "scratch"
    text = sentence(lambda: fit(method, toy(), out=tmp_path, resume=True, **SETTINGS))
    assert "epoch 2, batch 4 of 5" in text


def test_nan_leaves_the_last_good_checkpoint(tmp_path):
    sentence(lambda: fit(Bursting(classifier(), 7), toy(), out=tmp_path, **SETTINGS))
    assert load_run(tmp_path).history["epoch"] == [1]


# Arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"optimiser": "adam"}, "Unknown option of fit 'optimiser'. Did you mean 'optimizer'?"),
        ({"optimizer": "adamx"}, "Unknown optimizer 'adamx'. Did you mean 'adam'?"),
        ({"schedule": "cos"}, "Unknown schedule 'cos'. Did you mean 'cosine'?"),
        ({"precision": "half"}, "Unknown precision 'half'."),
        ({"precision": "fp16"}, "needs a GPU"),
        ({"batch_size": 0}, "batch_size must be greater than 0, but it is 0."),
        ({"batch_size": 8.5}, "batch_size must be a whole number, but it is 8.5."),
        ({"lr": "1e-3"}, "lr must be a number, but it is '1e-3'."),
        ({"lr": math.nan}, "lr must be greater than 0, but it is nan."),
        ({"clip": 0.0}, "clip must be greater than 0"),
        ({"patience": 0}, "patience must be greater than 0"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or greater"),
        ({"warmup": 1.0}, "warmup is the share of steps in [0, 1)"),
        ({"epochs": None}, "either epochs=... or steps=..."),
        ({"steps": 3}, "either epochs=... or steps=..."),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, but it is 0."),
        ({"epochs": None, "steps": 2.5}, "steps must be a whole number of at least 1, but it is 2.5."),
        ({"augment": "crop-flop"}, "Unknown augmentation 'crop-flop'. Did you mean 'crop-flip'?"),
        ({"device": "gpu"}, "Unknown device 'gpu'"),
        ({"resume": True}, "resume=True needs out=..."),
        ({"batch_size": 1, "epochs": True}, "epochs must be a whole number"),
    ],
)
def test_wrong_options(options: dict, part: str):
    assert part in sentence(lambda: fit(scratch(), toy(), **{**SETTINGS, **options}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_device_that_is_not_there():
    assert "device='cuda'" in sentence(lambda: fit(scratch(), toy(), **{**SETTINGS, "device": "cuda"}))


def test_a_classifier_is_no_method():
    text = sentence(lambda: fit(classifier(), toy(), **SETTINGS))
    assert text.startswith("fit trains a method, but got Classifier")
    assert "methods.create('scratch', student=network)" in text


def test_empty_training_split():
    text = sentence(lambda: fit(scratch(), replace(toy(), train=images(0, 1)), **SETTINGS))
    assert "training split of 'toy' is empty" in text


def test_class_counts_that_differ():
    from labkit.models import build

    other = build("digit_cnn", 10, widths=(2, 4), hidden=8)
    text = sentence(lambda: fit(scratch(other), toy(), **SETTINGS))
    assert "has 10 classes and 'toy' 3: build it with num_classes=3" in text
    assert "10 classes and the data 3" in sentence(lambda: evaluate(other, toy().val))


def test_evaluating_an_empty_split():
    assert "split to evaluate is empty" in sentence(lambda: evaluate(classifier(), images(0, 1)))


LOSSES = {
    "no total": (
        lambda z: {"ce": z.sum()},
        "must return a dict with a 'total', but returned a dict with ['ce']",
    ),
    "no dict": (lambda z: z.sum(), "must return a dict with a 'total', but returned Tensor"),
    "nothing": (lambda z: None, "but returned NoneType"),
    "per image": (lambda z: {"total": z.sum(1)}, "'total' is (8,): take its mean"),
    "number": (lambda z: {"total": z.sum(), "weight": 0.5}, "'weight' is float"),
    "detached": (lambda z: {"total": z.detach().sum()}, "depends on nothing that is trained"),
}


@pytest.mark.parametrize("case", LOSSES)
def test_losses_that_cannot_be_minimised(case: str):
    compute, part = LOSSES[case]

    class Wrong(methods.Scratch):
        def losses(self, batch, progress):
            return compute(self.student(batch.image).logits)

    assert part in sentence(lambda: fit(Wrong(classifier()), toy(), **SETTINGS))


def test_stage_without_anything_to_train():
    class Freezing(methods.Scratch):
        def stages(self):
            return [Stage("nothing", self.student.requires_grad_(False))]

    frozen = scratch(classifier().requires_grad_(False))
    for name, method in {"scratch": frozen, "nothing": Freezing(classifier())}.items():
        text = sentence(lambda method=method: fit(method, toy(), **SETTINGS))
        assert f"Stage '{name}' has nothing to train" in text


def test_after_an_error_nothing_of_the_loop_is_left_behind():
    method = Bursting(classifier(), 3)
    sentence(lambda: fit(method, toy(), **SETTINGS))
    assert all(p.requires_grad for p in method.parameters())
    assert not any("forward" in vars(m) for m in method.modules())
    assert not method.student._forward_hooks


# Folders and checkpoints ---------------------------------------------------------------------------------


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


def test_fit_in_another_thread_needs_no_signals():
    found = []
    thread = threading.Thread(target=lambda: found.append(fit(scratch(), toy(), **SETTINGS)))
    thread.start()
    thread.join()
    assert found[0].losses == fit(scratch(), toy(), **SETTINGS).losses
