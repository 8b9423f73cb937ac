"""aviary-dinov2: losses against slow versions, a training that can be resumed, files that load anywhere."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from labkit import data
from labkit.models import load_backbone
from labkit.pretrain import dinov2, dinov2_loss, dinov2_probe
from labkit.pretrain.dinov2_train import SelfDistillation, Settings

TINY = Settings(
    birds=16,
    steps=6,
    batch=4,
    width=16,
    depth=1,
    heads=2,
    prototypes=12,
    warmup=0.2,
    momentum=0.9,
    seed=3,
)


def learner(settings=TINY):
    torch.manual_seed(settings.seed)
    one = torch.ones(1, 3, 1, 1)
    return SelfDistillation(dinov2.network(settings), 0.5 * one, 0.25 * one, settings)


@pytest.fixture(scope="module")
def birds():
    """(16, 2, 3, 64, 64) uint8: sixteen plain colours, photographed twice with some noise."""
    rng = np.random.default_rng(0)
    colour = rng.integers(30, 226, (16, 1, 3, 1, 1))
    return torch.from_numpy(
        (colour + rng.integers(-20, 21, (16, 2, 3, 64, 64))).clip(0, 255).astype(np.uint8)
    )


def train(model, images, steps):
    seen = None
    for _ in range(steps):
        index = model.positions(len(images))
        seen = model.take_step(images[index], index)
    return seen


def test_assignments_are_sharp_and_use_all_prototypes_equally():
    torch.manual_seed(0)
    logits = torch.randn(40, 8) + 3 * torch.eye(8)[0]  # all images lean to the first prototype
    q = dinov2_loss.assignments(logits, 0.5)
    slow = torch.exp(logits.double() / 0.5)
    for _ in range(3):
        for k in range(8):
            slow[:, k] /= slow[:, k].sum() * 8
        for m in range(40):
            slow[m] /= slow[m].sum()
    torch.testing.assert_close(q, slow.float(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(q.sum(1), torch.ones(40))
    assert q.sum(0).max() / q.sum(0).min() < 1.5
    plain = torch.softmax(logits / 0.5, 1).sum(0)
    assert plain.max() / plain.min() > 20
    assert dinov2_loss.entropy(q) > dinov2_loss.entropy(dinov2_loss.assignments(logits, 0.1))


def test_dino_compares_each_crop_with_the_other():
    torch.manual_seed(0)
    targets, student = torch.softmax(torch.randn(2, 5, 7), -1), torch.randn(2, 5, 7)
    terms = []
    for v, g in ((0, 1), (1, 0)):
        for b in range(5):
            log_p = torch.log_softmax(student[v, b] / 0.2, 0)
            terms.append(-(targets[g, b] * log_p).sum())
    torch.testing.assert_close(dinov2_loss.dino(targets, student, 0.2), torch.stack(terms).mean())


def test_contrast_is_the_cross_entropy_of_finding_oneself():
    torch.manual_seed(0)
    teacher = torch.nn.functional.normalize(torch.randn(2, 5, 7), dim=-1)
    student = torch.nn.functional.normalize(torch.randn(2, 5, 7), dim=-1)
    terms = []
    for v, g in ((0, 1), (1, 0)):
        for b in range(5):
            similar = torch.stack([student[v, b] @ teacher[g, other] for other in range(5)]) / 0.3
            terms.append(similar.logsumexp(0) - similar[b])
    torch.testing.assert_close(dinov2_loss.contrast(teacher, student, 0.3), torch.stack(terms).mean())
    perfect = torch.eye(5).expand(2, 5, 5)
    assert dinov2_loss.contrast(perfect, perfect, 0.05) < 1e-6


def test_the_head_gives_cosines():
    torch.manual_seed(0)
    head = dinov2_loss.Head(16, 12)
    out = head.compare(head.embed(torch.randn(5, 16)))
    assert out.shape == (5, 12)
    assert out.abs().max() <= 1 + 1e-5


def test_crops_come_from_both_photographs_and_are_keyed():
    photos = torch.zeros(3, 2, 3, 64, 64, dtype=torch.uint8)
    photos[:, 1] = 255
    model = learner()
    crops = model.crops(photos, torch.arange(3))
    assert crops.shape == (6, 3, 64, 64)
    assert crops[:3].mean() == -2  # (0 - 0.5) / 0.25
    assert crops[3:].mean() > 0
    noise = torch.randint(0, 256, (3, 2, 3, 64, 64), dtype=torch.uint8)
    first = model.crops(noise, torch.arange(3))
    assert torch.equal(first, model.crops(noise, torch.arange(3)))
    assert torch.equal(first[1::3], model.crops(noise[1:2], torch.tensor([1])))  # whatever the batch
    model.step = 1
    assert not torch.equal(first, model.crops(noise, torch.arange(3)))


def test_without_bursts_both_crops_are_of_one_photograph(birds):
    index = torch.tensor([3, 1])
    twice = dinov2._photographs(birds, index, 5, bursts=False)
    assert torch.equal(twice[:, 0], twice[:, 1])
    both = dinov2._photographs(birds, index, 5, bursts=True)
    assert torch.equal(both.sort(1).values, birds[index].sort(1).values)
    assert not torch.equal(both[:, 0], both[:, 1])


def test_the_teacher_is_the_student_s_moving_average(birds):
    model = learner()
    before = [p.clone() for p in model.teacher.parameters()]
    train(model, birds, 1)
    momentum = TINY.momentum
    for old, teacher, student in zip(
        before, model.teacher.parameters(), model.student.parameters(), strict=True
    ):
        expected = momentum * old + (1 - momentum) * student
        torch.testing.assert_close(teacher, expected, rtol=1e-5, atol=1e-7)
        assert teacher.grad is None
    model.step = TINY.steps
    end = model.schedule()
    assert end["momentum"] == pytest.approx(1)
    assert end["decay"] == pytest.approx(TINY.weight_decay[1])
    assert end["rate"] < 0.01


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(birds, tmp_path):
    straight = learner()
    train(straight, birds, 6)
    first = learner()
    train(first, birds, 3)
    first.save(tmp_path / "state.safetensors")
    second = learner()
    assert second.resume(tmp_path / "state.safetensors")
    assert second.step == 3
    train(second, birds, 3)
    for name in ("student", "teacher"):
        a, b = (getattr(model, name).state_dict() for model in (straight, second))
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_checkpoint_of_other_settings_is_left_alone(birds, tmp_path):
    model = learner()
    model.save(tmp_path / "state.safetensors")
    other = learner(Settings(**{**vars(TINY), "lr": 1e-4}))
    assert not other.resume(tmp_path / "state.safetensors")
    assert not other.resume(tmp_path / "none.safetensors")


def test_matrices_and_the_rest_have_their_optimisers():
    model = learner()
    muon, adam = model.optimizers
    shapes = {tuple(p.shape) for group in muon.param_groups for p in group["params"]}
    assert shapes == {(16, 16), (64, 16), (16, 64), (64, 64)}
    counted = sum(p.numel() for o in (muon, adam) for g in o.param_groups for p in g["params"])
    assert counted == sum(p.numel() for p in model.student.parameters())
    train(model, torch.zeros(16, 2, 3, 64, 64, dtype=torch.uint8), 1)
    decays = [(g["weight_decay"] > 0, all(p.ndim > 1 for p in g["params"])) for g in adam.param_groups]
    assert decays == [(True, True), (False, False)]


@pytest.mark.slow
def test_it_learns_to_tell_birds_apart_and_does_not_collapse(birds):
    changed = {"steps": 30, "batch": 16}
    model = learner(Settings(**{**vars(TINY), **changed}))
    first = train(model, birds, 1)
    last = train(model, birds, 29)
    assert last["contrast"] < 0.75 * first["contrast"]
    assert last["dino"] < first["dino"] - 0.1
    with torch.inference_mode():
        a, b = (model.teacher["net"](photo / 127.5 - 1).pooler_output for photo in birds.unbind(1))
    nearest = torch.cdist(a, b).argmin(1)
    assert (nearest == torch.arange(16)).float().mean() >= 0.75


def test_the_probe_reports_what_it_chose_and_reached():
    rng = np.random.default_rng(0)
    y = torch.arange(90) % 3
    x = (rng.normal(size=(90, 5)) + 1.5 * np.eye(5)[y]).astype(np.float32)
    parts = [(x[i : i + 30], y[i : i + 30]) for i in (0, 30, 60)]
    found = dinov2_probe.probe(*parts, cs=(0.003, 0.3))
    scores = {c: dinov2_probe.probe(*parts, cs=(c,)) for c in (0.003, 0.3)}
    assert found == max(scores.values(), key=lambda one: one["val"])
    assert found["test"] > 0.5
    assert "test" not in dinov2_probe.probe(*parts[:2])


@pytest.mark.slow
def test_the_recipe_leaves_files_that_load_like_the_published_ones(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="labkit")
    from transformers import AutoImageProcessor, AutoModel

    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LABKIT_QUIET", "1")
    metrics = dinov2.pretrain(tmp_path / "made", size="test", seed=1)
    json.dumps(metrics)
    for name in ("probe", "random_twin", "raw_pixels"):
        assert {"val", "test", "c", "test_1", "test_3"} <= metrics[name].keys()
    assert (metrics["bursts"], metrics["steps"]) == (True, dinov2.SIZES["test"].steps)
    watched = [record.args for record in caplog.records if record.name.endswith("dinov2")]
    assert {"val_probe", "val_nearest", "std", "entropy"} <= watched[-1].keys()
    assert not list((tmp_path / "cache").glob("pretrain/*"))  # no checkpoint outlives the training

    processor = AutoImageProcessor.from_pretrained(tmp_path / "made")
    model = AutoModel.from_pretrained(tmp_path / "made")
    assert type(model).__name__ == "Dinov2Model"
    assert model.dtype == torch.float32
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8))
    for mode in ("RGB", "L", "P", "RGBA"):
        inputs = processor(picture.convert(mode), return_tensors="pt")
        assert inputs["pixel_values"].shape == (1, 3, 64, 64)
        assert model(**inputs).last_hidden_state.shape == (1, 65, 32)
    backbone = load_backbone(tmp_path / "made")
    assert backbone(torch.rand(2, 3, 64, 64))["patches"].shape == (2, 64, 32)


@pytest.mark.slow
def test_the_shipped_miniature_tells_birds_apart():
    bench = data.load("aviary", size="mini")
    backbone = load_backbone("aviary-dinov2")

    def accuracy(encode):
        train, val = ((dinov2_probe.features(encode, s.images), s.labels) for s in (bench.train, bench.val))
        return dinov2_probe.nearest(train, val, k=1)

    ours, raw = accuracy(dinov2_probe.tokens(backbone)), accuracy(dinov2_probe.pixels)
    assert ours > raw + 0.15
    assert ours > 0.5  # chance is 1 in 60
