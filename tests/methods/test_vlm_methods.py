"""rkd, kd_clip, rkd_clip, takd_clip, vl2lite: totals by the formula, anchors, stored features, guards."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from vlm_toys import PROMPTS, WIDTH, ToyVLM, a_batch, classifier, cosines, kl

from labkit import LabkitError, data, engine, models
from labkit.methods import create
from labkit.methods.calibration import Calibration
from labkit.methods.vlm_teacher import Balance, spread

ASKING = ("kd_clip", "rkd_clip", "takd_clip", "vl2lite", "pand", "dait")


def made(name: str, count: int = 3, **options):
    """A method on toys; dait with an intermediate."""
    if name == "dait":
        options.setdefault("intermediate", classifier(3, count, (3, 5)))
    if name == "takd_clip":
        options.setdefault("assistant", classifier(3, count, (3, 5)))
    if not {"prompts", "anchors"} & set(options):
        options["prompts"] = [f"the digit {i}" for i in range(count)]
    return create(name, student=classifier(classes=count), teacher=ToyVLM(), **options)


@pytest.fixture
def batch():
    return a_batch()


@pytest.fixture(scope="module")
def digits() -> data.DataModule:
    return data.load("digits", per_class=4, seed=0)


# Formulas -----------------------------------------------------------------------------------------------


def relations(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """L_D and L_A written as loops over pairs and triplets."""
    n = len(x)
    off = ~torch.eye(n, dtype=torch.bool)
    distance = [(z[:, None] - z[None]).square().sum(2).clamp(min=1e-12).sqrt() * off for z in (x, y)]
    l_d = F.smooth_l1_loss(*[d / d[off].mean() for d in distance])
    angles = []
    for z in (x, y):
        a = torch.zeros(n, n, n)
        for j in range(n):
            for i in range(n):
                for k in range(n):
                    if j not in (i, k):
                        a[j, i, k] = F.cosine_similarity(z[i] - z[j], z[k] - z[j], dim=0)
        angles.append(a)
    return l_d, F.smooth_l1_loss(*angles)


def test_rkd_by_the_formula(batch):
    teacher = classifier(1, widths=(3, 6), hidden=5).eval()
    options = {"weight": 2.0, "ce_weight": 0.5, "kd_weight": 0.25, "temperature": 3.0}
    method = create("rkd", student=classifier(), teacher=teacher, **options).eval()
    s, t = method.student(batch.image), method.teacher(batch.image)
    l_d, l_a = relations(s.embedding, t.embedding)
    terms = method.losses(batch, 0.0)
    torch.testing.assert_close(terms["rkd"], 25 * l_d + 50 * l_a)
    own = 0.5 * F.cross_entropy(s.logits, batch.label) + 0.25 * kl(t.logits, s.logits, 3.0)
    torch.testing.assert_close(terms["total"], own + 2 * terms["rkd"])
    for weights, wanted in (((1.0, 0.0), l_d), ((0.0, 3.0), 3 * l_a)):
        options = dict(zip(("distance_weight", "angle_weight"), weights, strict=True))
        method = create("rkd", student=classifier(), teacher=teacher, **options).eval()
        torch.testing.assert_close(method.losses(batch, 0.0)["rkd"], wanted)


def test_kd_clip_by_the_formula(batch):
    vlm = ToyVLM()
    options = {"temperature": 2.0, "hard_weight": 0.3}
    for scale, s in ((None, 20.0), ("own", 20.0), (7.0, 7.0)):
        student = classifier()
        method = create(
            "kd_clip", student=student, teacher=vlm, prompts=PROMPTS, logit_scale=scale, **options
        ).eval()
        z = s * cosines(vlm.encode_image(batch.image), vlm.encode_text(PROMPTS))
        logits = student(batch.image).logits
        terms = method.losses(batch, 0.0)
        torch.testing.assert_close(terms["kd"], kl(z, logits, 2.0))
        total = 0.3 * F.cross_entropy(logits, batch.label) + 0.7 * terms["kd"]
        torch.testing.assert_close(terms["total"], total)


def test_rkd_clip_by_the_formula(batch):
    vlm = ToyVLM()
    method = create("rkd_clip", student=classifier(), teacher=vlm).eval()
    out = method.student(batch.image)
    l_d, l_a = relations(out.embedding, vlm.encode_image(batch.image))
    terms = method.losses(batch, 0.0)
    torch.testing.assert_close(terms["rkd_clip"], 25 * l_d + 50 * l_a)
    torch.testing.assert_close(terms["total"], F.cross_entropy(out.logits, batch.label) + terms["rkd_clip"])
    assert vlm._texts == 0


def test_takd_clip_learns_from_the_model_and_then_from_the_assistant(batch):
    assistant, vlm = classifier(5, widths=(3, 5)), ToyVLM()
    method = create(
        "takd_clip", student=classifier(), teacher=vlm, prompts=PROMPTS, assistant=assistant
    ).eval()
    first, second = method.stages()
    assert (first.name, second.name, first.module, second.module) == (
        "assistant 1",
        "student",
        assistant,
        method.student,
    )
    z = 20 * cosines(vlm.encode_image(batch.image), vlm.encode_text(PROMPTS))
    logits = assistant(batch.image).logits
    torch.testing.assert_close(first.losses(batch, 0.0)["kd"], kl(z, logits, 4.0))
    vlm._images = 0
    torch.testing.assert_close(
        second.losses(batch, 0.0)["kd"], kl(logits, method.student(batch.image).logits, 4.0)
    )
    assert vlm._images == 0


def test_an_assistant_that_teaches_keeps_its_statistics(batch):
    method = made("takd_clip").train()
    before = {k: v.clone() for k, v in method.assistants.state_dict().items()}
    method.losses(batch, 0.5)
    assert method.student.training
    assert all(torch.equal(v, before[k]) for k, v in method.assistants.state_dict().items())


@pytest.mark.parametrize(
    ("options", "s", "progress", "share"),
    [
        ({}, 1 / 0.07, 0.5, 1 / 16),
        ({"slope": 8, "logit_scale": "own"}, 20.0, 0.1, 0.8),
        ({"slope": 8, "visual": 0.5, "linguistic": 2.0}, 1 / 0.07, 0.3, 1.0),
        ({"slope": 0, "offset": 0.3, "logit_scale": 3.0}, 3.0, 0.9, 0.3),
    ],
)
def test_vl2lite_by_the_formula(batch, options, s, progress, share):
    vlm = ToyVLM()
    method = create("vl2lite", student=classifier(), teacher=vlm, prompts=PROMPTS, **options).eval()
    out, v, t = method.student(batch.image), vlm.encode_image(batch.image), vlm.encode_text(PROMPTS)
    first, _, last = method.image_layer
    hidden = F.relu(v @ first.weight.T + first.bias) @ last.weight.T + last.bias
    visual = (F.normalize(out.embedding, dim=1) - F.normalize(hidden, dim=1)).abs().mean()
    prediction = s * cosines(out.embedding, method.text_layer(t))
    linguistic = kl(s * cosines(v, t), prediction, 2.0) / 2
    terms = method.losses(batch, progress)
    torch.testing.assert_close(terms["visual"], visual)
    torch.testing.assert_close(terms["linguistic"], linguistic)
    assert terms["lambda"].item() == pytest.approx(share)
    both = options.get("visual", 1) * visual + options.get("linguistic", 1) * linguistic
    total = share * F.cross_entropy(out.logits, batch.label) + (1 - share) * both / 2
    torch.testing.assert_close(terms["total"], total)


def test_vl2lite_trains_both_layers_and_the_halves_can_be_left_out(batch):
    method = made("vl2lite")
    method.losses(batch, 0.5)["total"].backward()
    for layer in (method.image_layer, method.text_layer):
        assert all(p.grad.abs().sum() > 0 for p in layer.parameters())
    blind = made("vl2lite", visual=0)
    assert blind.image_layer is None
    assert "visual" not in blind.losses(batch, 0.5)
    mute = made("vl2lite", linguistic=0)
    assert mute.text_layer is None
    terms = mute.losses(batch, 0.5)
    torch.testing.assert_close(terms["total"], terms["ce"] / 16 + 15 / 16 * terms["visual"] / 2)


def test_lambda_and_the_meaning_of_e():
    steps = [i / 8 for i in range(9)]
    assert [Balance(0.5, 0.0)(p) for p in (0, 0.5, 1)] == [0, 0.25, 0.5]
    assert [Balance(1.0, 0.5)(p) for p in (0, 0.25, 0.75)] == [0.5, 0.75, 1.0]
    assert [Balance(-1.0, 0.5)(p) for p in (0, 0.25, 0.75)] == [0.5, 0.25, 0.0]
    assert {Balance(0, 0.3)(p) for p in steps} == {0.3}
    raw = Balance(0.5, 0.0, "epoch", epochs=4)  # eight steps, two an epoch: 0, 0.5, 1, 1
    assert [raw(p) for p in steps[:8]] == [0, 0, 0.5, 0.5, 1, 1, 1, 1]
    assert [Balance(0.1, 0.0, "epoch", 100)(e / 100) for e in range(100)][:12] == pytest.approx(
        [min(1, e / 10) for e in range(12)]
    )


def test_spread_tells_a_collapse():
    x = F.normalize(torch.randn(200, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    assert spread(x) > 0.95
    assert spread(x[:1].expand(200, 16) + 1e-3 * x) < 1e-4
    assert spread(3 * x) == pytest.approx(spread(x).item(), abs=1e-6)


# Anchors ------------------------------------------------------------------------------------------------


def test_anchors_are_encoded_once_and_templates_are_averaged(batch):
    vlm = ToyVLM()
    more = [f"{text}, in ink" for text in PROMPTS]
    method = create("kd_clip", student=classifier(), teacher=vlm, prompts=[PROMPTS, more])
    assert vlm._texts == 6
    for _ in range(3):
        method.losses(batch, 0.0)
    assert vlm._texts == 6
    mean = (vlm.encode_text(PROMPTS) + vlm.encode_text(more)) / 2
    torch.testing.assert_close(method.teacher.anchors, F.normalize(mean, dim=1))


def test_anchors_of_any_kind_give_the_same_teacher(tmp_path, batch):
    text = ToyVLM().encode_text(PROMPTS)
    names = ("circle", "square", "star")
    saved = Calibration(text, names).save(tmp_path)
    wanted = made("vl2lite", prompts=PROMPTS).teacher(batch.image).logits
    for given in (text, 5 * text, Calibration(text, names), saved, str(tmp_path)):
        method = made("vl2lite", anchors=given, classes=names)
        torch.testing.assert_close(method.teacher(batch.image).logits, wanted)


# Stored features ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("key", ["vlm.features", "features", "teacher.features"])
def test_stored_features_stand_for_the_model(name, key, batch):
    method = made(name).eval()
    losses = method.stages()[0].losses or method.losses
    wanted = losses(batch, 0.4)
    vlm = method.teacher.vlm
    vlm.encode_image = lambda images: pytest.fail("the model ran")
    found = losses(batch._replace(stored={key: ToyVLM().encode_image(batch.image)}), 0.4)
    assert set(found) == set(wanted)
    for term in wanted:
        torch.testing.assert_close(found[term], wanted[term])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kd_clip", "vl2lite", "dait"])
def test_bank_and_loop_train_alike(name, digits):
    runs = []
    for stored in (False, True):
        method = made(name, 10)
        vlm = method.teacher.vlm
        bank = engine.FeatureBank(vlm, digits.train, keep=False)
        vlm._images = 0
        run = engine.fit(
            method,
            digits,
            bank={"vlm": bank} if stored else None,
            steps=4,
            batch_size=20,
            augment=None,
            progress=False,
            device="cpu",
        )
        assert (vlm._images == 0) == stored
        runs.append(torch.tensor(run.losses))
    torch.testing.assert_close(*runs)


def test_a_bank_of_views_shows_its_views(digits):
    vlm = ToyVLM()
    bank = engine.FeatureBank(vlm, digits.train, views=3, augment=digits.augment, keep=False)
    method = create("vl2lite", student=classifier(classes=10), teacher=vlm, prompts=list("0123456789"))
    seen = []

    class Spy(type(method)):
        def losses(self, batch, progress):
            stored = batch.stored["vlm.features"]
            torch.testing.assert_close(stored, ToyVLM().encode_image(batch.image))
            seen.extend(batch.view.unique().tolist())
            return super().losses(batch, progress)

    method.__class__ = Spy
    engine.fit(method, digits, epochs=3, batch_size=40, bank={"vlm": bank}, progress=False, device="cpu")
    assert seen == [0, 1, 2]


# What is trained, and what is left -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKING)
def test_the_model_is_frozen_and_stays_behind(name, digits, tmp_path):
    method = made(name, 10)
    before = {k: v.clone() for k, v in method.state_dict().items() if k.startswith("teacher.")}
    assert {"teacher.vlm.weight"} <= set(before)
    options = {"steps": 2, "batch_size": 20, "progress": False, "lr": 0.01, "device": "cpu"}
    run = engine.fit(method, digits, out=tmp_path, **options)
    after = method.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    fresh = classifier(classes=10)
    assert set(run.model.state_dict()) == set(fresh.state_dict())
    assert any(not torch.equal(v, run.model.state_dict()[k]) for k, v in fresh.named_parameters())
    kept, meta = engine.checkpoint.load(tmp_path / "last.safetensors")
    assert not any("teacher" in key for key in kept)
    assert meta["config"]["teacher"]["vlm"] == "toy"
    assert not set(method.deployed().parameters()) & set(method.teacher.parameters())
    rebuilt = engine.load_run(tmp_path).model
    image = digits.test.fetch(range(4)).float() / 255
    torch.testing.assert_close(rebuilt(image).logits, run.model.eval()(image).logits)


def test_other_anchors_are_refused_at_resume(digits, tmp_path):
    options = {"steps": 2, "batch_size": 20, "progress": False, "device": "cpu", "out": tmp_path}
    texts = [f"the number {i}" for i in range(10)]
    engine.fit(made("kd_clip", 10, prompts=texts), digits, **options)
    with pytest.raises(LabkitError, match=r"was started with teacher\.prompts"):
        engine.fit(made("kd_clip", 10, prompts=texts[::-1]), digits, resume=True, **options)


# Guards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ASKING)
def test_a_classifier_is_no_vision_language_model(name):
    with pytest.raises(LabkitError) as caught:
        create(name, student=classifier(), teacher=classifier(1), prompts=PROMPTS, **needed(name))
    assert str(caught.value) == (
        f"The method '{name}' learns from a vision-language model, not from a Classifier:"
        " pass teacher=labkit.models.load_vlm(...)."
    )


def needed(name: str) -> dict[str, nn.Module]:
    return {"intermediate": classifier(3)} if name == "dait" else {}


@pytest.mark.parametrize("name", ASKING)
def test_no_teacher_is_named(name):
    with pytest.raises(LabkitError, match=f"The method '{name}' needs a trained teacher"):
        create(name, student=classifier(), **needed(name))


@pytest.mark.parametrize("name", sorted({*ASKING} - {"rkd_clip"}))
def test_anchors_are_needed(name):
    with pytest.raises(LabkitError, match=f"'{name}' compares images with one text per class"):
        create(name, student=classifier(), teacher=ToyVLM(), **needed(name))


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("kd_clip", {"prompts": PROMPTS[:2]}, "There are 2 class anchors, but the student has 3 classes"),
        ("vl2lite", {"anchors": torch.eye(4, WIDTH)}, "There are 4 class anchors"),
        ("pand", {"anchors": torch.eye(3, 5)}, "must be (C, 6), as wide as the model's embeddings, but"),
        ("kd_clip", {"anchors": [1, 2]}, "but they are list: take those of the same"),
        ("kd_clip", {"anchors": torch.full((3, WIDTH), torch.nan)}, "A class anchor is not finite"),
        ("dait", {"prompts": PROMPTS, "anchors": torch.eye(3, 6)}, "one of the two"),
        ("vl2lite", {"logit_scale": 0}, "logit_scale must be greater than 0, or 'own', but it is 0"),
        ("vl2lite", {"logit_scale": "owm"}, "or 'own', but it is 'owm'"),
        ("vl2lite", {"temperature": 0}, "temperature must be greater than 0"),
        ("vl2lite", {"visual": -1}, "must be at least 0, but are -1 and 1.0"),
        ("vl2lite", {"e": "epoc"}, "Did you mean 'epoch'?"),
        ("vl2lite", {"e": "epoch"}, "e='epoch' needs epochs=..."),
        ("vl2lite", {"promts": PROMPTS}, "Did you mean 'prompts'?"),
        ("rkd_clip", {"distance_weight": 0, "angle_weight": 0}, "and one of them more, but they are 0 and 0"),
        ("kd_clip", {"temperature": 0.0}, "temperature must be greater than 0 and hard_weight in [0, 1]"),
    ],
)
def test_bad_options_are_one_sentence(name, options, part):
    with pytest.raises(LabkitError) as caught:
        made(name, **options)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rkd_refuses_a_vision_language_model():
    with pytest.raises(LabkitError, match="'rkd_clip' learns from a vision-language model"):
        create("rkd", student=classifier(), teacher=ToyVLM())
    with pytest.raises(LabkitError, match="'rkd_clip' compares images with one text"):
        create("rkd_clip", student=classifier(), teacher=ToyVLM(), kd_weight=1.0)


def test_a_bank_of_another_width_is_refused(batch):
    with pytest.raises(LabkitError, match="but the teacher's embeddings are 6 wide"):
        made("vl2lite").losses(batch._replace(stored={"vlm.features": torch.ones(6, 4)}), 0.0)


# The shipped model on the Aviary --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_shipped_model_teaches_the_aviary(tmp_path, monkeypatch):
    if "LABKIT_CACHE" not in os.environ:
        monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    birds = data.load("aviary", size="mini")
    vlm = models.load_vlm("aviary-clip")
    prompts = birds.prompts("a photo of a {description}")
    bank = engine.FeatureBank(vlm, birds.train, views=2, augment=birds.augment, keep=False)
    torch.manual_seed(0)
    mid = models.build("mid", birds.num_classes, weights="pretrained")
    for name, options in (("kd_clip", {}), ("pand", {"slope": 8}), ("dait", {"intermediate": mid})):
        torch.manual_seed(0)
        student = models.build("tiny", birds.num_classes)
        method = create(name, student=student, teacher=vlm, prompts=prompts, **options)
        few = {"steps": 2, "batch_size": 24, "progress": False, "device": "cpu"}
        run = engine.fit(method, birds, bank={"vlm": bank}, **few)
        assert run.model is student
        assert all(torch.tensor(run.losses).isfinite())
        teacher = method.teacher(birds.test.fetch(range(60)).float() / 255)
        if name == "dait":
            assert [row["stage"] for row in run.history] == ["adapt", "transfer"]
        accuracy = (teacher.logits.argmax(1) == birds.test.labels[:60]).float().mean()
        assert accuracy > 0.2  # 1 / 60 is chance
