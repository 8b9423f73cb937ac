"""A run that was cut off anywhere and resumed is the uninterrupted run, bit by bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from engine_toys import Noisy, TwoStages, classifier, digest, toy

from labkit import methods
from labkit.engine import History, Run, fit, load_run

SETTINGS = {"epochs": 3, "batch_size": 8, "device": "cpu", "lr": 0.01, "validate_every": 1}
TOYS = Path(__file__).with_name("engine_toys.py")


def assert_same(resumed: Run, whole: Run) -> None:
    """Weights, losses, history, the chosen epoch, and the optimiser and generators in the checkpoint."""
    assert digest(resumed.model) == digest(whole.model)
    assert resumed.losses == whole.losses
    assert resumed.accuracy == whole.accuracy
    first, second = resumed.folder, whole.folder
    assert (first / "history.csv").read_bytes() == (second / "history.csv").read_bytes()
    for name in ("best", "last"):
        ours, theirs = ((f / f"{name}.safetensors").read_bytes() for f in (first, second))
        assert ours == theirs, name


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """The uninterrupted run."""
    return fit(Noisy(classifier()), toy(), out=tmp_path_factory.mktemp("whole"), **SETTINGS)


@pytest.mark.parametrize("call", [1, 2, 5, 6, 8, 11, 15])
def test_interrupted_inside_a_step(whole: Run, call: int, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(Noisy(classifier(), (call, KeyboardInterrupt())), toy(), out=tmp_path, **SETTINGS)
    again = Noisy(classifier(9))  # half a step is never saved: the last epoch's end, or the start, is
    torch.rand(5)
    assert_same(fit(again, toy(), out=tmp_path, resume=True, **SETTINGS), whole)
    assert again.calls == 15 - 5 * ((call - 1) // 5)


@pytest.mark.parametrize("steps", [1, 4, 5, 9, 10, 14, 15])
def test_ctrl_c_between_steps_saves_there(whole: Run, steps: int, tmp_path):
    class Asking(Noisy):
        def on_step_end(self, step):
            if step + 1 == steps:
                signal.raise_signal(signal.SIGINT)  # in this thread, so that nothing runs in between

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(Asking(classifier()), toy(), out=tmp_path, **SETTINGS)
    assert signal.getsignal(signal.SIGINT) == before
    method = Noisy(classifier(9))
    assert_same(fit(method, toy(), out=tmp_path, resume=True, **SETTINGS), whole)
    assert method.calls == 15 - steps, "nothing is done twice"


def test_ctrl_c_while_validating_is_not_lost(whole: Run, tmp_path):
    student = classifier()

    def ask(module, inputs, output):
        if not module.training:
            asked.append(1)
            if len(asked) == 3:  # the last epoch's validation
                signal.raise_signal(signal.SIGINT)  # in this thread, so that nothing runs in between

    asked: list[int] = []
    hook = student.register_forward_hook(ask)
    with pytest.raises(KeyboardInterrupt):
        fit(Noisy(student), toy(), out=tmp_path, **SETTINGS)
    hook.remove()
    assert len(asked) == 3
    method = Noisy(classifier(9))
    assert_same(fit(method, toy(), out=tmp_path, resume=True, **SETTINGS), whole)
    assert method.calls == 0, "everything was done and saved"


def test_two_ctrl_c_interrupt_at_once(tmp_path):
    class Hasty(Noisy):
        def losses(self, batch, progress):
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)  # in this thread, so that nothing runs in between
            return super().losses(batch, progress)

    method = Hasty(classifier())
    with pytest.raises(KeyboardInterrupt):
        fit(method, toy(), out=tmp_path, **SETTINGS)
    assert method.calls == 0


def test_interrupted_again_and_again(whole: Run, tmp_path):
    for call in (3, 7, 2, 4):
        method = Noisy(classifier(), (call, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            fit(method, toy(), out=tmp_path, resume=True, **SETTINGS)
    assert_same(fit(Noisy(classifier(9)), toy(), out=tmp_path, resume=True, **SETTINGS), whole)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_optimizers_and_their_state(optimizer: str, tmp_path):
    settings = {**SETTINGS, "optimizer": optimizer, "weight_decay": 0.01, "warmup": 0.2, "clip": 0.5}
    whole = fit(Noisy(classifier()), toy(), out=tmp_path / "whole", **settings)

    class Asking(Noisy):
        def on_step_end(self, step):
            if step == 6:
                signal.raise_signal(signal.SIGINT)  # in this thread, so that nothing runs in between

    with pytest.raises(KeyboardInterrupt):
        fit(Asking(classifier()), toy(), out=tmp_path / "cut", **settings)
    assert_same(fit(Noisy(classifier()), toy(), out=tmp_path / "cut", resume=True, **settings), whole)


def test_steps_instead_of_epochs_and_patience(tmp_path):
    settings = {**SETTINGS, "epochs": None, "steps": 38, "patience": 2, "lr": 0.001}
    whole = fit(Noisy(classifier()), toy(), out=tmp_path / "whole", **settings)
    for call in (7, 9):
        with pytest.raises(KeyboardInterrupt):
            fit(
                Noisy(classifier(), (call, KeyboardInterrupt())),
                toy(),
                out=tmp_path / "cut",
                resume=True,
                **settings,
            )
    assert_same(fit(Noisy(classifier()), toy(), out=tmp_path / "cut", resume=True, **settings), whole)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 4, 6, 12])
def test_interrupted_in_the_second_stage(stop: int, tmp_path):
    whole = fit(TwoStages(classifier()), toy(), out=tmp_path / "whole", **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        fit(TwoStages(classifier(), stop), toy(), out=tmp_path / "cut", **SETTINGS)
    method = TwoStages(classifier(9))
    anchor = digest(method.anchor)
    resumed = fit(method, toy(), out=tmp_path / "cut", resume=True, **SETTINGS)
    assert_same(resumed, whole)
    assert digest(method.anchor) == anchor
    for stage in ("stage1", "stage2"):
        files = [run.checkpoints[stage].read_bytes() for run in (resumed, whole)]
        assert files[0] == files[1]


def test_a_finished_run_is_returned_as_it_was(whole: Run):
    method = Noisy(classifier(9))
    again = fit(method, toy(), out=whole.folder, resume=True, **SETTINGS)
    assert method.calls == 0
    assert_same(again, whole)


def test_resume_where_nothing_was_saved_starts_anew(whole: Run, tmp_path):
    assert_same(fit(Noisy(classifier()), toy(), out=tmp_path, resume=True, **SETTINGS), whole)


def test_frozen_teacher_is_given_again_and_not_in_the_checkpoint(tmp_path):
    def hinton(seed: int, stop: int = 0) -> methods.Method:
        class Stopping(methods.Hinton):
            calls = 0

            def losses(self, batch, progress):
                self.calls += 1
                if self.calls == stop:
                    raise KeyboardInterrupt
                return super().losses(batch, progress)

        return Stopping(classifier(seed), classifier(1))

    whole = fit(hinton(0), toy(), out=tmp_path / "whole", **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        fit(hinton(0, 8), toy(), out=tmp_path / "cut", **SETTINGS)
    assert_same(fit(hinton(5), toy(), out=tmp_path / "cut", resume=True, **SETTINGS), whole)
    from labkit.engine.checkpoint import load

    assert not any("teacher" in name for name in load(tmp_path / "whole" / "last.safetensors")[0])


# Real processes ------------------------------------------------------------------------------------------


def start(folder: Path, *settings: str) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LABKIT_QUIET": "1"}
    command = [sys.executable, str(TOYS), str(folder), "epochs=4", "batch_size=8", "lr=0.01", *settings]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, **pipes, text=True, env=environment)


@pytest.mark.slow
def test_processes_ended_by_ctrl_c_and_by_kill_go_on_exactly(tmp_path):
    settings = {"epochs": 4, "batch_size": 8, "device": "cpu", "lr": 0.01}
    whole = fit(Noisy(classifier()), toy(), out=tmp_path / "whole", **settings)
    ends = {"int": (signal.SIGINT, 7), "kill": (signal.SIGKILL, 12)}
    running = {name: start(tmp_path / name, "asking=true") for name in ends}
    for name, (sign, last) in ends.items():
        process = running[name]
        while int(process.stdout.readline()) < last:
            process.stdin.write("\n")
            process.stdin.flush()
        process.send_signal(sign)
        out, err = process.communicate("\n", timeout=60)
        assert process.returncode != 0
        if sign == signal.SIGINT:
            assert "KeyboardInterrupt" in err
            assert f"{tmp_path / name} is saved" in out
            assert len(History.load(tmp_path / name / "history.csv")) == 1
        resumed = fit(Noisy(classifier(9)), toy(), out=tmp_path / name, resume=True, **settings)
        assert_same(resumed, whole)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    """SIGKILL hits whatever is going on, file writing included: every time the run goes on exactly."""
    whole = fit(Noisy(classifier()), toy(), out=tmp_path / "whole", **(SETTINGS | {"epochs": 40}))
    folder = tmp_path / "killed"
    settings = ["epochs=40", "validate_every=1", "resume=true"]
    for delay in (0.05, 0.1, 0.21):
        process = start(folder, *settings)
        written = (folder / "last.safetensors").stat().st_mtime if folder.exists() else 0
        while process.poll() is None:
            path = folder / "last.safetensors"
            if path.exists() and path.stat().st_mtime > written:
                time.sleep(delay)
                process.kill()
                break
            time.sleep(0.01)
        process.communicate(timeout=60)
    resumed = fit(Noisy(classifier()), toy(), out=folder, resume=True, **(SETTINGS | {"epochs": 40}))
    assert_same(resumed, whole)
    assert digest(load_run(folder).model) == digest(whole.model)
    assert not list(folder.glob(".*.tmp"))
