"""dait: both stages by the formula, lambda, who learns what and when, what is kept, resume."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from vlm_toys import PROMPTS, WIDTH, ToyVLM, a_batch, classifier, cosines, kl

from labkit import LabkitError, data, engine, models
from labkit.methods import create
from labkit.methods.calibration import Calibration
from labkit.methods.dait_parts import Condensation, final_channels, principal_axes

S = 1 / 0.07
FIT = {"batch_size": 20, "progress": False, "device": "cpu", "lr": 0.01, "seed": 0}


def dait(count: int = 3, **options):
    student, intermediate = classifier(0, count), classifier(3, count, (3, 5))
    given = {"teacher": ToyVLM(), "width": 7, "prompts": [f"a {i}" for i in range(count)]}
    torch.manual_seed(9)
    return create("dait", student=student, **{"intermediate": intermediate, **given, **options})


@pytest.fixture
def batch():
    return a_batch()


@pytest.fixture(scope="module")
def digits() -> data.DataModule:
    return data.load("digits", per_class=4, seed=0)


# Stage 1 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "progress", "share"),
    [
        ({}, 0.6, 0.3),
        ({"k": 0.5, "b": 0.5, "logit_scale": 3.0}, 0.5, 0.75),
        ({"k": 0.0, "b": 0.2, "temperature": 3.0, "logit_scale": "own"}, 0.9, 0.2),
        ({"e": "epoch", "epochs": 10}, 0.15, 0.5),
        ({"e": "epoch", "epochs": 10}, 0.2, 1.0),
        ({"sia_weight": 0.0}, 0.4, 0.2),
        ({"ira_weight": 0.0, "sia_weight": 2.0}, 0.4, 0.2),
        ({"ira_weight": 3.0}, 0.0, 0.0),
    ],
)
def test_stage_1_by_the_formula(batch, options, progress, share):
    method, vlm = dait(prompts=PROMPTS, **options).eval(), ToyVLM()
    s = {"own": 20.0, None: S}.get(options.get("logit_scale"), options.get("logit_scale"))
    t = options.get("temperature", 2.0)
    out, v, text = method.intermediate(batch.image), vlm.encode_image(batch.image), vlm.encode_text(PROMPTS)
    u = out.embedding @ method.projection.weight.T + method.projection.bias
    target = s * cosines(v, text)
    texts = method.condensation.text(text)
    sia = kl(target, s * cosines(u, texts), t)
    terms = method.adapt(batch, progress)
    ce = F.cross_entropy(out.logits, batch.label)
    both, anchor = 0.0, 0.0
    if options.get("sia_weight", 1):
        torch.testing.assert_close(terms["sia"], sia)
        both = both + options.get("sia_weight", 1) * sia
    else:
        assert "sia" not in terms
    if options.get("ira_weight", 1):
        condensed = method.condensation.image(v)
        ira = (F.normalize(u, dim=1) - F.normalize(condensed, dim=1)).abs().mean()
        anchor = kl(target, s * cosines(condensed, texts), t)
        torch.testing.assert_close(terms["ira"], ira)
        torch.testing.assert_close(terms["anchor"], anchor)
        both = both + options.get("ira_weight", 1) * ira
    else:
        assert not {"ira", "anchor", "spread"} & set(terms)
    assert terms["lambda"].item() == pytest.approx(share)
    torch.testing.assert_close(terms["total"], share * ce + (1 - share) / 2 * both + anchor)


def test_every_layer_hears_its_own_term_alone(batch):
    method = dait()
    image, text = (list(part.parameters()) for part in (method.condensation.image, method.condensation.text))
    learner = [*method.intermediate.parameters(), *method.projection.parameters()]

    def heard(name: str, parameters) -> bool:
        terms = method.adapt(batch, 0.3)
        found = torch.autograd.grad(terms[name], parameters, allow_unused=True)
        return any(g is not None and g.abs().sum() > 0 for g in found)

    assert heard("sia", text)
    assert heard("sia", learner)
    assert heard("ira", learner)
    assert heard("anchor", image)
    assert not heard("sia", image)
    assert not heard("ira", image + text)
    assert not heard("anchor", text + learner)


def test_the_control_is_cross_entropy_without_a_model(batch):
    method = dait(teacher=None, sia_weight=0, ira_weight=0)
    assert method.teacher is None
    assert method.condensation is None
    terms = method.eval().adapt(batch, 0.1)
    assert set(terms) == {"total", "ce"}
    wanted = F.cross_entropy(method.intermediate(batch.image).logits, batch.label)
    torch.testing.assert_close(terms["total"], wanted)
    assert dait(sia_weight=0, ira_weight=0).teacher is None  # not held for nothing


def test_fixed_condensations_do_not_learn(batch):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, WIDTH, generator=generator) * torch.tensor([9.0, 7, 5, 0.3, 0.2, 0.1])
    axes = principal_axes(features, 3)
    torch.testing.assert_close(axes @ axes.T, torch.eye(3))
    assert axes[:, :3].square().sum() > 2.99
    method = dait(condensation=axes)
    torch.testing.assert_close(method.condensation.image.weight.data, axes)
    assert method.projection.out_features == 3
    assert method.options["condensation"] == "given"
    one, two = (dait(condensation="orthogonal", width=4).condensation.image for _ in range(2))
    assert torch.equal(one.weight, two.weight)
    torch.testing.assert_close(one.weight @ one.weight.T, torch.eye(4))
    assert not one.weight.requires_grad
    terms = dait(condensation="orthogonal").adapt(batch, 0.0)
    assert "anchor" not in terms
    torch.testing.assert_close(terms["total"], (terms["sia"] + terms["ira"]) / 2)


def test_the_learned_condensation_does_not_collapse():
    """Trained by IRA alone it would: shown on the same layers without the stop-gradient and the anchor."""
    torch.manual_seed(0)
    v = F.normalize(torch.randn(24, WIDTH), dim=1)
    image = torch.rand(24, 1, 8, 8)
    method = dait(sia_weight=0.0, k=0.0)
    method.teacher.vlm.encode_image = lambda images: v
    batch = a_batch(24)._replace(image=image)
    naive = Condensation(WIDTH, 7, "learned", True).image
    u = torch.nn.Parameter(torch.randn(24, 7).mean(0, keepdim=True))
    spreads = []
    for parameters, loss in (
        (method.parameters(), lambda: method.adapt(batch, 0.0)["total"]),
        (
            [u, *naive.parameters()],
            lambda: (F.normalize(u, dim=1) - F.normalize(naive(v), dim=1)).abs().mean(),
        ),
    ):
        optimizer = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        layer = naive if spreads else method.condensation.image
        spreads.append(1 - F.normalize(layer(v), dim=1).mean(0).square().sum().item())
    assert spreads[0] > 0.4
    assert spreads[1] < 0.1


# Stage 2 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", ["mean", "sum"])
def test_features_by_the_formula(batch, channels):
    method = dait(channels=channels, k=1.0).eval()
    s, t = method.student(batch.image), method.intermediate(batch.image)
    conv, norm = method.adapter
    adapted = norm(torch.einsum("bchw,oc->bohw", s.final_map, conv.weight[:, :, 0, 0]))
    squares = (adapted - t.final_map).square()
    sra = squares.mean() * (1 if channels == "mean" else squares.shape[1])
    terms = method.losses(batch, 0.25)
    torch.testing.assert_close(terms["sra"], sra)
    total = 0.25 * F.cross_entropy(s.logits, batch.label) + 0.75 * sra
    torch.testing.assert_close(terms["total"], total)


def test_logits_by_the_formula(batch):
    method = dait(transfer="logit", b=0.25).eval()
    assert method.adapter is None
    s, t = method.student(batch.image).logits, method.intermediate(batch.image).logits
    terms = method.losses(batch, 0.5)
    torch.testing.assert_close(terms["kd"], kl(t, s, 2.0))
    torch.testing.assert_close(terms["total"], (F.cross_entropy(s, batch.label) + terms["kd"]) / 2)


def test_the_adapter_fits_the_maps_that_are_pooled():
    net = models.build("mobilenetv2_narrow", 5)
    side = net.image_size or 64
    wanted = net.eval()(torch.rand(1, 3, side, side)).final_map.shape[1]
    assert final_channels(net.train()) == wanted
    assert net.training
    mid = models.build("resnet_narrow", 5)
    method = create("dait", student=net, intermediate=mid, only=2)
    assert method.adapter[0].in_channels == wanted
    assert method.adapter[0].out_channels == final_channels(mid)
    x = a_batch(2, 5)._replace(image=torch.rand(2, 3, 64, 64))
    assert method.losses(x, 0.0)["sra"].isfinite()


def test_the_intermediates_statistics_stay_in_the_second_stage(batch):
    method = dait()
    before = {k: v.clone() for k, v in method.intermediate.state_dict().items()}
    method.train()
    assert method.student.training
    method.losses(batch, 0.5)
    assert all(torch.equal(v, before[k]) for k, v in method.intermediate.state_dict().items())


def test_the_intermediate_alone_is_in_train_mode_as_it_learns(batch):
    method = dait(only=1).train()
    before = {k: v.clone() for k, v in method.intermediate.state_dict().items() if "running" in k}
    method.losses(batch, 0.5)
    assert before
    assert any(not torch.equal(method.intermediate.state_dict()[k], v) for k, v in before.items())
    assert not method.eval().intermediate.training


# Training ---------------------------------------------------------------------------------------------------


def test_who_learns_when_and_from_which_images(digits):
    method = dait(10)
    seen = []
    watched = {"student": method.student, "intermediate": method.intermediate, "adapter": method.adapter}

    def note(stage, batch):
        modes = {name: part.training for name, part in watched.items()}
        asks = {name: any(p.requires_grad for p in part.parameters()) for name, part in watched.items()}
        assert modes == asks
        state = {n: {k: v.clone() for k, v in part.state_dict().items()} for n, part in watched.items()}
        rows = torch.searchsorted(digits.train.ids.sort().values, batch.index)
        order = digits.train.ids.argsort()[rows]
        same = torch.equal(batch.image, digits.train.fetch(order).float() / 255)
        seen.append((stage, {name for name, on in asks.items() if on}, same, state))

    class Spy(type(method)):
        def adapt(self, batch, progress):
            note("adapt", batch)
            return super().adapt(batch, progress)

        def losses(self, batch, progress):
            note("transfer", batch)
            return super().losses(batch, progress)

    method.__class__ = Spy
    engine.fit(method, digits, steps=4, augment=data.Augment(pad=1), **FIT)
    assert [s[0] for s in seen] == ["adapt"] * 4 + ["transfer"] * 4
    assert all(s[1] == {"intermediate"} and not s[2] for s in seen[:4])
    assert all(s[1] == {"student", "adapter"} and s[2] for s in seen[4:])

    def moved(name, first, last):
        return any(not torch.equal(v, last[3][name][k]) for k, v in first[3][name].items())

    assert moved("intermediate", seen[0], seen[3])
    assert not moved("student", seen[0], seen[4])
    assert not moved("intermediate", seen[4], seen[7])  # its statistics, too
    assert moved("student", seen[4], seen[7])
    assert moved("adapter", seen[4], seen[7])


def test_both_stages_equal_one_after_the_other(digits):
    """Logits, so that no adapter's initialisation depends on what was drawn before."""
    options = {"transfer": "logit", "transfer_views": "augment"}
    whole = dait(10, **options)
    run = engine.fit(whole, digits, steps=3, **FIT)
    assert [row["stage"] for row in run.history] == ["adapt", "adapt", "transfer", "transfer"]
    first = dait(10, only=1, **options)
    one = engine.fit(first, digits, steps=3, **FIT)
    assert one.model is first.intermediate
    assert [row["stage"] for row in one.history] == ["adapt", "adapt"]
    second = dait(10, only=2, intermediate=one.model, **options)
    assert second.teacher is None
    assert not any(p.requires_grad for p in one.model.parameters())
    two = engine.fit(second, digits, steps=3, **FIT)
    assert one.losses + two.losses == run.losses
    for key, value in two.model.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[key])


@pytest.mark.parametrize("transfer", ["feature", "logit"])
def test_a_bank_of_the_intermediate_spares_its_pass(digits, transfer):
    runs = []
    for stored in (False, True):
        method = dait(10, only=2, transfer=transfer)
        output = "logits" if transfer == "logit" else "final_map"
        bank = engine.FeatureBank(method.intermediate, digits.train, outputs=(output,), keep=False)
        if stored:
            method.intermediate.register_forward_pre_hook(lambda *_: pytest.fail("the intermediate ran"))
        bank = {"intermediate": bank} if stored else None
        runs.append(torch.tensor(engine.fit(method, digits, steps=3, bank=bank, **FIT).losses))
    torch.testing.assert_close(*runs)


def test_lengths_share_the_steps(digits):
    run = engine.fit(dait(10, lengths=(0.5, 1.5)), digits, steps=4, **FIT)
    assert len(run.losses) == 2 + 6
    lambdas = [row["lambda"] for row in run.history]
    assert lambdas[0] == pytest.approx((0 + 0.25) / 2)  # two steps: lambda 0 and 0.25
    assert "spread" in run.history[0]
    assert "sra" in run.history[-1]


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 4, 5, 6])
def test_a_run_killed_in_either_stage_resumes_to_the_same_numbers(digits, tmp_path, at):
    """Epochs of two steps: killed in stage 1, at the first step of stage 2, and later in it."""
    options = {"epochs": 2, **FIT}
    wanted = engine.fit(dait(10), digits, **options)
    method, calls = dait(10), []

    def dying(losses):
        def call(batch, progress):
            calls.append(progress)
            if len(calls) == at + 1:
                raise Killed
            return losses(batch, progress)

        return call

    method.adapt, method.losses = dying(method.adapt), dying(method.losses)
    with pytest.raises(Killed):
        engine.fit(method, digits, out=tmp_path, **options)
    run = engine.fit(dait(10), digits, out=tmp_path, resume=True, **options)
    assert run.losses[-1] == wanted.losses[-1]
    assert [row["total"] for row in run.history] == [row["total"] for row in wanted.history]
    for key, value in wanted.model.state_dict().items():
        assert torch.equal(run.model.state_dict()[key], value)
    adapted, meta = engine.checkpoint.load(tmp_path / "stage1" / "best.safetensors")
    assert meta["stage"] == "adapt"
    assert {k.split(".")[0] for k in adapted} == {"intermediate", "projection", "condensation"}


def test_calibrated_anchors_take_the_prompts_place(batch):
    names = ("circle", "square", "star")
    text = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(4))
    method = dait(prompts=None, anchors=Calibration(text, names), classes=names).eval()
    torch.testing.assert_close(method.teacher.anchors, F.normalize(text, dim=1))
    u = method.projection(method.intermediate(batch.image).embedding)
    target = S * cosines(ToyVLM().encode_image(batch.image), text)
    texts = method.condensation.text(F.normalize(text, dim=1))
    torch.testing.assert_close(method.adapt(batch, 0.0)["sia"], kl(target, S * cosines(u, texts), 2.0))


def test_an_intermediate_by_name_comes_with_its_weights():
    student = models.build("tiny", 3)
    method = create("dait", student=student, teacher=None, intermediate="small", only=2)
    named = models.build("small", 3, weights="pretrained")
    own = method.intermediate.state_dict()
    for key, value in named.state_dict().items():
        if "head" not in key:
            assert torch.equal(own[key], value)
    assert method.options["intermediate"]["name"] == "small"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"intermediate": None}, "needs an intermediate teacher beside its student: pass intermediate="),
        ({"intermediate": classifier(1, 4)}, "have 3 and 4: call intermediate.reset_head(3)"),
        ({"intermediate": "smal"}, "Did you mean 'small'?"),
        ({"transfer": "features"}, "Unknown value of transfer 'features'. Did you mean 'feature'?"),
        ({"channels": "max"}, "Unknown value of channels 'max'"),
        ({"transfer_views": 3}, "Unknown value of transfer_views '3'"),
        ({"only": 3}, "only must be 1, 2 or None for both stages, but it is 3"),
        ({"sia_weight": -1}, "but they are -1, 1.0, 2.0 and 7"),
        ({"temperature": 0}, "temperature greater than 0"),
        ({"width": 0}, "width at least 1"),
        ({"lengths": (1.0, 0.0)}, "lengths are two shares greater than 0"),
        ({"condensation": "lerned"}, "Did you mean 'learned'?"),
        ({"condensation": torch.eye(3, 5)}, "must be (D, 6)"),
        ({"e": "epoch"}, "e='epoch' needs epochs=..."),
        ({"e": "epoch", "epochs": 4, "lengths": (1.0, 0.5)}, "give equal lengths, or run them apart"),
        ({"width": 2.5}, "width must be a whole number, but it is 2.5"),
        ({"k": float("nan")}, "k must be a number, but it is nan"),
        ({"intermediate": classifier(3, 3, (3, 5)).requires_grad_(False)}, "The intermediate is frozen"),
        ({"teacher": None}, "The method 'dait' needs a trained teacher"),
    ],
)
def test_bad_options_are_one_sentence(options, part):
    with pytest.raises(LabkitError) as caught:
        dait(**options)
    assert part in str(caught.value)


def test_the_student_is_no_intermediate():
    student = classifier()
    with pytest.raises(LabkitError, match="beside its student"):
        create("dait", student=student, intermediate=student, only=2)
    with pytest.raises(LabkitError, match="at most 5 axes, not 6"):
        principal_axes(torch.rand(5, 8), 6)


def test_a_bank_of_the_intermediate_speaks_for_the_second_stage_alone():
    batch = a_batch()
    stored = {"intermediate.logits": torch.full((6, 3), 7.0)}
    for only, taken in ((2, True), (None, False)):
        options = {"prompts": PROMPTS} if only is None else {}
        teacher = ToyVLM() if only is None else None
        method = create(
            "dait", student=classifier(), teacher=teacher, intermediate=classifier(1).eval(),
            only=only, transfer="logit", **options,
        )  # fmt: skip
        said = method.ask_intermediate(batch._replace(stored=stored)).logits
        assert torch.equal(said, stored["intermediate.logits"]) == taken
