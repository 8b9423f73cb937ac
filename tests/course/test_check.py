"""`check` and `answer` as a student meets them: hints, progress, and nbgrader's contract."""

from __future__ import annotations

import json
import os
import stat
import threading

import pytest

import labkit
from labkit.course import record
from labkit.errors import LabkitError


def wrong(logits, temperature):
    return (logits / temperature).exp()


def stub(logits, temperature):
    raise NotImplementedError("TODO 99-soften: softmax at a temperature. Look at section 1.")


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    monkeypatch.setattr(record, "_told", set())


def saved(tmp_path) -> dict:
    return json.loads((tmp_path / "progress.json").read_text())["checks"]


def test_pass_is_true_and_recorded(lab, tmp_path, capsys):
    result = labkit.check("99-soften", lab.soften)
    assert result
    assert (result.status, result.points, result.possible, result.id) == ("passed", 2, 2, "99-soften")
    row = saved(tmp_path)["99-soften"]
    assert (row["attempts"], row["points"]) == (1, 2.0)
    assert row["passed"].startswith("20")
    assert capsys.readouterr().out.startswith("✓ Passed: 99-soften · 2 of 2 points")


def test_first_pass_is_kept(lab, tmp_path):
    labkit.check("99-soften", lab.soften)
    first = saved(tmp_path)["99-soften"]["passed"]
    labkit.check("99-soften", wrong)
    row = saved(tmp_path)["99-soften"]
    assert (row["passed"], row["points"], row["attempts"]) == (first, 2.0, 2)


def test_hints_open_one_by_one_and_the_solution_last(lab):
    opened = [labkit.check("99-soften", wrong) for _ in range(5)]
    assert [len(result.hints) for result in opened] == [1, 2, 3, 3, 3]
    assert [bool(result.solution) for result in opened] == [False] * 4 + [True]
    assert opened[1].hint == lab.SOFTEN.hints[1]
    assert "def soften(logits, temperature)" in opened[4].solution
    assert "<details><summary>Show a solution" in opened[4].html()


def test_misconception_hint_is_there_at_the_first_attempt(lab):
    result = labkit.check("99-soften", lambda z, t: (z * t).softmax(dim=1))
    assert (result.misconception, result.hint) == ("times T", "Multiplying sharpens; `divide`.")
    assert "<code>divide</code>" in result.html()


def test_open_todo_is_no_attempt(lab, tmp_path):
    result = labkit.check("99-soften", stub)
    assert not result
    assert result.status == "not yet"
    assert not (tmp_path / "progress.json").exists()


def test_unknown_id_names_the_nearest(lab):
    with pytest.raises(LabkitError, match=r"Unknown check '99-softn'\. Did you mean '99-soften'"):
        labkit.check("99-softn", stub)
    with pytest.raises(LabkitError, match="Unknown check 'soften'"):
        labkit.answer("soften", stub)
    with pytest.raises(LabkitError, match="Unknown check"):
        labkit.check(stub, "99-soften")


def test_answer_keeps_a_right_one_and_replaces_others_with_a_note(lab, capsys, tmp_path):
    right = lambda z, t: (z / t).softmax(1)  # noqa: E731
    assert labkit.answer("99-soften", right) is right
    assert capsys.readouterr().out == ""
    for other in (stub, wrong, None):
        assert labkit.answer("99-soften", other) is lab.soften
        assert "the reference for 99-soften" in capsys.readouterr().out
    assert labkit.answer("99-bug", None) == 4
    assert not (tmp_path / "progress.json").exists()


@pytest.mark.parametrize("mode", ["autograde", "validate"])
def test_nbgrader_gets_a_bare_float_and_nothing_else(lab, monkeypatch, capsys, tmp_path, mode):
    def warns(logits, temperature):
        import sys
        import warnings

        warnings.warn("careful", stacklevel=1)
        print("noise", file=sys.stderr)
        return lab.soften(logits, temperature)

    monkeypatch.setenv("NBGRADER_EXECUTION", mode)
    scores = [labkit.check("99-soften", answer) for answer in (warns, wrong, stub, None, 3)]
    assert scores == [2.0, 0.0, 0.0, 0.0, 0.0]
    assert {type(score) for score in scores} == {float}
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "progress.json").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"checks": []}', '{"checks": {"99-soften": 3}}', "\x00\xff"]
)
def test_unreadable_progress_is_kept_aside_and_said_once(lab, tmp_path, capsys, text):
    (tmp_path / "progress.json").write_bytes(text.encode("latin-1"))
    labkit.check("99-soften", lab.soften)
    labkit.check("99-soften", lab.soften)
    kept = list(tmp_path.glob("progress.unreadable-*.json"))
    assert [path.read_bytes() for path in kept] == [text.encode("latin-1")]
    assert saved(tmp_path)["99-soften"]["attempts"] == 2
    assert capsys.readouterr().out.count("could not be read; it is kept as") == 1


def test_unwritable_progress_is_one_sentence_and_the_check_goes_on(lab, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "file" / "progress.json"))
    assert labkit.check("99-soften", lab.soften)
    assert not labkit.check("99-soften", wrong)
    out = capsys.readouterr().out
    assert out.count("Can't write the progress file") == 1
    assert "checks work" in out


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(lab, tmp_path, capsys):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert labkit.check("99-soften", lab.soften)
    finally:
        tmp_path.chmod(0o700)
    assert "Can't write the progress file" in capsys.readouterr().out


def test_full_disk_while_recording(lab, tmp_path, monkeypatch, capsys):
    labkit.check("99-soften", lab.soften)
    before = (tmp_path / "progress.json").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert labkit.check("99-soften", lab.soften)
    assert "No space left on device" in capsys.readouterr().out
    assert (tmp_path / "progress.json").read_bytes() == before


def test_attempts_from_several_threads_are_all_counted(lab, tmp_path):
    threads = [threading.Thread(target=record.add, args=("99-soften", False, 2)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert saved(tmp_path)["99-soften"]["attempts"] == 8


def test_default_place_is_the_work_folder(monkeypatch):
    monkeypatch.delenv("LABKIT_PROGRESS")
    assert record.path() == labkit.paths.work() / "progress.json"
