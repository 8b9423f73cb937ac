"""`labkit bench --data NAME`: methods x seeds x budgets, tuned on validation, resumable, one table."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from labkit import LabkitError, methods, models
from labkit.bench import (
    Results,
    bench_data,
    interval,
    matrix,
    matrix_read,
    matrix_rows,
    matrix_table,
    matrix_tuning,
    pair,
    vlm,
)
from labkit.bench.grid import groups
from labkit.models import Classifier
from labkit.profiles import preset, presets

AVIARY = preset("aviary")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The Aviary's preset on its smallest size, a few steps long; everything lies in a folder of its own."""
    monkeypatch.setenv("LABKIT_QUIET", "1")
    pair.KEPT.clear()
    real = matrix.setting

    def small(name: str, *narrowed: object):
        s = real(name, *narrowed)
        s.data = {"name": "aviary", "size": "mini"}
        s.teacher = {"name": "tiny", "weights": "pretrained"}
        s.teacher_training = {**s.teacher_training, "steps": 6}
        s.training = {**s.training, "steps": 3}
        if name == "aviary-vlm":
            s.intermediate, s.intermediate_training = s.teacher, s.teacher_training
            s.calibration = {**s.calibration, "n_ctx": 2, "epochs": 1}
            s.roster = {**s.roster, "per_class": 2, "students": ["tiny", "small"]}
        s.views, s.tuned_at = 2, 2
        s.budgets = [b for b in s.budgets if b <= 2] or [1, 2]
        return s

    monkeypatch.setattr(matrix, "setting", small)
    return small


@pytest.mark.slow
def test_runs_of_each_sort_measure_what_the_table_needs(toy):
    """In this process."""
    s = toy("aviary")
    some = ("teacher", "label_smoothing", "takd", "fitnet two-phase", "reviewkd")
    for job in [job for job in matrix.jobs(s, 1) if job["per_class"] == 2 and job["method"] in some]:
        row = matrix.run(job, s)
        assert {k: row[k] for k in job} == job
        assert 0 <= row["val"] <= 1
        assert 0 <= row["test"] <= 1
        assert 0 <= row["inside"] <= 1
        assert ("assistant" in row) == (job["method"] == "takd")
    tuning = next(iter(matrix.tuning_jobs(s)))
    assert set(matrix.run(tuning, s)) == {*tuning, "val"}, "tuning sees no test image"


@pytest.mark.slow
def test_runs_with_a_vision_language_model(toy):
    """In this process: references, rows that build on a first stage, another student."""
    s = toy("aviary-vlm")
    found = {}
    for job in matrix.jobs(s, 1):
        wanted = job["method"] not in (
            "teacher",
            "scratch",
            "finetuned",
            "hinton",
            "rkd",
            "rkd_clip",
            "dait-l",
        )
        if job["per_class"] == 2 and wanted and (job["experiment"] == "main" or job["method"] == "pand"):
            row = matrix.run(job, s)
            assert {k: row[k] for k in job} == job
            assert 0 <= row["test"] <= 1
            assert ("assistant" in row) == (job["method"] == "takd_clip")
            found[job["experiment"], job["method"]] = row
    assert found["main", "dait-f"]["stage1"] == s.stage1
    assert found["main", "dait + pand"]["calibration"] == s.calibration
    assert found["main", "zero-shot"]["test"] > 0.3 > found["main", "pand"]["test"]
    assert found["roster", "pand"]["student"] == "small"
    tried = next(job for job in matrix.tuning_jobs(s) if job["method"] == "calibrated")
    assert set(matrix.run(tried, s)) == {*tried, "val"}
    assert "lr" in tried
    assert "calibration" not in tried, "what is tried is not recorded as chosen"


@pytest.mark.slow
def test_a_run_from_the_table_to_the_files(toy, monkeypatch, tmp_path: Path, capsys):
    """In this process instead of workers, which would not see the toy."""
    monkeypatch.setattr("labkit.bench.grid._run", in_this_process)
    out = tmp_path / "aviary.json"
    chosen = {"methods": ["scratch", "hinton"], "budgets": [1, 2], "seeds": 2, "out": out}
    results = bench_data("aviary", **chosen)
    printed = capsys.readouterr().out
    assert len(results.rows) == 2 * 2 * 3
    assert results.command == "labkit bench --data aviary --seeds 2"
    assert "student alone" in printed
    assert "1 label: above student alone, each interval without zero: " in printed
    assert "Hinton's KD" in (tmp_path / "aviary.md").read_text(encoding="utf-8")
    assert (tmp_path / "aviary.png").stat().st_size > 5_000
    again = bench_data("aviary", **chosen)
    assert again.rows == sorted(results.rows, key=lambda r: again.rows.index(r)), "nothing is run twice"
    kept = {json.dumps(row) for row in again.rows}

    monkeypatch.setitem(AVIARY.methods["hinton"], "temperature", 7.0)
    changed = bench_data("aviary", **chosen)
    assert len(changed.rows) == len(kept), "runs with options that are no longer chosen are replaced"
    assert {json.dumps(r) for r in changed.rows} & kept == {j for j in kept if '"hinton"' not in j}

    bench_data("aviary", **chosen, estimate=True)
    assert "Nothing is missing." in capsys.readouterr().out


def in_this_process(grid, missing, setting, workers, results, path):
    for group in groups(grid, missing, workers):
        for job in group:
            results.rows.append(matrix.run(job, setting))
            results.save(path)


def test_jobs_of_one_seed_and_budget_share_a_process_and_work_is_spread():
    s = matrix.setting("aviary")
    jobs = list(matrix.jobs(s, 4))
    assert len(jobs) == len(s.budgets) * 4 * (1 + len(s.methods))
    parts = groups(matrix.__name__, jobs, 2)
    assert [len({matrix.group(job) for job in part}) for part in parts] == [1] * (4 * len(s.budgets))
    n = 1 + len(s.methods)
    odd = groups(matrix.__name__, [job for job in matrix.jobs(s, 5) if job["per_class"] == 5], 2)
    assert [len(part) for part in odd] == [n] * 4 + [n - n // 2, n // 2], "the fifth is dealt out to both"
    early = [(job["per_class"], job["seed"]) for job in jobs]
    assert early[0] == (s.budgets[0], 0)
    assert early[-1] == (s.budgets[-1], 3)
    assert early.index((s.budgets[-1], 2)) < early.index((s.budgets[0], 3)), "three seeds of all come first"
    tuning = list(matrix.tuning_jobs(s))
    halves = groups(matrix.__name__, tuning, 2)
    assert [len(half) for half in halves] == [len(tuning) // 2] * 2
    assert sorted(map(json.dumps, halves[0] + halves[1])) == sorted(map(json.dumps, tuning))


def test_narrowed_to_some_methods_and_budgets():
    s = matrix.setting("aviary", ["hinton", "scratch"], [7])
    assert list(s.methods) == ["hinton", "scratch"]
    assert s.budgets == [7]
    assert s.outputs == ("logits", "embedding"), "no maps are stored where nobody reads them"
    assert "maps.0" in matrix.setting("aviary", ["reviewkd"]).outputs
    assert matrix.setting("aviary").budgets == AVIARY.budgets, "the preset itself is as before"
    first = matrix.setting("aviary-vlm", ["intermediate"])
    assert {job["method"] for job in matrix.tuning_jobs(first)} == {"intermediate"}
    assert {job["method"] for job in matrix.jobs(first, 1)} == {"intermediate"}


def test_rows_may_be_chosen_again_at_a_budget_of_their_own():
    s = matrix.setting("aviary-vlm", ["scratch", "dait-f"])
    s.tried_at, s.methods_at = {20: {"scratch": {"lr": [0.1, 0.3]}}}, {20: {"scratch": {"lr": 0.3}}}
    again = [job for job in matrix.tuning_jobs(s) if job["per_class"] == 20]
    assert [(job["seed"], job["lr"]) for job in again] == [(100, 0.1), (100, 0.3), (101, 0.1), (101, 0.3)]
    assert {job["per_class"] for job in matrix.tuning_jobs(s)} == {s.tuned_at, 20}
    rates = {(job["method"], job["per_class"]): job.get("lr") for job in matrix.jobs(s, 1)}
    assert rates["scratch", 20] == 0.3
    assert rates["scratch", 6] == s.methods["scratch"]["lr"]
    assert rates["dait-f", 20] == rates["dait-f", 6]
    roster = {job["method"]: job["lr"] for job in matrix.jobs(s, 1) if job["experiment"] == "roster"}
    assert roster == {"scratch": 0.3, "dait-f": s.methods["dait-f"]["lr"]}
    s.tuned_at = None  # a preset without budgets trains on all labels
    assert {job["per_class"] for job in matrix.tuning_jobs(s)} == {None, 20}


def test_the_roster_comes_last_on_other_students_alone():
    s = matrix.setting("aviary-vlm")
    jobs = list(matrix.jobs(s, 2))
    last = [job for job in jobs if job["experiment"] == "roster"]
    assert jobs[-len(last) :] == last
    others = set(s.roster["students"]) - {s.student["name"]}
    assert len(last) == 2 * len(others) * len(s.roster["methods"])
    assert {job["student"] for job in last} == others
    assert {job["experiment"] for job in matrix.jobs(matrix.setting("aviary-vlm", None, [6]), 2)} == {"main"}
    assert {job["method"] for job in last} == set(s.roster["methods"])


def test_every_row_is_run_somewhere():
    assert set(matrix.KINDS) == {method for name in presets() for method in preset(name).methods}
    assert set(matrix.REFERENCES) == set(preset("aviary-vlm").references)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "aviari"}, r"Unknown comparison 'aviari'\. Did you mean 'aviary'"),
        ({"name": "aviary", "methods": ["hintn"]}, "Unknown method of the comparison 'aviary' 'hintn'"),
        ({"name": "aviary", "budgets": [0]}, "at least 1, not"),
        ({"name": "aviary", "seeds": 0}, "at least 1"),
        ({"name": "aviary", "workers": 0}, "at least 1"),
    ],
)
def test_mistakes(arguments: dict, sentence: str):
    with pytest.raises(LabkitError, match=sentence):
        bench_data(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", presets())
def test_presets_can_be_run(name: str):
    """Methods and their options exist; six configurations were tried of each, where any were."""
    s = preset(name)
    for method, options in s.methods.items():
        kind = matrix.KINDS[method]
        tried = matrix_tuning.configurations(s, method) if method in getattr(s, "tried", ()) else [options]
        again = [rows[method] for rows in getattr(s, "methods_at", {}).values() if method in rows]
        first = [row for row, other in matrix.REFERENCES.items() if other.tunes in kind.first]
        shared = len(matrix_tuning.configurations(s, first[0])) if first else 0
        assert len(tried) + shared in (1, 6)
        for option in [options, *tried, *again]:
            made = example(s, kind, option)
            assert kind.maps == any(n.startswith("maps") for n in made.needs)
            if isinstance(made.teacher, Classifier):
                assert set(made.needs) <= set(matrix.EVERYTHING)


def example(s, kind: matrix_rows.Kind, option: dict):
    """A row's method on untrained networks of four classes."""
    student, teacher = (
        models.build(num_classes=4, **{**net, "weights": None}) for net in (s.student, s.teacher)
    )
    own = {k: v for k, v in (kind.options | option).items() if k not in pair.RECIPE}
    if not methods.asks_vlm(kind.method):
        return methods.create(kind.method, student=student, teacher=teacher, **own)
    own.pop("anchors", None)
    if kind.method == "dait":
        return methods.create("dait", student=student, intermediate=teacher, only=2, **own)
    words = ["a wren", "a kite", "a finch", "a gull"]
    return methods.create(kind.method, student=student, teacher=vlm.load(s), prompts=words, **own)


def rows(**levels: list[float]) -> list[dict]:
    """Rows at two budgets; the second is 0.1 better."""
    return [
        {"experiment": "main", "method": m, "seed": seed, "per_class": b, "val": 0.5, "inside": 0.3}
        | {"test": value + (b == 10) / 10}
        | ({"assistant": 0.9} if m == "takd" else {})
        for m, values in levels.items()
        for seed, value in enumerate(values)
        for b in (5, 10)
    ]


@pytest.fixture
def found() -> Results:
    levels = {"teacher": [0.9] * 3, "scratch": [0.40, 0.41, 0.42], "label_smoothing": [0.45, 0.46, 0.44]}
    levels |= {"hinton": [0.60, 0.61, 0.625], "takd": [0.5, 0.44, 0.47]}
    return Results("labkit bench --data aviary --seeds 3", "a machine", rows(**levels))


def test_table_claims_and_figure(found: Results):
    s = matrix.setting("aviary", None, [5, 10])
    made = matrix_table.table(found, s)
    lines = {row[0]: [str(cell) for cell in row[1:]] for row in made.rows}
    assert list(lines) == [
        "teacher", "student alone", "label smoothing", "Hinton's KD", "teacher assistant", "  its assistant"
    ]  # fmt: skip
    assert lines["student alone"] == ["41.0 ± 2.5", "51.0 ± 2.5", "", "-4.0 ± 4.3", "30.0 ± 0.0"]
    assert lines["Hinton's KD"][2:4] == [
        str(found.gain({"method": "hinton", "per_class": 5}, {"method": m, "per_class": 5}))
        for m in ("scratch", "label_smoothing")
    ]
    assert lines["  its assistant"][:2] == ["90.0 ± 0.0"] * 2
    assert "3 seeds" in made.note
    claims = matrix_table.claims(found, s)
    assert claims == [
        f"{b} labels: above student alone and label smoothing, each interval without zero: Hinton's KD."
        for b in (5, 10)
    ]
    figure = matrix_table.picture(found, s)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["student alone", "label smoothing", "Hinton's KD", "teacher assistant"]
    assert "90 %" in figure.axes[0].get_title()


def test_a_seed_counts_when_all_rows_were_run_with_it(found: Results, tmp_path: Path):
    s = matrix.setting("aviary", None, [5, 10])
    found.rows = [r for r in found.rows if (r["method"], r["per_class"], r["seed"]) != ("hinton", 10, 2)]
    assert list(matrix_table.shown(found, s)) == ["5 labels", "10 labels"]
    made = matrix_table.table(found, s)
    assert "over 3 (5 labels), 2 (10 labels) seeds" in made.note
    alone = next(row for row in made.rows if row[0] == "student alone")
    assert str(alone[2]) == str(interval([0.5, 0.51]))
    found.rows = [r for r in found.rows if (r["method"], r["per_class"]) != ("hinton", 10)]
    assert list(matrix_table.shown(found, s)) == ["5 labels"], "without a row a condition is not done"
    assert [str(c) for c in matrix_table.table(found, s).columns[:2]] == ["test accuracy, %", "5 labels"]
    assert matrix_table.write(Results(""), s, tmp_path / "x.json") == []


def test_lengths_of_training_are_conditions_too():
    s = matrix.setting("aviary", ["scratch"], [5])
    s.epochs = [3, 15]
    assert matrix_read.conditions(s) == {
        "3 epochs": {"per_class": 5, "epochs": 3},
        "15 epochs": {"per_class": 5, "epochs": 15},
    }
    jobs = list(matrix.jobs(s, 1))
    assert [job.get("epochs") for job in jobs] == [None, 3, 15], "the teacher is as it is"
    assert matrix.cost(jobs[2]) == 5 * matrix.cost(jobs[1])


@pytest.fixture
def vlm_found() -> tuple[Results, SimpleNamespace]:
    """All rows of the comparison with a vision-language model, each a step above the one before."""
    s = matrix.setting("aviary-vlm")
    level = {row: i / 40 for i, row in enumerate([*s.references, *s.methods])}
    jitter = {0: 0.0, 1: 0.01, 2: 0.03}
    rows = [
        {**job, "val": 0.5, "inside": 0.9, "assistant": 0.6}
        | {"test": 0.3 + level[job["method"]] + jitter[job["seed"]] + job["per_class"] / 100}
        for job in matrix.jobs(s, 3)
    ]
    return Results("labkit bench --data aviary-vlm --seeds 3", "a machine", rows), s


def test_differences_that_the_preset_asks_for(vlm_found):
    found, s = vlm_found
    made = {row[0]: [str(cell) for cell in row[1:]] for row in matrix_table.differences(found, s).rows}
    where = dict.fromkeys(("6 labels", "10 labels", "20 labels"))
    assert list(matrix_table.differences(found, s).columns[1:]) == list(where), "few labels first"
    names = list(s.methods)
    steps = names.index("dait-f") - names.index("vl2lite")  # of the three the best one
    assert made["DAIT-F minus the best of KD(CLIP), RKD(CLIP), VL2Lite"] == [f"{2.5 * steps:.1f} ± 0.0"] * 3
    assert len(made) == len(s.differences)
    assert matrix_table.differences(found, matrix.setting("aviary")) is None


def test_the_rosters_table_has_the_tables_student_too(vlm_found):
    found, s = vlm_found
    made = matrix_table.roster(found, s)
    assert list(made.columns[1:]) == list(s.roster["students"])
    lines = {row[0]: [str(cell) for cell in row[1:]] for row in made.rows}
    assert lines["PAND"] == ["93.8 ± 3.8"] * 4
    assert lines["PAND minus VL2Lite"] == ["10.0 ± 0.0"] * 4
    assert made.note.endswith("3 seeds, 300 steps.")
    found.rows = [r for r in found.rows if (r.get("student"), r["seed"]) != ("small", 2)]
    assert "2 seeds" in matrix_table.roster(found, s).note, "of the seeds that all students have"
    found.rows = [r for r in found.rows if r["experiment"] == "main"]
    assert matrix_table.roster(found, s) is None


@pytest.mark.slow
def test_many_budgets_are_drawn_as_curves(vlm_found, tmp_path: Path):
    found, s = vlm_found
    (axis,) = matrix_table.picture(found, s).axes
    words = [text.get_text() for text in axis.texts]
    assert sorted(words) == sorted(matrix_table.rows(found, s).values())
    assert [label.get_text() for label in axis.get_xticklabels()] == ["6", "10", "20"]
    files = matrix_table.write(found, s, tmp_path / "aviary-vlm.json")
    text = files[0].read_text(encoding="utf-8")
    for part in ("CLIP, zero-shot", "its assistant", "points, paired by seed", "mobilenetv2_narrow"):
        assert part in text
