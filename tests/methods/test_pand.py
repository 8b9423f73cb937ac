"""pand and its calibration: formulas, the file of anchors, both stages, guards."""

from __future__ import annotations

import pickle
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from vlm_toys import PROMPTS, WIDTH, ToyVLM, a_batch, classifier, cosines, kl

from labkit import LabkitError, data, engine, models
from labkit.errors import MissingError
from labkit.methods import create
from labkit.methods.calibration import FILE, Calibration, calibrate, clipped_step, read_calibration
from labkit.methods.coop import train_prompts
from labkit.methods.pand import same_class_share
from labkit.models.prompts import PromptLearner

S = 1 / 0.07
NAMES = ("red-capped reedfinch", "blue mossthrush", "white_billed heron")
SENTENCES = tuple(f"a photo of a {name.replace('_', ' ')}." for name in NAMES)


def pand(**options):
    options = {"prompts": PROMPTS} | options
    return create("pand", student=classifier(), teacher=ToyVLM(), **options)


@pytest.fixture
def batch():
    return a_batch(8)


@cache
def clip() -> models.VisionLanguage:
    return models.load_vlm("aviary-clip")


def cached(n: int = 24, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit vectors about three directions of the shipped model's space, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    centres = clip().encode_text(SENTENCES[1:] + SENTENCES[:1])  # of the wrong class each: much to learn
    noise = 0.05 * torch.randn(n, centres.shape[1], generator=generator)
    return F.normalize(centres[labels] + noise, dim=1), labels


QUICK = {"n_ctx": 2, "epochs": 4, "batch_size": 12, "progress": False}


# Stage 2 ------------------------------------------------------------------------------------------------


def neighbourhoods(student: Tensor, teacher: Tensor, k: int) -> Tensor:
    """NLRD by loops over samples and their neighbours."""
    alike = cosines(teacher, teacher)
    total = 0.0
    for i in range(len(student)):
        others = sorted((j for j in range(len(student)) if j != i), key=lambda j: -alike[i, j])
        for j in others[:k]:
            p, q = ((z[i] - z[j]).softmax(0) for z in (student, teacher))
            m = (p + q) / 2
            total = total + ((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2
    return total / (k * len(student))


@pytest.mark.parametrize(
    "options", [{}, {"k": 1, "weight": 0.5, "lam": 3.0, "slope": 8}, {"k": 7, "slope": 0, "offset": 0.4}]
)
def test_stage_2_by_the_formula(batch, options):
    method, vlm = pand(**options).eval(), ToyVLM()
    out, v, t = method.student(batch.image), vlm.encode_image(batch.image), vlm.encode_text(PROMPTS)
    z = S * cosines(v, t)
    visual = (F.normalize(out.embedding, dim=1) - F.normalize(method.image_layer(v), dim=1)).abs().mean()
    linguistic = kl(z, S * cosines(out.embedding, method.text_layer(t)), 2.0)  # without VL2Lite's half
    nlrd = options.get("lam", 1.0) * neighbourhoods(out.logits, z, options.get("k", 3))
    terms = method.losses(batch, 0.1)
    torch.testing.assert_close(terms["visual"], visual)
    torch.testing.assert_close(terms["linguistic"], linguistic)
    torch.testing.assert_close(terms["nlrd"], nlrd)
    share = options.get("slope", 1 / 8) * 0.1 + options.get("offset", 0.0)
    total = share * F.cross_entropy(out.logits, batch.label) + (1 - share) * (visual + linguistic) / 2
    torch.testing.assert_close(terms["total"], total + options.get("weight", 1.0) * nlrd)


def test_the_neighbourhood_can_be_left_out(batch):
    without = pand(weight=0).eval().losses(batch, 0.3)
    assert not {"nlrd", "same_class"} & set(without)
    torch.manual_seed(0)
    terms = pand().eval()
    terms.load_state_dict(pand(weight=0).state_dict())
    terms = terms.losses(batch, 0.3)
    own = terms["ce"] * 0.3 / 8 + (1 - 0.3 / 8) * (terms["visual"] + terms["linguistic"]) / 2
    torch.testing.assert_close(terms["total"], own + terms["nlrd"])


def test_the_share_of_neighbours_of_the_same_class():
    logits = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0, 1, 0.3], [0, 1, 0.2], [0, 0.8, 1]])
    assert same_class_share(logits, torch.tensor([0, 0, 1, 1, 1]), 1) == 1
    assert same_class_share(logits, torch.tensor([0, 1, 1, 1, 2]), 1) == pytest.approx(2 / 5)
    assert same_class_share(logits, torch.zeros(5, dtype=torch.int64), 4) == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"k": 0}, "k must be a whole number of neighbours of at least 1, but it is 0"),
        ({"k": 1.5}, "but it is 1.5"),
        ({"weight": -1}, "weight and lam must be at least 0, but they are -1 and 1.0"),
        ({"calibration": {"epochs": 3}}, "pass calibrate_on=..., its features"),
        ({"calibrate_on": (torch.rand(3, WIDTH), torch.arange(3)), "prompts": None}, "give prompts=..., and"),
        ({"calibrate_on": (torch.rand(3, 5), torch.arange(3))}, "the model's embeddings are 6 wide"),
    ],
)
def test_bad_options_are_one_sentence(options, part):
    with pytest.raises(LabkitError) as caught:
        pand(**options)
    assert part in str(caught.value)


def test_more_neighbours_than_samples_are_refused():
    with pytest.raises(ValueError, match=r"k must be within 1\.\.B-1 for B = 3"):
        pand(k=3).losses(a_batch(3), 0.0)


# Stage 1 ------------------------------------------------------------------------------------------------


def test_calibration_is_coop_with_the_authors_recipe():
    made = calibrate(clip(), SENTENCES, cached(), classes=NAMES, **QUICK)
    learner = PromptLearner(clip(), [text[:-1] for text in SENTENCES], 2)
    options = {"lr": 0.002, "weight_decay": 0.0, "warmup": 0, "epochs": 4, "batch_size": 12}
    run = train_prompts(learner, *cached(), scale=clip().logit_scale, step=clipped_step, **options)
    assert made.run.losses == run.losses
    torch.testing.assert_close(made.text, learner().detach())
    torch.testing.assert_close(made.text.norm(dim=1), torch.ones(3))
    assert made.run.losses[-1] < made.run.losses[0]
    assert made.names == tuple(text[:-1] for text in SENTENCES)


def test_a_steps_gradient_is_clipped_to_1():
    learner = PromptLearner(clip(), NAMES, 2)
    before = learner.context.detach().clone()
    optimizer = torch.optim.SGD(learner.parameters(), lr=1.0)
    loss = clipped_step(learner, optimizer, *cached(), 100.0)
    learner.context.data.copy_(before)
    wanted = F.cross_entropy(100.0 * cached()[0] @ learner().T, cached()[1])
    assert loss == pytest.approx(wanted.item())
    (gradient,) = torch.autograd.grad(wanted, learner.context)
    assert gradient.norm() > 1
    learner.context.data.copy_(before)
    clipped_step(learner, optimizer, *cached(), 100.0)
    torch.testing.assert_close(
        learner.context.data, before - gradient / gradient.norm(), atol=1e-5, rtol=1e-4
    )


def test_validation_chooses_the_epoch():
    made = calibrate(clip(), SENTENCES, cached(), val=cached(9, 1), patience=2, **QUICK)
    assert len(made.run.val) >= made.run.epoch >= 1
    assert made.settings["patience"] == 2


def test_the_file_holds_the_anchors_and_is_used_again(tmp_path):
    options = {**QUICK, "epochs": 1, "out": tmp_path / "stage1"}
    made = calibrate(clip(), SENTENCES, cached(), **options)
    path = tmp_path / "stage1" / FILE
    found = read_calibration(path)
    torch.testing.assert_close(found.text, made.text)
    assert (found.names, found.settings) == (made.names, made.settings)
    again = calibrate(clip(), SENTENCES, cached(), **options)
    assert again.run is None  # read, not trained
    torch.testing.assert_close(again.text, made.text)
    with pytest.raises(LabkitError, match="made with epochs = 1, not 2: pass overwrite=True"):
        calibrate(clip(), SENTENCES, cached(), **{**options, "epochs": 2})
    with pytest.raises(LabkitError, match="for other classes or prompts"):
        calibrate(clip(), SENTENCES[::-1], cached(), **options)
    assert calibrate(clip(), SENTENCES, cached(), **{**options, "seed": 1}, overwrite=True).run is not None


def authors(path, names=SENTENCES, **more):
    """What the authors' extraction script saves."""
    text = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(2))
    about = {"n_ctx": 16, "ctx_init": None, "clip_model_name": "convnext_xxlarge", "context_length": 77}
    torch.save({"text_features": text, "classnames": list(names), **about, **more}, path)
    return text


def test_the_authors_file_is_read(tmp_path):
    text = authors(tmp_path / "coop_text_features.pt")
    found = read_calibration(tmp_path / "coop_text_features.pt")
    torch.testing.assert_close(found.text, F.normalize(text, dim=1))
    method = pand(prompts=None, anchors=tmp_path / "coop_text_features.pt", classes=NAMES)
    torch.testing.assert_close(method.teacher.anchors, F.normalize(text, dim=1))


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_runs_nothing(tmp_path, capsys):
    path = tmp_path / "anchors.pt"
    authors(path, extra=Evil())
    with pytest.raises(LabkitError, match="can't be read as tensors and plain values"):
        read_calibration(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(LabkitError, match="can't be read as tensors and plain values"):
        read_calibration(path)
    assert "run" not in capsys.readouterr().out


def test_files_that_hold_no_anchors_are_answered(tmp_path):
    for name in (FILE, "x.pt"):
        with pytest.raises(MissingError, match="There is no"):
            read_calibration(tmp_path / name)
    torch.save({"text_features": torch.rand(3, 4)}, tmp_path / "a.pt")
    torch.save(torch.rand(3, 4), tmp_path / "b.pt")
    torch.save({"text_features": torch.rand(3, 4), "classnames": 3}, tmp_path / "n.pt")
    engine.checkpoint.save(tmp_path / "c.safetensors", {"weight": torch.rand(3)}, {})
    for name in ("a.pt", "b.pt", "n.pt", "c.safetensors"):
        with pytest.raises(LabkitError, match="holds no class anchors"):
            read_calibration(tmp_path / name)
    (tmp_path / "d.pt").write_bytes(b"PK nothing")
    with pytest.raises(LabkitError, match="can't be read"):
        read_calibration(tmp_path / "d.pt")
    (tmp_path / "e.png").write_bytes(b"nothing")
    with pytest.raises(LabkitError, match=r"e\.png"):
        read_calibration(tmp_path / "e.png")
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(LabkitError, match="damaged or truncated"):
        read_calibration(tmp_path)


def test_anchors_for_other_classes_are_refused(tmp_path):
    path = Calibration(torch.eye(3, WIDTH), SENTENCES).save(tmp_path)
    assert path.name == FILE
    pand(prompts=None, anchors=path, classes=NAMES)
    for classes, part in (
        (
            NAMES[::-1],
            "for other classes, or for these in another order: one is for 'a photo of a red-capped",
        ),
        (("heron", "blue mossthrush", "owl"), "where 'heron' is wanted"),
        (NAMES[:2], "The anchors are for 3 classes, not 2"),
        (None, "pass classes=data.classes, so that they can be compared"),
    ):
        with pytest.raises(LabkitError) as caught:
            pand(prompts=None, anchors=path, classes=classes)
        assert part in str(caught.value)
    other = Calibration(torch.eye(3, WIDTH), SENTENCES, {"vlm": "ViT-B-32"})
    with pytest.raises(LabkitError, match=r"made with the vision-language model 'ViT-B-32', not with"):
        create("pand", student=classifier(), teacher=clip(), anchors=other)
    two = Calibration(torch.eye(2, WIDTH), ("a", "b"))
    with pytest.raises(LabkitError, match="There are 2 class anchors, but the student has 3 classes"):
        pand(prompts=None, anchors=two)


@pytest.mark.parametrize(
    ("prompts", "features", "options", "part"),
    [
        ("a bird", None, {}, "takes one sentence per class, in a list"),
        ([SENTENCES], None, {}, "takes one sentence per class"),
        (SENTENCES[:2], None, {}, "There are 2 prompts for labels up to 2: give one per class"),
        (SENTENCES, (torch.rand(3, 5), torch.arange(3)), {}, "but the model's embeddings are 128 wide"),
        (SENTENCES, None, {"classes": NAMES[::-1]}, "calibrate them on the same classes"),
        (SENTENCES, None, {"n_ctx": 40}, "use n_ctx of at most"),
    ],
)
def test_what_cannot_be_calibrated_is_one_sentence(prompts, features, options, part):
    with pytest.raises(LabkitError) as caught:
        calibrate(clip(), prompts, features or cached(), **{**QUICK, "epochs": 1, **options})
    assert part in str(caught.value)


# Both stages ----------------------------------------------------------------------------------------------


def test_both_stages_and_resume_with_the_same_anchors(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_QUIET", "1")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (24, 3, 64, 64), dtype=torch.uint8, generator=generator)
    split = data.ImageSet(images, torch.arange(24) % 3, NAMES)
    birds = data.DataModule("birds", split, split.subset(range(9)), split)
    bank = engine.FeatureBank(clip(), split, keep=False)
    options = {"batch_size": 8, "progress": False, "device": "cpu", "out": tmp_path / "run"}

    def method():
        torch.manual_seed(0)
        student = models.build("digit_cnn", 3, in_chans=3, widths=(2, 4), hidden=8)
        quick = {**QUICK, "epochs": 2, "out": tmp_path}
        return create(
            "pand",
            student=student,
            teacher=clip(),
            prompts=SENTENCES,
            classes=NAMES,
            calibrate_on=bank,
            calibration=quick,
        )

    first = method()
    wanted = calibrate(clip(), SENTENCES, (bank.features(), bank.labels), **{**QUICK, "epochs": 2}).text
    torch.testing.assert_close(first.teacher.anchors, wanted)
    run = engine.fit(first, birds, epochs=2, bank={"vlm": bank}, **options)
    second = method()  # finds its anchors again
    again = engine.fit(second, birds, epochs=2, bank={"vlm": bank}, resume=True, **options)
    assert again.losses == run.losses
    (tmp_path / FILE).unlink()
    Calibration(wanted, tuple(text[:-1] for text in SENTENCES)).save(tmp_path)  # of unknown making
    with pytest.raises(LabkitError, match=r"made with vlm = None, not aviary-clip"):
        method()


def test_anchors_of_other_features_are_not_taken_for_these(tmp_path):
    features, labels = cached()
    calibrate(clip(), SENTENCES, (features, labels), out=tmp_path, **QUICK)
    other = F.normalize(features + 0.1, dim=1)
    with pytest.raises(LabkitError, match="made with images = "):
        calibrate(clip(), SENTENCES, (other, labels), out=tmp_path, **QUICK)
    with pytest.raises(LabkitError, match="made with "):
        calibrate(clip(), SENTENCES, (features, labels), val=(other, labels), out=tmp_path, **QUICK)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Baird_Sparrow", "Baird's Sparrow"),
        ("a photo of a Chuck will Widow, a type of bird", "Chuck-will's-widow"),
        ("AM General Hummer SUV 2000", "2000 AM General Hummer SUV"),
    ],
)
def test_the_authors_names_of_the_same_class_are_known(theirs: str, ours: str):
    Calibration(torch.eye(1), (theirs,)).check_classes([ours])
    with pytest.raises(LabkitError, match="for other classes"):
        Calibration(torch.eye(1), (theirs,)).check_classes(["Field Sparrow"])


def test_classes_that_share_their_words_are_told_apart():
    theirs = "a photo of a red-billed white-capped reedfinch"
    with pytest.raises(LabkitError, match="for other classes"):
        Calibration(torch.eye(1), (theirs,)).check_classes(["white-billed red-capped reedfinch"])
