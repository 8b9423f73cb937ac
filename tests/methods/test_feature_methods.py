"""takd, fitnet, pre_fc, attention, reviewkd: totals by the formula, stages, stored teachers, guards."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import LabkitError, data, engine, models
from labkit.data import Batch
from labkit.errors import LabkitWarning
from labkit.methods import create
from labkit.methods.fitnet import parts_up_to

FEATURE = ("attention", "fitnet", "pre_fc", "reviewkd")


def student(classes: int = 10) -> models.Classifier:
    torch.manual_seed(0)
    return models.build("tiny", classes, in_chans=1)


def teacher(classes: int = 10) -> models.Classifier:
    torch.manual_seed(1)
    return models.build("small", classes, in_chans=1).eval()


@pytest.fixture(scope="module")
def digits() -> data.DataModule:
    return data.load("digits", per_class=6, seed=0)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(6)
    return Batch(
        torch.rand(6, 1, 16, 16, generator=generator), index % 10, index, torch.zeros_like(index), {}
    )


def outputs(method, batch: Batch):
    return method.student(batch.image), method.teacher(batch.image)


def kd(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    soft = (teacher / t).softmax(1)
    return t * t * (soft * (soft.log() - (student / t).log_softmax(1))).sum(1).mean()


def test_pre_fc_by_the_formula(batch):
    method = create("pre_fc", student=student(), teacher=teacher(), weight=3.0).eval()
    s, t = outputs(method, batch)
    own = (s.embedding @ method.connector.weight.T + method.connector.bias - t.embedding).square().mean()
    terms = method.losses(batch, 0.5)
    torch.testing.assert_close(terms["pre_fc"], own)
    torch.testing.assert_close(terms["total"], F.cross_entropy(s.logits, batch.label) + 3 * own)


def test_fitnet_by_the_formula(batch):
    method = create("fitnet", student=student(), teacher=teacher(), layers=(0, 2), ce_weight=0.5).eval()
    s, t = outputs(method, batch)
    own = 0.0
    for i in (0, 2):
        conv, norm = method.connectors[str(i)]
        projected = norm(torch.einsum("bchw,oc->bohw", s.maps[i], conv.weight[:, :, 0, 0]))
        own = own + (projected - t.maps[i]).square().mean()
    torch.testing.assert_close(method.losses(batch, 0.0)["fitnet"], own)
    total = 0.5 * F.cross_entropy(s.logits, batch.label) + 100 * own
    torch.testing.assert_close(method.losses(batch, 0.0)["total"], total)


@pytest.mark.parametrize("side", [1, 2, 99])
def test_fitnet_compares_pooled_maps(batch, side):
    method = create("fitnet", student=student(), teacher=teacher(), layers=(1,), pool=side).eval()
    s, t = outputs(method, batch)
    pair = method.connectors["1"](s.maps[1]), t.maps[1]
    if side < t.maps[1].shape[-1]:
        pair = tuple(F.avg_pool2d(x, x.shape[-1] // side) for x in pair)
    torch.testing.assert_close(method.losses(batch, 0.0)["fitnet"], F.mse_loss(*pair))


def test_attention_by_the_formula(batch):
    method = create("attention", student=student(), teacher=teacher(), layers=(3, 1)).eval()
    s, t = outputs(method, batch)
    own = 0.0
    for i in (1, 3):
        one, two = (F.normalize(net.maps[i].square().mean(1).flatten(1), dim=1) for net in (s, t))
        own = own + (one - two).square().mean()
    torch.testing.assert_close(method.losses(batch, 0.0)["attention"], own)


def test_review_fuses_from_deep_to_shallow(batch):
    method = create("reviewkd", student=student(), teacher=teacher()).eval()
    s, t = outputs(method, batch)
    levels, targets = [*s.maps, s.embedding[..., None, None]], [*t.maps, t.embedding[..., None, None]]
    y, outs = None, [None] * 5
    for i in (4, 3, 2, 1, 0):
        fusion = method.fusions[i]
        x = fusion.enter(levels[i])
        if y is not None:
            y = F.interpolate(y, x.shape[2:], mode="nearest")
            z = torch.sigmoid(fusion.gate(torch.cat([x, y], 1)))
            x = x * z[:, 0:1] + y * z[:, 1:2]
        outs[i], y = fusion.leave(x), x
    own = 0.0
    for out, target in zip(outs, targets, strict=True):
        assert out.shape == target.shape
        number, weight, whole = (out - target).square().mean(), 1.0, 1.0
        for side in (4, 2, 1):
            if side < out.shape[2]:
                weight /= 2
                pooled = (F.adaptive_avg_pool2d(x, side) for x in (out, target))
                number, whole = number + weight * F.mse_loss(*pooled), whole + weight
        own = own + number / whole
    torch.testing.assert_close(method.losses(batch, 1.0)["reviewkd"], own)
    ce = F.cross_entropy(s.logits, batch.label)
    torch.testing.assert_close(method.losses(batch, 1 / 24)["total"], ce + 2.5 * own)  # half of the warm-up
    assert method.fusions[4].gate is None


@pytest.mark.parametrize("name", FEATURE)
def test_every_term_has_a_weight(name, batch):
    method = create(
        name, student=student(), teacher=teacher(), weight=2.0, ce_weight=0.3, kd_weight=0.7, temperature=3.0
    ).eval()
    s, t = outputs(method, batch)
    terms = method.losses(batch, 1.0)
    torch.testing.assert_close(terms["kd"], kd(s.logits, t.logits, 3.0))
    total = 0.3 * terms["ce"] + 0.7 * terms["kd"] + 2.0 * terms[name]
    torch.testing.assert_close(terms["total"], total)


@pytest.mark.parametrize("name", ["hinton", "takd", *FEATURE])
def test_stored_outputs_stand_for_the_teacher(name, batch):
    method = create(name, student=student(), teacher=teacher()).eval()
    wanted = method.losses(batch, 1.0)["total"]
    output = method.teacher(batch.image)
    every = {"logits": output.logits, "embedding": output.embedding}
    every |= {f"maps.{i}": m for i, m in enumerate(output.maps)}
    stored = {need: every[need] for need in method.needs}
    method.teacher.forward = lambda x: pytest.fail("the teacher ran")
    for prefix in ("", "teacher."):
        known = batch._replace(stored={prefix + key: value for key, value in stored.items()})
        if name != "takd":  # whose last link asks the assistant
            torch.testing.assert_close(method.losses(known, 1.0)["total"], wanted)
        else:
            assert method.stages()[0].losses(known, 0.0)["total"].isfinite()


@pytest.mark.parametrize("name", FEATURE)
def test_connectors_learn_and_stay_behind(name, digits):
    method = create(name, student=student(), teacher=teacher())
    before = {
        k: v.clone() for k, v in method.named_parameters() if k.split(".")[0] not in ("student", "teacher")
    }
    run = engine.fit(method, digits, steps=3, batch_size=16, seed=0, progress=False, lr=0.01)
    moved = [k for k, v in method.named_parameters() if k in before and not torch.equal(v, before[k])]
    assert len(moved) == len(before)
    assert (len(before) == 0) == (name == "attention")
    assert set(run.model.state_dict()) == set(student().state_dict())


def test_bank_and_loop_train_alike(digits):
    """One fixed view, so that both see the same images; float16 would be rounded, float32 is not."""
    runs = []
    for stored in (False, True):
        method = create("fitnet", student=student(), teacher=teacher(), kd_weight=1.0)
        bank = engine.FeatureBank(
            method.teacher, digits.train, outputs=method.needs, batch_size=16, keep=False
        )
        settings = {"steps": 5, "batch_size": 16, "seed": 0, "progress": False, "augment": None}
        runs.append(engine.fit(method, digits, bank=bank if stored else None, **settings))
    losses = [torch.tensor([row["total"] for row in run.history]) for run in runs]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)


def test_two_phases_share_the_steps_and_the_first_moves_only_the_lower_half(digits):
    method = create("fitnet", student=student(), teacher=teacher(), phases=2, layers=(1,), hint_share=0.4)
    hints, _rest = method.stages()
    lower = {k for k, v in method.student.named_parameters() if v in set(hints.module.parameters())}
    assert {k.split(".")[1] for k in lower} == {"stem", "stages"}
    assert {k.split(".")[2] for k in lower if "stages" in k} == {"stage1", "stage2"}
    seen = []

    class Spy(type(method)):
        def _hints(self, batch, progress):
            terms = super()._hints(batch, progress)
            seen.append({k: v.detach().clone() for k, v in self.student.state_dict().items()})
            return terms

    method.__class__ = Spy
    run = engine.fit(method, digits, steps=10, batch_size=16, seed=0, progress=False, lr=0.01)
    assert len(seen) == 4
    assert {row["stage"] for row in run.history} == {"hints", "fitnet"}
    first, last = seen[0], seen[-1]
    upper = [k for k in first if "stage3" in k or "stage4" in k or "head" in k]
    assert upper
    assert all(torch.equal(first[k], last[k]) for k in upper)
    assert not any("val_accuracy" in row for row in run.history if row["stage"] == "hints")
    assert method.kd_weight == 1.0
    assert method.needs == ("maps.1", "logits")


def test_parts_up_to_a_layer_of_a_vit():
    net = models.build("aviary-vit", 3)
    for layer in (0, 2):
        parts = nn.ModuleList(parts_up_to(net, layer))
        found = set(parts.parameters())
        names = {k for k, v in net.named_parameters() if v in found}
        assert {"net.pos_embed", "net.patch_embed.proj.weight"} <= names
        assert not any("head" in k for k in names)
        blocks = {int(k.split(".")[2]) for k in names if "blocks" in k}
        assert blocks == set(range(max(blocks) + 1))


@pytest.mark.slow
def test_takd_trains_one_link_after_the_other(digits):
    method = create("takd", student=student(), teacher=teacher(), assistant=["small", "tiny"])
    assert [stage.name for stage in method.stages()] == ["assistant 1", "assistant 2", "student"]
    assert method.options["assistant"] == ["small", "tiny"]
    before = [
        {k: v.clone() for k, v in net.state_dict().items()} for net in (*method.assistants, method.student)
    ]
    weights = []

    class Spy(type(method)):
        def _link(self, learner, guide, batch, progress):
            assert guide is None or not guide.training
            weights.append(learner)
            return super()._link(learner, guide, batch, progress)

    method.__class__ = Spy
    run = engine.fit(method, digits, steps=2, batch_size=16, seed=0, progress=False)
    assert [id(net) for net in weights] == [
        id(n) for n in (*method.assistants, method.student) for _ in range(2)
    ]
    for net, old in zip((*method.assistants, method.student), before, strict=True):
        assert any(not torch.equal(v, old[k]) for k, v in net.state_dict().items())
    assert run.model is method.student


# Guards -----------------------------------------------------------------------------------------------------


def test_a_teacher_in_train_mode_is_answered():
    with pytest.warns(LabkitWarning, match="was in train mode"):
        method = create("hinton", student=student(), teacher=teacher().train())
    assert not method.teacher.training


def test_a_teacher_that_would_learn_is_refused(digits):
    method = create("hinton", student=student(), teacher=teacher())
    method.teacher.head.weight.requires_grad_(True)
    with pytest.raises(LabkitError, match="would learn from its student: call teacher"):
        engine.fit(method, digits, steps=1, progress=False)


def test_a_head_that_was_never_trained_is_noticed(digits):
    method = create("hinton", student=student(), teacher=teacher())
    with pytest.warns(LabkitWarning, match="where guessing gives 10.0%: was its head trained?"):
        engine.fit(method, digits, steps=1, progress=False)


@pytest.mark.slow
def test_a_trained_teacher_is_no_reason_to_warn(digits):
    net = teacher()
    engine.fit(create("scratch", student=net), digits, steps=60, batch_size=32, lr=0.01, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LabkitWarning)
        method = create("hinton", student=student(), teacher=net)
        engine.fit(method, digits, steps=1, progress=False)


def test_another_networks_bank_is_refused(digits):
    bank = engine.FeatureBank(teacher(), digits.train, outputs=("logits",), keep=False)
    other = teacher()
    with torch.no_grad():
        other.head.bias.add_(1)
    method = create("hinton", student=student(), teacher=other)
    with pytest.raises(LabkitError, match="another network than the teacher"):
        engine.fit(method, digits, bank=bank, steps=1, progress=False)


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("fitnet", {"layers": (4,)}, "layers must be different positions 0..3 among the four maps, not (4,)"),
        ("fitnet", {"pool": 0}, "pool is the side of the maps that are compared, at least 1, not 0."),
        ("fitnet", {"phases": 3}, "phases must be 1 (joint) or 2 (hints first)"),
        ("attention", {"layers": ()}, "layers must be different positions"),
        ("reviewkd", {"warmup": 2}, "warmup is a share of the training in [0, 1], but it is 2"),
        ("pre_fc", {"weight": -1}, "The weights of a method must be at least 0"),
        ("pre_fc", {"weight": 0, "ce_weight": 0}, "and one of them more"),
        ("hinton", {"weight": 1}, "The method 'hinton' has no term of its own: leave weight out"),
        ("takd", {"assistant": "smal"}, "Did you mean 'small'?"),
        ("pre_fc", {"wieght": 1}, "Did you mean 'weight'?"),
    ],
)
def test_bad_options_are_named(name, options, part):
    with pytest.raises(LabkitError) as caught:
        create(name, student=student(), teacher=teacher(), **options)
    assert part in str(caught.value)


def test_scratch_with_a_kd_weight_asks_for_a_teacher():
    with pytest.raises(LabkitError, match=r"'scratch' with kd_weight=1 needs a trained teacher"):
        create("scratch", student=student(), kd_weight=1)
    assert create("scratch", student=student(), teacher=teacher(), kd_weight=1).teacher is not None
