"""`labkit distill`: any data, any teacher, any method; resumable, and every mistake one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from labkit import LabkitError, data, engine, methods, models
from labkit.bench import pair
from labkit.bench.distill import distill
from labkit.commands import parse_options


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A cache and a working folder of its own, and nothing kept from another test."""
    monkeypatch.setenv("LABKIT_QUIET", "1")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    pair.KEPT.clear()


DIGITS = {"data": "digits", "student": "digit_student", "teacher": "digit_teacher", "per_class": 5}


@pytest.mark.slow
def test_distils_beside_the_student_alone_and_reports(capsys, tmp_path: Path):
    options = {"temperature": 3.0, "lr": 0.01, "teacher.lr": 0.01, "batch_size": 48}
    found = distill("hinton", **DIGITS, seeds=2, steps=60, options=options, out=tmp_path / "run")
    out = capsys.readouterr().out
    assert out.index("seed 0: teacher digit_teacher: ") < out.index("seed 0: student digit_student, hinton: ")
    assert "hinton minus the student alone, paired over 2 seeds (95 % interval): " in out
    assert set(found.tests) == {"teacher", "hinton", "scratch"}
    for name in ("hinton", "scratch"):
        run = engine.load_run(tmp_path / "run" / "seed1" / name)
        again = engine.evaluate(run.model, data.load("digits", seed=1).test)
        assert again.accuracy == found.tests[name][1].accuracy
    config = engine.load_run(tmp_path / "run" / "seed0" / "hinton").config
    assert config["method"]["temperature"] == 3.0
    assert config["recipe"]["lr"] == 0.01
    assert config["data"]["per_class"] == 5
    page = found.report.read_text(encoding="utf-8")
    assert page.count("<figure>") == 7
    assert (tmp_path / "run" / "history.csv").read_text().count("\nhinton,1,") > 0


@pytest.mark.slow
def test_a_finished_run_teaches_as_it_is(capsys, tmp_path: Path):
    digits = data.load("digits")
    teacher = models.build("digit_teacher", 10, in_chans=1)
    method = methods.create("scratch", student=teacher)
    run = engine.fit(method, digits, steps=80, lr=0.01, out=tmp_path / "teacher", progress=False)
    found = distill("pre_fc", **DIGITS | {"teacher": str(tmp_path / "teacher")}, seeds=1, steps=10)
    assert found.tests["teacher"][0].accuracy == engine.evaluate(run.model, digits.test).accuracy
    assert found.report == Path("runs/pre_fc-digits-digit_student/report.html")
    assert "of one seed" in capsys.readouterr().out


@pytest.mark.slow
def test_stored_outputs_replace_the_teacher_in_the_loop(tmp_path: Path):
    found = distill("hinton", **DIGITS, seeds=1, steps=12, stored=1, options={"data.val": 0.2})
    assert "banks" in found.runs["hinton"][0].config
    assert "banks" not in found.runs["scratch"][0].config
    assert engine.banks()


@pytest.mark.slow
def test_a_folder_of_images_is_data(capsys, tmp_path: Path):
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(12):
            pixels = 60 + 120 * label + torch.randint(0, 60, (16, 16, 3), generator=generator)
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(tmp_path / "pictures" / name / f"{i}.png")
    options = {"data.image_size": 16, "batch_size": 8, "lr": 0.01}
    folder = str(tmp_path / "pictures")
    found = distill(
        "hinton", data=folder, student="tiny", teacher="small", seeds=1, epochs=4, options=options
    )
    assert found.tests["hinton"][0].classes == ("dark", "light")
    assert found.tests["hinton"][0].accuracy > 0.7
    assert "2 classes (dark, light)" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_killed_run_is_gone_on_with_and_ends_the_same(tmp_path: Path):
    arguments = ["distill", "hinton", "--data", "digits", "--student", "digit_student", "--seeds", "1"]
    arguments += ["--teacher", "digit_teacher", "--per-class", "5", "--steps", "120"]
    command = [sys.executable, "-m", "labkit", *arguments, "--out", "killed"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        half = tmp_path / "killed" / "seed0" / "hinton" / "last.safetensors"
        while not half.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    options = DIGITS | {"seeds": 1, "steps": 120}
    with pytest.raises(LabkitError, match="already holds runs: go on with --resume"):
        distill("hinton", **options, out="killed")
    torch.set_num_threads(1)
    resumed = distill("hinton", **options, out="killed", resume=True)
    pair.KEPT.clear()
    whole = distill("hinton", **options, out="whole")
    for name in ("teacher", "hinton", "scratch"):
        assert torch.equal(resumed.tests[name][0].logits, whole.tests[name][0].logits)


@pytest.mark.slow
def test_a_teacher_near_chance_is_named_before_it_teaches(capsys):
    distill("hinton", **DIGITS, seeds=1, steps=1)
    out = capsys.readouterr().out
    assert out.index("That is near chance (10.0%)") < out.index("student digit_student")


@pytest.mark.slow
def test_the_student_alone_needs_no_teacher(capsys):
    found = distill("scratch", data="digits", student="digit_student", per_class=5, seeds=1, steps=5)
    assert set(found.tests) == {"scratch"}
    assert "This is the student alone." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"method": "hintn"}, r"Unknown method 'hintn'\. Did you mean 'hinton'"),
        ({"data": "digitz"}, "Unknown data set 'digitz'"),
        ({"data": "no/folder"}, "There is no folder no/folder"),
        ({"student": "digit_studen"}, "Unknown model 'digit_studen'"),
        ({"teacher": "runs/nothing"}, "There is no folder runs/nothing with a run"),
        ({"teacher": "."}, r"\. holds no run"),
        ({"student": None}, "Say which network is the student"),
        ({"teacher": None}, "Say which network is the teacher"),
        ({"seeds": 0}, "at least one seed"),
        ({"assistant": "small"}, "--assistant belongs to the method takd"),
        ({"epochs": 3}, "either --epochs or --steps"),
        ({"per_class": 100_000}, "per_class=100000 must be"),
        ({"options": {"temprature": 2}}, "'temprature'"),
        ({"options": {"lr": "fast"}}, "lr must be a number, but it is 'fast'"),
        ({"options": {"teacher.lr": -1}}, "lr must be greater than 0"),
        ({"options": {"seed": 3}}, "but not 'seed'"),
        ({"options": {"data.per_class": 3}}, r"but not 'data\.per_class'"),
        ({"options": {"student.lr": 3}}, r"but not 'student\.lr'"),
    ],
)
def test_a_mistake_is_one_sentence(changed: dict, sentence: str):
    arguments = {"method": "hinton", **DIGITS, "seeds": 1, "steps": 2} | changed
    with pytest.raises(LabkitError, match=sentence) as caught:
        distill(arguments.pop("method"), **arguments)
    assert "\n" not in str(caught.value)


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path):
    classes = [f"c{i}" for i in range(3)]
    images = torch.zeros(12, 1, 8, 8, dtype=torch.uint8)
    split = data.ImageSet(images, torch.arange(12) % 3, classes)
    module = data.DataModule("three", split, split, split)
    method = methods.create("scratch", student=models.build("digit_student", 3, in_chans=1))
    engine.fit(method, module, steps=1, out=tmp_path / "three", progress=False)
    with pytest.raises(LabkitError, match=r"knows 3 classes \(c0, c1, c2\), but 'digits' has 10"):
        distill("hinton", **DIGITS | {"teacher": str(tmp_path / "three")}, seeds=1, steps=1)


def test_options_are_numbers_lists_or_words():
    found = parse_options(["lr=1e-3", "layers=[1,2]", "assistant=small", "teacher.steps=3", "x=a=b"])
    assert found == {"lr": 1e-3, "layers": [1, 2], "assistant": "small", "teacher.steps": 3, "x": "a=b"}
    for wrong in ("lr", "=3"):
        with pytest.raises(LabkitError, match="--set takes option=value"):
            parse_options([wrong])


def test_a_wrong_name_is_said_before_the_teacher_is_trained(tmp_path: Path):
    for wrong in ({"student": "digit_studen"}, {"options": {"temprature": 2}}):
        with pytest.raises(LabkitError, match="Unknown"):
            distill("hinton", **DIGITS | {"seeds": 1, "steps": 2} | wrong, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
