"""Vision-language teachers in a comparison: what is shared, kept, and given to each method."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from toy_pictures import pictures

from labkit import engine, methods, models
from labkit.bench import pair, vlm
from labkit.bench.adapt import adapt
from labkit.rng import seed_everything

BUDGET = 4


@pytest.fixture(scope="module")
def s(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A few pictures and a few steps."""
    pair.KEPT.clear()
    root = pictures(tmp_path_factory.mktemp("data") / "pictures")
    yield SimpleNamespace(
        data={"name": "folder", "root": str(root), "image_size": 16},
        student={"name": "tiny"},
        teacher={"name": "tiny", "weights": "pretrained"},
        intermediate={"name": "tiny", "weights": "pretrained"},
        vlm="aviary-clip",
        prompts="a photo of a {}",
        calibration={"n_ctx": 4, "epochs": 2},
        teacher_training={"steps": 8, "batch_size": 4, "lr": 0.002, "head_lr": 0.03, "head_share": 0.75},
        training={"steps": 1, "batch_size": 4, "lr": 0.01},
        views=2,
    )
    pair.KEPT.clear()


def weights_equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_models_bank_holds_the_teachers_views(s: SimpleNamespace):
    ours = vlm.bank(s, 0, BUDGET)
    teacher, _ = pair.adapted(s, 0, BUDGET)
    theirs = pair.teacher_bank(s, 0, BUDGET, teacher, ("logits",))
    assert (ours.views, ours.augment, ours.seed) == (theirs.views, theirs.augment, theirs.seed)
    engine.bank_feed.Feed({"vlm": ours, "teacher": theirs}, pair.few(s, BUDGET, 0).train)
    batch = next(iter(theirs.batches(8, epoch=1)))
    stored = ours.stored(batch.index, batch.view)["features"]
    torch.testing.assert_close(stored, vlm.load(s).encode_image(batch.image), rtol=0, atol=1e-3)
    assert vlm.bank(s, 0, BUDGET) is ours
    assert pair.teacher_bank(s, 0, BUDGET, teacher, ("logits",)) is theirs, "one of each role is kept"
    plain = vlm.bank(s, 0, BUDGET, views=0)
    assert plain.augment == type(plain.augment)()
    assert vlm.bank(s, 0, BUDGET) is ours


def test_a_whole_bank_serves_every_budget(s: SimpleNamespace):
    whole = SimpleNamespace(**vars(s) | {"whole": True})
    one, two = vlm.bank(whole, 0, 1), vlm.bank(whole, 0, BUDGET)
    assert one is two
    few = pair.few(s, 1, 0).train
    assert len(one) > len(few)
    assert len(one.stored(few.ids, 1)["features"]) == len(few)


def test_prompts_are_a_template_several_or_sentences(s: SimpleNamespace):
    module = pair.few(s, BUDGET, 0)
    assert vlm.texts(s, module)[0] == f"a photo of a {module.classes[0]}"
    several = SimpleNamespace(prompts=["a {}", "the {}"])
    assert [texts[1] for texts in vlm.texts(several, module)] == [
        f"{a} {module.classes[1]}" for a in ("a", "the")
    ]
    assert vlm.texts(SimpleNamespace(prompts=["a {}"]), module)[2] == f"a {module.classes[2]}"
    said = [f"bird number {i}" for i in range(3)]
    assert vlm.texts(SimpleNamespace(prompts=said), module) == said


def test_zero_shot_is_a_classifier_and_its_features_are_stored(s: SimpleNamespace):
    module = pair.few(s, BUDGET, 0)
    found = engine.evaluate(vlm.zero_shot(s, module), module.val)
    again = vlm.zero_shot_on(s, module, module.val)
    torch.testing.assert_close(again.logits, found.logits, rtol=1e-4, atol=1e-3)
    assert again.accuracy == found.accuracy
    assert vlm.features(s, module.val) is vlm.features(s, module.val)
    assert vlm.load(s) is vlm.load(s)


def test_anchors_are_calibrated_once_on_the_images_as_they_are(s: SimpleNamespace, tmp_path):
    made = vlm.calibrated(s, 0, BUDGET)
    module = pair.few(s, BUDGET, 0)
    assert vlm.calibrated(s, 0, BUDGET) is made
    assert made.names[0] == f"a photo of a {module.classes[0]}"
    own = methods.calibrate(
        vlm.load(s),
        module.prompts("a photo of a {}"),
        engine.FeatureBank(vlm.load(s), module.train, keep=False),
        val=engine.FeatureBank(vlm.load(s), module.val, keep=False),
        **s.calibration,
    )
    torch.testing.assert_close(made.text, own.text, rtol=0, atol=1e-3)
    assert len(made.run.val) == 2
    kept = vlm.calibrated(s, 0, BUDGET, out=tmp_path)
    assert torch.equal(methods.read_calibration(tmp_path).text, kept.text)
    read = vlm.calibrated(s, 0, BUDGET, out=tmp_path)
    assert read.run is None, "read from the file"
    assert torch.equal(read.text, kept.text)


def test_the_intermediate_learns_head_first_and_without_the_model_is_the_control(s: SimpleNamespace):
    net, accuracy = vlm.intermediate(s, 0, BUDGET)
    assert vlm.intermediate(s, 0, BUDGET) == (net, accuracy)
    assert accuracy == engine.evaluate(net, pair.few(s, BUDGET, 0).val).accuracy
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    other, _ = vlm.intermediate(s, 0, BUDGET, ira_weight=0.0)
    assert other is not net
    assert not weights_equal(net, other)
    control, _ = vlm.intermediate(s, 0, BUDGET, sia_weight=0, ira_weight=0)
    assert control is pair.adapted(s, 0, BUDGET)[0]


def test_the_control_has_the_same_steps(s: SimpleNamespace, tmp_path):
    """Head and network in two runs, as for DAIT, equal the one run of `pair.adapted`."""
    control, _ = pair.adapted(s, 0, BUDGET)
    module = pair.few(s, BUDGET, 0)
    seed_everything(0)
    net = models.build("tiny", 3, weights="pretrained")
    run = adapt(
        net, module, then=methods.create("scratch", student=net), out=tmp_path / "run", **s.teacher_training
    )
    assert weights_equal(run.model, control)
    head = engine.load_run(tmp_path / "run" / "head")
    assert (head.history[-1]["step"], len(run.losses)) == (6, 2)
    in_epochs = {k: v for k, v in s.teacher_training.items() if k != "steps"} | {"epochs": 2}
    assert len(adapt(net, module, then=methods.create("scratch", student=net), **in_epochs).losses) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "kept"),
    [
        ("rkd_clip", {}, "vlm"),
        ("vl2lite", {"anchors": "calibrated"}, "vlm"),
        ("dait", {"transfer": "logit", "transfer_views": "augment"}, "intermediate"),
        ("dait", {"only": None, "intermediate": "tiny"}, "vlm"),
        ("takd_clip", {"temperature": 2.0}, "bank"),
    ],
)
def test_methods_learn_from_stored_outputs(s: SimpleNamespace, name: str, options: dict, kept: str):
    run = pair.train(s, name, 0, BUDGET, **options)
    assert list(run.config["banks"]) == [kept]
    assert torch.isfinite(torch.tensor(run.losses)).all()


def test_what_is_kept_changes_no_number(s: SimpleNamespace):
    """A second training finds the intermediate and its bank; float16 makes the difference to a live one."""
    kept = [pair.train(s, "dait", 0, BUDGET, steps=2).losses for _ in range(2)]
    assert kept[0] == kept[1]
    live = pair.train(s, "dait", 0, BUDGET, steps=2, bank=False)
    assert live.losses == pytest.approx(kept[0], rel=5e-3)


def test_what_each_method_is_given(s: SimpleNamespace):
    pand = pair.create(s, "pand", 0, BUDGET)
    calibrated = vlm.calibrated(s, 0, BUDGET).text
    torch.testing.assert_close(pand.teacher.anchors.cpu(), calibrated)
    fixed = pair.create(s, "pand", 0, BUDGET, anchors="fixed")
    prompts = pair.few(s, BUDGET, 0).prompts("a photo of a {}")
    torch.testing.assert_close(fixed.teacher.anchors, vlm.load(s).zero_shot(prompts))
    dait = pair.create(s, "dait", 0, BUDGET, transfer="logit", ira_weight=0.0)
    assert (dait.only, dait.teacher) == (2, None)
    assert dait.intermediate is vlm.intermediate(s, 0, BUDGET, ira_weight=0.0)[0]
    own = models.build("tiny", 3)
    assert pair.create(s, "dait", 0, BUDGET, intermediate=own).intermediate is own
    last = pair.create(s, "takd_clip", 0, BUDGET, hard_weight=0.3)
    assert (last.name, last.options["hard_weight"], len(last.assistants)) == ("takd", 0.3, 0)
    assert last.teacher is vlm.intermediate(s, 0, BUDGET, method="kd_clip", hard_weight=0.3)[0]
    first = pair.create(s, "scratch", 0, BUDGET).student.state_dict()
    for made in (pand, dait, last):
        assert all(torch.equal(t, first[name]) for name, t in made.student.state_dict().items())


def test_both_stages_in_one_run_take_the_first_ones_options(s: SimpleNamespace):
    both = pair.create(s, "dait", 0, BUDGET, only=None, intermediate="tiny", stage1={"sia_weight": 0.5})
    assert (both.only, both.sia_weight) == (None, 0.5)
    assert both.teacher is not None
