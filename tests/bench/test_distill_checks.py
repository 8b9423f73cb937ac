"""What `labkit distill` refuses before it loads or trains anything, and where its options go."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toy_pictures import pictures

from labkit import LabkitError, data, methods, models
from labkit.bench import vlm
from labkit.bench.classes import said_names, texts
from labkit.bench.distill_settings import Asked, settings


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("pand", {"temperature": "warm"}, "temperature must be a number, but it is 'warm'"),
        ("dait", {"k": "half"}, "k must be a number, but it is 'half'"),
        ("dait", {"k": float("nan")}, "k must be a number, but it is nan"),
        ("dait", {"stage1.width": "big"}, "width must be a whole number, but it is 'big'"),
        ("dait", {"stage1.width": 2.5}, "width must be a whole number, but it is 2.5"),
        ("dait", {"transfer": "logits"}, "Unknown value of transfer 'logits'"),
        ("dait", {"channels": "avg"}, "Unknown value of channels 'avg'"),
        ("dait", {"temperature": -1}, "temperature greater than 0"),
        ("dait", {"e": "steps"}, "Unknown meaning of e 'steps'"),
        ("dait", {"logit_scale": 0}, "logit_scale must be greater than 0"),
        ("vl2lite", {"slope": "a"}, "slope must be a number"),
        ("vl2lite", {"visual": -1}, "visual and linguistic must be at least 0"),
        ("kd_clip", {"hard_weight": "x"}, "hard_weight must be a number"),
        ("kd_clip", {"hard_weight": 2}, r"hard_weight in \[0, 1\]"),
        ("hinton", {"temperature": 0}, "temperature must be greater than 0"),
        ("pand", {"k": 0}, "k must be a whole number"),
        ("pand", {"k": 12, "batch_size": 12}, "k=12 neighbours need batches of at least 13 images"),
        ("pand", {"lr": "fast"}, "lr must be a number, but it is 'fast'"),
        ("pand", {"calibration.epochs": "few"}, "epochs must be a whole number, but it is 'few'"),
        ("dait", {"intermediate.lr": -1}, "lr must be greater than 0"),
        ("dait", {"intermediate.head_share": "all"}, "head_share must be a number"),
        ("dait", {"intermediate.moment": 1}, "Unknown option of a training 'moment'"),
    ],
)
def test_a_value_is_refused_before_anything_is_loaded(method: str, options: dict, sentence: str):
    asked = Asked(
        method, "aviary", student="tiny", teacher="mid" if method == "hinton" else None, options=options
    )
    with pytest.raises(LabkitError, match=sentence) as caught:
        settings(asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"data": "pics"}, "Unknown data set 'pics'.*Nor is it a folder here"),
        ({"vlm": "clipp"}, "Unknown vision-language model 'clipp'"),
        ({"only": 1, "options": {"k": 1}}, r"the first stage, which doesn't read k.*stage1\.k=1"),
    ],
)
def test_a_name_is_refused_before_anything_is_loaded(changed: dict, sentence: str):
    with pytest.raises(LabkitError, match=sentence):
        settings(Asked(**{"method": "dait", "data": "aviary"} | changed))


def test_each_option_goes_to_the_stage_that_reads_it():
    told = {"logit_scale": 100.0, "temperature": 4.0, "k": 1.0, "stage1": {"k": 0.2}}
    assert vlm.first_stage("dait", told) == (
        {"logit_scale": 100.0, "temperature": 4.0, "k": 0.2},
        {"k": 1.0},
    )
    first, second = vlm.first_stage("dait", told | {"transfer": "logit"})
    assert "temperature" not in first
    assert second["temperature"] == 4.0

    told = {"logit_scale": 100.0, "temperature": 4.0, "hard_weight": 0.2, "kd_weight": 3.0}
    first, second = vlm.first_stage("takd_clip", told)
    assert first == told | {"method": "kd_clip"}
    assert second == {name: told[name] for name in ("temperature", "hard_weight", "kd_weight")}
    student = models.build("tiny", 3)
    methods.create("takd", student=student, teacher=models.build("small", 3).eval(), assistant=[], **second)


def test_sentences_of_ones_own_need_no_class_name_but_must_differ(tmp_path: Path):
    pictures(tmp_path / "pictures")
    module = data.load("folder", root=str(tmp_path / "pictures"), image_size=16)
    sentences = ["A crimson flyer.", "An azure flyer.", "An emerald flyer."]
    s = SimpleNamespace(prompts=sentences)
    assert texts(s, module) == sentences
    methods.Calibration(torch.zeros(3, 2), tuple(sentences)).check_classes(said_names(s, module))
    s.prompts = ["A bird.", "an azure flyer", "a  bird."]
    with pytest.raises(LabkitError, match=r"Two classes have the same sentence, 'a bird\.'"):
        texts(s, module)
