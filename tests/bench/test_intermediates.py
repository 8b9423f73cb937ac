"""Candidates for the intermediate teacher: what is known before, what is trained, and what is printed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from labkit import LabkitError, models, profiles
from labkit.bench import Results, intermediates, pair, vlm
from labkit.models import cka

SHORT = {"steps": 4, "batch_size": 32, "lr": 0.01}


@pytest.fixture(scope="module", autouse=True)
def settings() -> SimpleNamespace:
    """The miniature's own settings on its smallest size, with a few steps."""
    real = intermediates.setting("cpu")
    short = {"data": {"name": "aviary", "size": "mini"}, "per_class": 2, "views": 1, "seeds": 1}
    short |= {"candidates": ["tiny", "shufflenetv2_narrow"], "training": SHORT}
    short |= {"intermediate_training": SHORT | {"head_share": 0.5}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intermediates, "setting", lambda *_: SimpleNamespace(**vars(real) | short))
        pair.KEPT.clear()
        yield intermediates.setting()
        pair.KEPT.clear()


def test_what_is_measured(settings: SimpleNamespace):
    found = {one.name: one for one in intermediates.measure(settings)}
    assert list(found) == sorted(found, key=lambda name: -found[name].cka_unbiased)
    module = pair.few(settings, 2, 0)
    images = module.val.images / 255
    theirs = vlm.load(settings).encode_image(images)
    for name, one in found.items():
        net = models.build(name, 60, weights="pretrained").eval()
        with torch.no_grad():
            ours = net(images).embedding
        assert one.cka == pytest.approx(cka(ours, theirs), abs=1e-4)
        assert one.cka_unbiased == pytest.approx(cka(ours, theirs, unbiased=True), abs=1e-4)
        assert one.width == ours.shape[1] == net.embedding_dim
        assert one.parameters == sum(
            p.numel() for n, p in net.named_parameters() if p not in set(net.head.parameters())
        )
        assert one.cka_unbiased < one.cka


def test_noise_grows_with_the_width_and_with_fewer_images():
    theirs = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
    narrow, wide, fewer = (
        intermediates.noise(x, width) for x, width in ((theirs, 16), (theirs, 4096), (theirs[:20], 4096))
    )
    assert narrow < 0.15 < wide < fewer
    assert fewer > 0.6


@pytest.mark.slow
def test_students_are_trained_once_and_shown(
    settings: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
):
    (one, _) = intermediates.jobs(settings, 1)
    assert (one["intermediate"], one["method"], one["seed"]) == ("tiny", "dait-f", 0)
    row = intermediates.run(one, settings)
    assert one.items() <= row.items()
    assert row["embedding_dim"] == 48
    assert all(0 <= row[name] <= 1 for name in ("val", "test", "adapted", "cka", "cka_noise"))

    file = tmp_path / "results.json"
    Results("labkit intermediates --students --seeds 1", "a machine", [row]).save(file)
    before = json_rows(file.read_text(encoding="utf-8"))
    first = {"folder": tmp_path, "out": file, "workers": 1}
    found = intermediates.intermediates(**first)
    table = capsys.readouterr().out
    assert "- was not trained: add --students" in table, "of the other candidate"
    assert f"{100 * row['test']:.1f}" in table
    assert {each.name for each in found} == {"tiny", "shufflenetv2_narrow"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "data:image/png" in page
    assert 'alt="Candidates' in page

    monkeypatch.setattr(settings, "candidates", ["tiny"])
    monkeypatch.setattr(intermediates, "setting", lambda *_: settings)
    intermediates.intermediates(students=True, seeds=1, **first)  # nothing is missing
    assert "not trained" not in capsys.readouterr().out
    assert json_rows(file.read_text(encoding="utf-8")) == before

    Results("", "a machine", [row | {"lr": 9.0, "test": 0.0}, row]).save(file)
    intermediates.intermediates(students=True, seeds=1, **first)
    assert json_rows(file.read_text(encoding="utf-8")) == before, "what other options gave is forgotten"


def json_rows(text: str) -> str:
    return text[text.index('"rows"') :]


def test_only_pretrained_candidates(settings: SimpleNamespace):
    with pytest.raises(LabkitError, match="no published weights"):
        intermediates.measure(SimpleNamespace(**vars(settings) | {"candidates": ["digit_cnn"]}))
    with pytest.raises(LabkitError, match="at least 1"):
        intermediates.intermediates(seeds=0)


@pytest.mark.parametrize("name", ["gpu", "paper"])
def test_the_papers_candidates(name: str):
    s = SimpleNamespace(**profiles._preset("intermediates.yaml")[name])
    bare = [one.partition(".")[0] for one in s.candidates]
    assert bare == ["regnety_016", "vgg13", "resnet50", "resnet34", "resnet18", "efficientnet_b0"]
    assert set(bare) <= set(models.available())
    needed = {"data", "student", "vlm", "prompts", "views", "training", "intermediate_training"}
    assert needed | {"teacher_training", "stage1"} <= set(vars(s))
    assert s.method in s.methods
    assert "intermediates" not in profiles.presets()
