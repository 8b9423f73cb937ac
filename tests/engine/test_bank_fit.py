"""Training on a bank: the student sees, byte by byte, the views whose features it is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from bank_toys import Seeing, encode
from engine_toys import Noisy, classifier, digest, images, net, sentence, toy, train
from torch import Tensor, nn

from labkit import methods
from labkit.data import Augment, Batch
from labkit.engine import FeatureBank, Stage

VIEWS = {"views": 2, "augment": Augment(pad=1, flip=True, jitter=(0.3, 0.3, 0, 0)), "seed": 8}


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))


class Watching(methods.Scratch):
    """Notes each batch; its stages are given."""

    name = "watching"

    def __init__(self, student: nn.Module, stages: list[dict] | None = None) -> None:
        super().__init__(student)
        self.settings, self.batches = stages or [{}], []

    def stages(self) -> list[Stage]:
        return [Stage(f"stage{i}", self, **settings) for i, settings in enumerate(self.settings)]

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        self.batches.append(batch)
        return super().losses(batch, progress)


def seen(bank: FeatureBank | dict | None, stages: list[dict] | None = None, **kw) -> list[Batch]:
    """The batches of a run of four epochs a stage."""
    method = Watching(classifier(), stages)
    train(method, kw.pop("module", None), bank=bank, epochs=4, **kw)
    return method.batches


def pixels(**kw) -> FeatureBank:
    return encode(Seeing(), kw.pop("split", toy().train), outputs=("pixels", "embedding"), **kw)


def test_the_student_sees_what_the_bank_encoded():
    bank = pixels(**VIEWS)
    found = seen(bank, seed=3)
    assert [set(batch.view.tolist()) for batch in found] == [{v} for v in (0, 1, 0, 1) for _ in range(5)]
    for batch in found:
        assert torch.equal(batch.image, batch.stored["pixels"])
        expected = bank.features("embedding", int(batch.view[0]))[bank.positions(batch.index)]
        assert torch.equal(batch.stored["embedding"], expected)
    plain = seen(None, seed=3)
    assert all(torch.equal(a.index, b.index) for a, b in zip(found, plain, strict=True)), "the order stays"
    assert [int(batch.view[0]) for batch in plain[::5]] == [0, 1, 2, 3]
    assert not any(batch.stored for batch in plain)


def test_a_label_budget_trains_on_the_whole_splits_bank():
    module = toy()
    few = replace(module, train=module.train.few(5, seed=1))
    for batch in seen(pixels(**VIEWS), module=few):
        assert torch.equal(batch.image, batch.stored["pixels"])


def test_a_bank_without_augmentation_trains_without():
    for batch in seen(pixels()):
        assert torch.equal(batch.image, batch.stored["pixels"])
        assert not batch.view.any()


@pytest.mark.slow
def test_each_stage_is_given_the_banks_that_saw_its_images():
    both = {"still": pixels(), "moving": pixels(**VIEWS)}
    found = seen(both, [{"views": "original"}, {}, {"views": 1}])
    for batch, name in zip(found, ["still"] * 20 + ["moving"] * 40, strict=True):
        assert set(batch.stored) == {f"{name}.pixels", f"{name}.embedding"}
        assert torch.equal(batch.image, batch.stored[f"{name}.pixels"])
    assert [int(batch.view[0]) for batch in found[::5]] == [0] * 4 + [0, 1, 0, 1] + [0] * 4


def test_a_number_of_views_without_a_bank():
    found = seen(None, [{"views": 3}], seed=2)
    assert [int(batch.view[0]) for batch in found[::5]] == [0, 1, 2, 0]
    first, last = (
        torch.cat([b.image for b in part])[torch.cat([b.index for b in part]).argsort()]
        for part in (found[:5], found[15:])
    )
    assert torch.equal(first, last)
    assert "at least 1" in sentence(lambda: seen(None, [{"views": 0}]))


class FromBank(methods.Hinton):
    """Hinton's distillation with the stored logits of the teacher, noise on the student's."""

    def __init__(self, student: nn.Module, teacher: nn.Module, stop: int = 0) -> None:
        super().__init__(student, teacher)
        self.stop, self.calls = stop, 0

    def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.stop:
            raise KeyboardInterrupt
        logits = self.student(batch.image).logits
        logits = logits + 0.1 * torch.randn_like(logits)
        return {"total": F.mse_loss(logits, batch.stored["logits"])}


def test_a_resumed_run_on_a_bank_repeats_the_whole_one(tmp_path: Path):
    teacher, module = classifier(3), toy()
    settings = {"epochs": 4, "lr": 0.01, "validate_every": 1}

    def run(name: str, stop: int = 0, **kw):
        bank = FeatureBank(teacher, module.train, **VIEWS, device="cpu")
        return train(
            FromBank(classifier(), teacher, stop), module, out=tmp_path / name, bank=bank, **settings, **kw
        )

    whole = run("whole")
    for stop in (8, 9):
        with pytest.raises(KeyboardInterrupt):
            run("cut", stop, resume=True)
    resumed = run("cut", resume=True)
    assert digest(resumed.model) == digest(whole.model)
    assert resumed.losses == whole.losses
    assert list(whole.config["banks"]) == ["bank"]
    other = FeatureBank(classifier(4), module.train, **VIEWS, device="cpu")
    method = FromBank(classifier(), teacher)
    message = sentence(
        lambda: train(
            method, module, out=tmp_path / "cut", bank=other, resume=True, overwrite=True, **settings
        )
    )
    assert "banks.bank" in message


def test_a_bank_of_the_teacher_replaces_the_teacher():
    teacher = net(1, dropout=0).double()
    module = toy()
    bank = FeatureBank(teacher, module.train, **VIEWS, device="cpu")

    class Both(methods.Hinton):
        name = "both"

        def losses(self, batch: Batch, progress: float) -> dict[str, Tensor]:
            assert batch.stored["logits"].dtype == torch.float64
            torch.testing.assert_close(
                batch.stored["logits"], self.ask_teacher(batch).logits, rtol=1e-5, atol=1e-6
            )
            return super().losses(batch, progress)

    train(Both(net().double(), teacher), module, bank=bank)


def test_what_does_not_fit_is_refused():
    module, bank = toy(), pixels(**VIEWS)
    assert "no stage shows" in sentence(lambda: train(bank=bank, augment="crop-flip"))
    assert "no stage shows" in sentence(lambda: train(bank=bank, augment=None))
    assert "The bank 'a' holds the images as they are" in sentence(
        lambda: train(bank={"a": pixels(), "b": bank})
    )
    assert "same views" in sentence(lambda: train(bank={"a": bank, "b": pixels(**(VIEWS | {"seed": 9}))}))
    assert "wants 3 views" in sentence(lambda: seen(bank, [{"views": 3}]))
    assert "not str" in sentence(lambda: train(bank={"a": "bank"}))
    assert "not in the bank" in sentence(
        lambda: train(bank=pixels(split=module.train.subset(range(30)), **VIEWS))
    )
    alike = replace(images(40, 2), ids=module.train.ids)
    assert "another one in the bank" in sentence(lambda: train(bank=pixels(split=alike, **VIEWS)))


def test_a_teacher_may_see_the_same_view_at_another_size():
    module = toy()
    large = module.train.resized(12)

    class Large(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"pixels": x.flatten(1)}

    bank = encode(Large(), large, views=2, augment=Augment(flip=True), seed=4)
    for batch in seen(bank):
        small_again = F.interpolate(batch.stored["pixels"].view(-1, 1, 12, 12), (6, 6), mode="area")
        assert (small_again - batch.image).abs().mean() < 0.1
        assert (small_again.flip(3) - batch.image).abs().mean() > 0.1
    assert "another one in the bank" in sentence(
        lambda: train(bank=encode(Large(), replace(large, labels=large.labels.roll(1)), augment="crop-flip"))
    )


def test_runs_without_a_bank_have_the_old_configuration():
    assert "banks" not in train(Noisy(classifier())).config
