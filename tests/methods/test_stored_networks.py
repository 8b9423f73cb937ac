"""A bank that would speak for a network must be that network's, whichever of a method's networks it is."""

from __future__ import annotations

import pytest
import torch
from vlm_toys import PROMPTS, ToyVLM, classifier

from labkit import LabkitError, data, engine, methods


@pytest.fixture(scope="module")
def digits() -> data.DataModule:
    module = data.load("digits", per_class=3)
    kept = [torch.nonzero(split.labels < 3)[:, 0] for split in (module.train, module.val, module.test)]
    train, val, test = (
        data.ImageSet(split.images[rows], split.labels[rows], ("circle", "square", "star"), split.ids[rows])
        for split, rows in zip((module.train, module.val, module.test), kept, strict=True)
    )
    return data.DataModule("three", train, val, test)


def refused(method: methods.Method, digits: data.DataModule, **bank: engine.FeatureBank) -> str:
    with pytest.raises(LabkitError) as caught:
        engine.fit(method, digits, bank=bank, steps=1, progress=False, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "bank"), [("vl2lite", "vlm"), ("kd_clip", "teacher"), ("pand", "vlm")])
def test_another_vision_language_models_bank_is_refused(digits, name: str, bank: str):
    vlm, other = ToyVLM(), ToyVLM(seed=1)
    method = methods.create(name, student=classifier(), teacher=vlm, prompts=PROMPTS)
    stored = {bank: engine.FeatureBank(other, digits.train, keep=False)}
    assert "another network than the vision-language model" in refused(method, digits, **stored)
    stored = {bank: engine.FeatureBank(vlm, digits.train, keep=False)}
    engine.fit(method, digits, bank=stored, steps=1, progress=False, device="cpu")


def test_another_intermediates_bank_is_refused(digits):
    """The usual slip: the bank was made before the intermediate was trained."""
    method = methods.create("dait", student=classifier(), intermediate=classifier(1), only=2)
    early = engine.FeatureBank(method.intermediate, digits.train, outputs=("final_map",), keep=False)
    with torch.no_grad():
        method.intermediate.head.bias.add_(1)
    assert "another network than the intermediate" in refused(method, digits, intermediate=early)


def test_a_bank_that_no_loss_reads_is_not_held_to_the_teacher(digits):
    """With both stages the intermediate is trained: no bank speaks for it."""
    vlm = ToyVLM()
    method = methods.create(
        "dait", student=classifier(), teacher=vlm, prompts=PROMPTS, intermediate=classifier(1), width=4
    )
    stored = {"vlm": engine.FeatureBank(vlm, digits.train, keep=False)}
    engine.fit(method, digits, bank=stored, steps=1, progress=False, device="cpu")
