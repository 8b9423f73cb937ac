"""`labkit distill` with a vision-language teacher: artefacts, resuming, presets, mistakes in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_pictures import pictures

from labkit import LabkitError, data, engine, methods
from labkit.bench import distill_report, pair, vlm
from labkit.bench.distill import distill
from labkit.bench.distill_settings import Asked, settings
from labkit.data.prompts import templates
from labkit.methods.calibration import FILE

BIRDS = {"data": "pictures", "student": "tiny", "per_class": 4, "seeds": 1, "steps": 3, "stored": 2}
SMALL = {"data.image_size": 16, "batch_size": 8, "calibration.epochs": 1, "calibration.n_ctx": 4}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Pictures, a cache and a working folder of its own, and nothing kept from another test."""
    monkeypatch.setenv("LABKIT_QUIET", "1")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    models_kept = pair.KEPT.pop("models", {})
    pair.KEPT.clear()
    pair.KEPT["models"] = models_kept  # the vision-language model is as it ships
    pictures(tmp_path / "pictures")


def forget() -> None:
    """As in a new process, but for the vision-language model."""
    for kept in [kept for kept in pair.KEPT if kept != "models"]:
        del pair.KEPT[kept]


@pytest.fixture(autouse=True)
def no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Drawing takes longer than all else here: one test looks at the figures."""
    if "stages" not in request.node.name:
        monkeypatch.setattr(distill_report, "_figures", lambda found: [])


class Stop(Exception):
    """Stands for a kill: nothing catches it."""


def stop_at(monkeypatch: pytest.MonkeyPatch, name: str, method: type, calls: int) -> None:
    """End the process, so to speak, at a call of the losses."""
    losses, left = getattr(method, name), [calls]

    def counted(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        return losses(self, *arguments)

    monkeypatch.setattr(method, name, counted)


@pytest.mark.slow
def test_dait_leaves_its_stages_and_says_all_accuracies(capsys, tmp_path: Path):
    options = SMALL | {"transfer": "logit", "sia_weight": 0.5, "stage1.k": 1.0, "temperature": 3.0}
    found = distill("dait", **BIRDS, intermediate="tiny", options=options, out="run")
    said = capsys.readouterr().out
    for words in (
        "aviary-clip, zero-shot",
        "intermediate tiny",
        "student tiny, dait",
        "student tiny, scratch",
    ):
        assert f"seed 0: {words}: " in said
    rows = ["aviary-clip, zero-shot", "intermediate tiny", "student alone", "student, dait"]
    table = said[said.index("test accuracy, %") :]
    assert [table.index(row) for row in rows] == sorted(table.index(row) for row in rows)
    first = engine.load_run(tmp_path / "run" / "seed0" / "intermediate")
    module = data.load("folder", root="pictures", image_size=16, per_class=4)
    assert engine.evaluate(first.model, module.test).accuracy == found.tests["intermediate"][0].accuracy
    assert {k: first.config["method"][k] for k in ("only", "k", "sia_weight")} == {
        "only": 1,
        "k": 1.0,
        "sia_weight": 0.5,
    }
    assert list(first.config["banks"]) == ["vlm"]
    second = engine.load_run(tmp_path / "run" / "seed0" / "dait").config
    told = {k: second["method"][k] for k in ("only", "k", "transfer", "temperature")}
    assert told == {"only": 2, "k": 0.5, "transfer": "logit", "temperature": 3.0}
    assert list(second["banks"]) == ["intermediate"]
    page = found.report.read_text(encoding="utf-8")
    for words in ("share of the labels", "Look-alikes", "Grad-CAM", "intermediate tiny, first seed"):
        assert words in page
    assert "\nintermediate,0," in (tmp_path / "run" / "history.csv").read_text()
    # the first stage's artefact teaches another student, as it is
    other = distill("dait", **BIRDS, intermediate="run/seed0/intermediate", options=SMALL, out="again")
    assert torch.equal(other.tests["intermediate"][0].logits, found.tests["intermediate"][0].logits)
    assert not (tmp_path / "again" / "seed0" / "intermediate").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "calls"), [("adapt", 1), ("losses", 1)], ids=["in the first stage", "in the second stage"]
)
def test_dait_killed_in_either_stage_ends_the_same(monkeypatch, name: str, calls: int):
    arguments = {
        **BIRDS,
        "intermediate": "tiny",
        "options": SMALL | {"intermediate.head_share": 0.3, "intermediate.batch_size": 8},
    }
    whole = distill("dait", **arguments, out="whole")
    forget()
    with monkeypatch.context() as patch:
        stop_at(patch, name, methods.DAIT, calls)
        with pytest.raises(Stop):
            distill("dait", **arguments, out="cut")
    forget()
    with pytest.raises(LabkitError, match="already holds runs: go on with --resume"):
        distill("dait", **arguments, out="cut")
    resumed = distill("dait", **arguments, out="cut", resume=True)
    for part in ("intermediate", "dait"):
        assert torch.equal(resumed.tests[part][0].logits, whole.tests[part][0].logits)


@pytest.mark.slow
def test_pand_killed_in_its_second_stage_finds_its_anchors(monkeypatch, capsys, tmp_path: Path):
    arguments = {**BIRDS, "options": SMALL}
    whole = distill("pand", **arguments, out="whole")
    said = capsys.readouterr().out
    assert "seed 0: aviary-clip, calibrated prompts: " in said
    forget()
    with monkeypatch.context() as patch:
        stop_at(patch, "losses", methods.PAND, 1)
        with pytest.raises(Stop):
            distill("pand", **arguments, out="cut")
    forget()
    made = tmp_path / "cut" / "seed0" / "learned_text_features.safetensors"
    before = made.read_bytes()
    resumed = distill("pand", **arguments, out="cut", resume=True)
    assert made.read_bytes() == before
    assert torch.equal(resumed.tests["pand"][0].logits, whole.tests["pand"][0].logits)
    # its anchors serve another method, and so do those of the authors' code
    anchors = methods.read_calibration(made)
    torch.save({"text_features": anchors.text, "classnames": list(anchors.names)}, "authors.pt")
    taught = distill("vl2lite", **BIRDS, options=SMALL, anchors="authors.pt", out="other")
    pairs = (run.tests["calibrated"][0].logits for run in (taught, resumed))
    torch.testing.assert_close(*pairs, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kd_clip", "rkd_clip", "takd_clip"])
def test_the_other_methods_run_from_start_to_end(method: str, tmp_path: Path):
    between = {"intermediate": "tiny"} if method == "takd_clip" else {}
    found = distill(method, **BIRDS, **between, options=SMALL, out="run")
    assert 0 <= found.tests[method][0].accuracy <= 1
    assert found.tests["zero-shot"][0].n == 12
    assert (tmp_path / "run" / "seed0" / "intermediate").exists() == (method == "takd_clip")
    assert found.report.exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dait", "pand"])
def test_the_first_stage_alone_leaves_its_artefact_and_can_be_gone_on_with(method: str, capsys, tmp_path):
    between = {"intermediate": "tiny"} if method == "dait" else {}
    arguments = {**BIRDS, **between, "options": SMALL}
    found = distill(method, **arguments, only=1, out="run")
    made = tmp_path / "run" / "seed0"
    assert "with --resume its students follow" in capsys.readouterr().out
    assert not set(found.tests) & {"scratch", method}
    assert found.report.exists()
    assert (made / "intermediate" if method == "dait" else made / FILE).exists()
    assert not (made / method).exists()
    with pytest.raises(LabkitError, match="--only 1 belongs to the methods dait, takd_clip, pand"):
        distill("vl2lite", **BIRDS, only=1)
    forget()
    assert {"scratch", method} <= set(distill(method, **arguments, out="run", resume=True).tests)


@pytest.mark.slow
def test_the_raw_epoch_form_knows_the_epochs_of_each_stage(tmp_path: Path):
    told = SMALL | {"e": "epoch", "stage1.e": "epoch", "intermediate.batch_size": 8}
    told |= {"intermediate.head_share": 0.5}
    steps = {"steps": 6, "per_class": 8}  # 24 images, 8 a step: two epochs, and half of them
    distill("dait", **BIRDS | steps, intermediate="small", options=told, out="run")
    first, second = (engine.load_run(tmp_path / "run/seed0" / part) for part in ("intermediate", "dait"))
    assert (first.config["method"]["epochs"], second.config["method"]["epochs"]) == (1, 2)
    assert second.history["lambda"] == pytest.approx([0.0, 0.5])


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="gloo's launcher")
@pytest.mark.xdist_group("processes")
@pytest.mark.parametrize("method", ["dait", "pand"])
def test_two_processes_distil_as_accelerate_starts_them(method: str, tmp_path: Path):
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command = [
        "-m",
        "labkit",
        "distill",
        method,
        "--data",
        "pictures",
        "--student",
        "tiny",
        "--per-class",
        "8",
    ]
    command += ["--seeds", "1", "--steps", "2", "--stored", "1", "--out", "run"]
    command += [f"--set={name}={value}" for name, value in SMALL.items()]
    command += ["--intermediate", "tiny"] if method == "dait" else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *launch, *command],
        capture_output=True, text=True, env=environment, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"seed 0: student tiny, {method}: ") == 1
    assert (tmp_path / "run" / "report.html").exists()


# Settings ------------------------------------------------------------------------------------------------


def test_the_aviarys_options_are_those_of_its_comparison():
    s, own = settings(Asked("dait", "aviary", steps=7, options={"transfer": "logit"}))
    assert (s.vlm, s.intermediate["name"], s.training["steps"]) == ("aviary-clip", "mid", 7)
    assert own["transfer"] == "logit"
    assert "k" in own
    assert s.training["optimizer"] == "adamw"
    plain, _ = settings(Asked("hinton", "aviary"))
    assert not hasattr(plain, "vlm")
    assert plain.views is None


@pytest.mark.parametrize("name", ["cub200", "cub50", "aircraft", "cars", "dogs", "nabirds", "pets"])
def test_each_real_data_set_has_its_settings(name: str):
    known = {info.name: info for info in data.info()}[name]
    for method in ("dait", "pand", "vl2lite", "kd_clip", "rkd_clip", "takd_clip", "rkd", "hinton", "scratch"):
        s, own = settings(Asked(method, name))
        assert s.num_classes == known.classes
        assert s.data["name"] == name
        if methods.asks_vlm(method):
            assert s.prompts == templates(name)[0]
    s, own = settings(Asked("dait", name))
    assert (own["k"], s.intermediate["name"]) == (0.5, "mid" if name == "cub50" else "regnety_016.tv2_in1k")
    assert s.training["batch_size"] == 32
    assert set(own) <= {"k", "b", "e", "transfer", "channels", "transfer_views", "temperature"}


def test_settings_of_ones_own_name_the_data_and_rename_a_class(tmp_path: Path):
    text = """
data: {name: digits, root: null}
num_classes: 10
class_names: {"0": nought}
student: {name: digit_student}
teacher: {name: digit_teacher}
training: {steps: 2, batch_size: 50}
"""
    (tmp_path / "mine.yaml").write_text(text)
    found = distill("hinton", data="mine.yaml", seeds=1, per_class=5)
    assert found.tests["hinton"][0].classes[:2] == ("nought", "1")
    for new, sentence in (
        ("num_classes: 9", r"say num_classes: 9, but the data 'digits' have 10 classes"),
        ("class_names: [a, b]", "class_names lists 2 names"),
        (
            'class_names: ["0", "2", "1", "3", "4", "5", "6", "7", "8", "9"]',
            "disagree: class 2 is '2' in the list",
        ),
        ('class_names: {"11": x}', "Unknown class of 'digits' in class_names '11'"),
        ('class_names: {"1": "2"}', "have the same name, '2' and '2'"),
        ("clas_names: null", "Unknown setting in mine.yaml 'clas_names'"),
        ("data: 3", "Unknown data set '3'"),
    ):
        key = new.split(":")[0]
        lines = [line for line in text.splitlines() if not line.startswith(f"{key}:")]
        (tmp_path / "mine.yaml").write_text("\n".join([*lines, new]))
        forget()
        with pytest.raises(LabkitError, match=sentence) as caught:
            distill("hinton", data="mine.yaml", seeds=1, per_class=5, out="wrong")
        assert "\n" not in str(caught.value)


def test_a_class_without_images_is_named():
    images = torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
    split = data.ImageSet(images, torch.tensor([0, 0, 0, 2, 2, 2]), ("a", "b", "c"))
    module = data.DataModule("three", split, split, split)
    from labkit.bench.classes import checked

    with pytest.raises(LabkitError, match="The class 'b' of 'three' has no image in the train split"):
        checked(module, type("s", (), {}))


# Mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "changed", "sentence"),
    [
        ("dait", {"intermediate": None}, "Say which network is the intermediate"),
        ("dait", {"intermediate": "no/run"}, "There is no folder no/run with a run"),
        ("dait", {"teacher": "mid"}, "name it with --vlm, not with --teacher"),
        ("dait", {"vlm": "aviary-clp"}, "Unknown vision-language model 'aviary-clp'"),
        ("dait", {"options": {"only": 2}}, "but not 'only'"),
        ("dait", {"options": {"stage1.q": 2}}, "Unknown option of the method 'dait' 'q'"),
        ("dait", {"options": {"stage2.k": 2}}, r"stage1.option, calibration.option, but not 'stage2.k'"),
        ("vl2lite", {"intermediate": "mid"}, "--intermediate belongs to the methods dait and takd_clip"),
        ("hinton", {"vlm": "aviary-clip"}, "--vlm belongs to methods that learn from a vision-language"),
        ("hinton", {"anchors": "fixed"}, "--anchors belongs to methods that learn from"),
        (
            "vl2lite",
            {"prompts": "a photo of a bird"},
            "--prompts takes a template with a place for the class",
        ),
        ("vl2lite", {"prompts": "a {} or {x}"}, "needs a place for the class"),
        ("pand", {"anchors": "nowhere.pt"}, "There is no file of anchors nowhere.pt"),
        ("pand", {"options": {"calibration.n_ctx": 40}}, "40"),
        ("vl2lite", {"data": "mine.yaml"}, "There is no file of settings mine.yaml"),
    ],
)
def test_a_mistake_is_one_sentence(method: str, changed: dict, sentence: str):
    arguments = {**BIRDS, "intermediate": "tiny" if method == "dait" else None, "options": {}} | changed
    if arguments["data"] == "pictures":
        arguments["options"] = SMALL | arguments["options"]
    with pytest.raises(LabkitError, match=sentence) as caught:
        distill(method, **arguments)
    assert "\n" not in str(caught.value)


def test_files_of_prompts_and_anchors_must_be_of_these_classes(tmp_path: Path):
    (tmp_path / "two.txt").write_text("a robin\na wren\n")
    with pytest.raises(LabkitError, match="There are 2 sentences for the 3 classes of 'folder'"):
        distill("vl2lite", **BIRDS, options=SMALL, prompts="two.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(LabkitError, match=r"file of prompts empty\.txt is empty"):
        distill("vl2lite", **BIRDS, options=SMALL, prompts="empty.txt")
    module = data.load("folder", root="pictures", image_size=16)
    names = [f"a photo of a {name}" for name in module.classes]
    width = vlm.load(type("s", (), {"vlm": "aviary-clip"})).embed_dim
    text = torch.nn.functional.normalize(torch.randn(3, width), dim=1)
    for wrong, sentence in (
        (names[::-1], "The anchors are for other classes, or for these in another order"),
        (names[:2], "The anchors are for 2 classes, not 3"),
    ):
        methods.Calibration(text[: len(wrong)], tuple(wrong)).save(tmp_path / "other.safetensors")
        with pytest.raises(LabkitError, match=sentence):
            distill("pand", **BIRDS, options=SMALL, anchors="other.safetensors")


def test_another_student_starts_as_the_presets_own_does():
    for name, weights in (("mobilenetv2_100.ra_in1k", "pretrained"), ("digit_cnn", None)):
        s, _ = settings(Asked("dait", "cub200", student=name))
        assert s.student == {"name": name} | ({"weights": weights} if weights else {})
    s, _ = settings(Asked("dait", "aviary", student="small"))
    assert s.student == {"name": "small"}  # as 'tiny' there: from random weights


def test_a_folder_is_asked_about_by_words():
    s, _ = settings(Asked("pand", "pictures", student="tiny"))
    assert s.prompts == "a photo of a {description}."
