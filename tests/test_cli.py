"""The `labkit` command: help, one sentence for every mistake, and a run from training to prediction."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import typer.main

import labkit
from labkit import LabkitError, cli

COMMAND = typer.main.get_command(cli.app)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., Outcome]:
    """Run `labkit ARGUMENTS` in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LABKIT_QUIET", "1")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["labkit", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return Outcome(code, *capsys.readouterr())

    return run


def test_help_lists_every_verb(command):
    code, out, _ = command("--help")
    assert code == 0
    verbs = ["doctor", "lab", "update", "demo", "data", "build", "check", "evaluate", "predict"]
    verbs += ["distill", "bench", "intermediates", "pretrain"]
    assert set(verbs) == set(COMMAND.commands)
    assert all(re.search(rf"\b{verb}\b", out) for verb in verbs)


@pytest.mark.parametrize("verb", [*COMMAND.commands, "data list", "data get", "data remove", "data banks"])
def test_every_verb_explains_itself(command, verb: str):
    code, out, _ = command(*verb.split(), "--help")
    assert code == 0
    assert "Usage: labkit " + verb in out


def test_version(command):
    assert command("--version").out == f"labkit {labkit.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("data get digitz", "Unknown data set 'digitz'. Did you mean 'digits'?"),
        ("data remove digitz", "Unknown data set 'digitz'. Did you mean 'digits'?"),
        ("data get folder", "labkit can't fetch 'folder'"),
        ("demo digitz", "Unknown demo 'digitz'. Did you mean 'digits'?"),
        ("bench --lab 97", "Unknown grid for lab '97'"),
        ("bench", "one of the two: --lab NN or --data NAME"),
        ("bench --lab 1 --data aviary", "one of the two: --lab NN or --data NAME"),
        ("bench --lab 1 --tune", "--tune belongs to --data NAME"),
        ("bench --data aviari", "Unknown comparison 'aviari'. Did you mean 'aviary'?"),
        ("bench --data aviary --methods hintn", "'hintn'. Did you mean 'hinton'?"),
        ("bench --data aviary --budgets few", "--budgets takes whole numbers such as 3,5, not 'few'"),
        ("distill hintn --data digits", "Unknown method 'hintn'. Did you mean 'hinton'?"),
        ("distill hinton --data digits --set lr", "--set takes option=value"),
        ("distill hinton --profile gqu", "Unknown profile 'gqu'. Did you mean 'gpu'?"),
        ("distill hinton --data digits", "Say which network is the student: --student NAME"),
        ("build 97", "Unknown lab '97'"),
        ("lab --profile gqu", "Unknown profile 'gqu'. Did you mean 'gpu'?"),
        ("evaluate nowhere", "nowhere holds no run"),
        ("predict nowhere some.png", "nowhere holds no run"),
        ("pretrain tinny", "Unknown recipe 'tinny'. Did you mean 'tiny'?"),
        ("pretrain tiny nonsense", "Unknown recipe 'nonsense'"),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr(command, arguments: str, sentence: str):
    code, out, err = command(*arguments.split())
    assert code == 1
    assert err.startswith("labkit: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


@pytest.mark.parametrize("how", ["option", "environment"])
def test_debug_shows_the_traceback(command, monkeypatch: pytest.MonkeyPatch, how: str):
    monkeypatch.setenv("LABKIT_DEBUG", "1" if how == "environment" else "")
    with pytest.raises(LabkitError, match="Unknown data set"):
        command(*(["--debug"] if how == "option" else []), "data", "get", "digitz")


@pytest.mark.parametrize("arguments", ["lab one", "demo --seeds 0", "evaluate run --split all", "nonsense"])
def test_wrong_usage_is_exit_code_2(command, arguments: str):
    code, _, err = command(*arguments.split())
    assert code == 2
    assert "Usage: labkit" in err


def test_check_of_a_missing_notebook_is_a_row(command, tmp_path: Path):
    code, out, _ = command("check", tmp_path / "01.ipynb")
    assert code == 1
    assert f"There is no notebook {tmp_path / '01.ipynb'}" in out


def test_data_list_get_remove(command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    code, out, _ = command("data", "list")
    assert code == 0
    assert {line.split()[2] for line in out.splitlines() if "✓ here" in line} >= {"digits"}
    assert "CC BY 4.0" in out
    assert command("data", "get", "digits").out.startswith("digits is in ")
    assert command("data", "remove", "digits").out == "labkit keeps nothing of digits.\n"


def test_data_remove_takes_the_drawn_pictures_too(command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    labkit.data.load("aviary", size="mini", image_size=16)
    assert list(tmp_path.rglob("*.npy"))
    assert command("data", "remove", "aviary").out == "Removed what labkit had kept of aviary.\n"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_data_banks_lists_and_removes(command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    assert command("data", "banks").out == "labkit keeps 0 feature banks.\n"
    encoder = torch.nn.Flatten()
    labkit.engine.FeatureBank(encoder, labkit.data.load("digits").test).features()
    code, out, _ = command("data", "banks")
    assert code == 0
    assert re.search(r"Flatten +599 images +1 +\d+\.\d", out)
    assert out.endswith("labkit keeps 1 feature bank.\n")
    assert "Removed 1 feature bank" in command("data", "banks", "--remove").out
    assert labkit.engine.banks() == []


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training run on digits."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    digits = labkit.data.load("digits")
    student = labkit.models.build("digit_student", digits.num_classes, in_chans=1)
    method = labkit.methods.create("scratch", student=student)
    labkit.engine.fit(method, digits, steps=60, batch_size=64, lr=1e-2, out=folder, progress=False)
    return folder


def test_evaluate_prints_accuracy_calibration_and_classes(command, run_folder: Path):
    code, out, err = command("evaluate", run_folder)
    assert code == 0, err
    run = labkit.engine.load_run(run_folder)
    expected = labkit.engine.evaluate(run.model, labkit.data.load("digits").test)
    assert f"accuracy {expected.accuracy:.1%}" in out
    assert f"ECE {expected.ece:.3f}" in out
    assert len(re.findall(r"^ +\d +\d+\.\d% +\d+\.\d% to \d+\.\d% *$", out, flags=re.MULTILINE)) == 10
    assert command("evaluate", run_folder, "--split", "val").out != out


def test_evaluate_on_other_classes_is_one_sentence(command, run_folder: Path, tmp_path: Path):
    from PIL import Image

    for name in ("cat", "dog"):
        for part in ("train", "test"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(4):
                Image.new("L", (8, 8), 60 * i).save(tmp_path / part / name / f"{i}.png")
    code, _, err = command("evaluate", run_folder, "--data", "folder", "--root", tmp_path)
    assert code == 1
    assert err.count("\n") == 1


def test_predict_ranks_the_classes_of_image_files(command, run_folder: Path, tmp_path: Path):
    from PIL import Image

    test = labkit.data.load("digits").test
    files = []
    for i in range(20):
        files.append(tmp_path / f"digit{i}.png")
        Image.fromarray(test.images[i, 0].numpy()).save(files[-1])
    code, out, err = command("predict", run_folder, *files, "--top", 3)
    assert code == 0, err
    rows = re.findall(r"^ +(\S+\.png)? +(\d) +(\d+\.\d)% *$", out, flags=re.MULTILINE)
    assert len(rows) == 60
    assert sum(rows[3 * i][1] == test.classes[test.labels[i]] for i in range(20)) >= 14
    assert all(float(rows[k][2]) >= float(rows[k + 1][2]) for k in range(59) if k % 3 < 2)


def test_predict_an_unreadable_image_is_one_sentence(command, run_folder: Path, tmp_path: Path):
    (tmp_path / "no.png").write_text("no image")
    code, _, err = command("predict", run_folder, tmp_path / "no.png")
    assert code == 1
    assert re.fullmatch(r"labkit: Can't read the image .*no\.png \(it is no image\): .*\n", err)


@pytest.mark.slow
def test_pretrain_writes_what_build_loads_and_lists_it(
    command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    code, out, err = command("pretrain", "tiny", "--size", "test", "--seed", 3, "--out", tmp_path)
    assert code == 0, err
    assert re.match(r"tiny: generic val accuracy 0\.\d+, probe val accuracy 0\.\d+, .* minutes\n", out)
    assert re.search(r"✓ here +tiny +1\d\d +\d+\.\d", command("pretrain", "--list", "--out", tmp_path).out)
    assert re.search(r"✗ not here +mid", command("pretrain", "--out", tmp_path).out)
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    assert labkit.models.build("tiny", 200, weights="pretrained").embedding_dim == 48


@pytest.mark.slow
def test_distill_prints_the_gain_and_names_its_report(command, tmp_path: Path):
    arguments = "distill hinton --data digits --student digit_student --teacher digit_teacher --per-class 5"
    arguments += " --seeds 1 --steps 3 --set temperature=3 --set lr=0.01"
    code, out, err = command(*arguments.split(), "--out", tmp_path / "run")
    assert code == 0, err
    assert re.search(r"seed 0: teacher digit_teacher: \d+\.\d% test accuracy", out)
    assert "hinton minus the student alone, of one seed: " in out
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in out
    code, out, err = command("evaluate", tmp_path / "run" / "seed0" / "hinton")
    assert code == 0, err
    assert command(*arguments.split(), "--out", tmp_path / "run").err.count("already holds runs") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_is_exit_code_130(tmp_path: Path):
    """Interrupt a demo of many seeds in its first one."""
    verb = ["demo", "digits", "--seeds", "50", "--out", str(tmp_path / "demo")]
    arguments = [sys.executable, "-m", "labkit", *verb]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        shown = b""
        while b"seed 0" not in shown:  # the progress bar
            new = process.stdout.read1()
            assert new, shown.decode()
            shown += new
        process.send_signal(signal.SIGINT)
        try:
            shown += process.communicate(timeout=60)[0]
        finally:
            process.kill()  # else the block waits for a process that hangs
    assert process.returncode == 130, shown.decode()
    assert b"Traceback" not in shown
