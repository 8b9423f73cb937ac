"""What a run leaves: history, configuration, files; and the stages it went through."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import yaml
from engine_toys import TwoStages, classifier, digest, toy, train

from labkit import engine, methods
from labkit.engine import History, Stage, evaluate, load_run


def test_history_has_a_row_per_epoch_and_every_term(tmp_path):
    method = methods.create("hinton", student=classifier(), teacher=classifier(1))
    run = train(method, out=tmp_path, epochs=3)
    columns = ["stage", "epoch", "step", "lr", "train_accuracy", "total", "ce", "kd"]
    assert run.history.columns == [*columns, "val_accuracy", "val_loss"]
    assert run.history["stage"] == ["hinton"] * 3
    assert run.history["epoch"] == [1, 2, 3]
    assert run.history["nothing"] == [None] * 3
    assert run.history[0]["total"] == pytest.approx(sum(run.losses[:5]) / 5)
    for row in run.history:
        assert row["total"] == pytest.approx(0.5 * row["ce"] + 0.5 * row["kd"])
    assert History.load(tmp_path / "history.csv") == run.history == load_run(tmp_path).history


def test_train_accuracy_is_that_of_the_training_pass():
    hits = []

    class Watching(methods.Scratch):
        def losses(self, batch, progress):
            logits = self.student(batch.image).logits
            hits.append((logits.argmax(1) == batch.label).sum().item())
            ce = F.cross_entropy(logits, batch.label)
            return {"total": ce}

    run = train(Watching(classifier()))
    assert run.history["train_accuracy"] == [sum(hits[:5]) / 40, sum(hits[5:]) / 40]


def test_config_says_what_decides_the_result(tmp_path):
    method = methods.create("hinton", student=classifier(), teacher=classifier(1), temperature=3.0)
    train(method, out=tmp_path, lr=0.01, seed=4)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["method"] == {"name": "hinton", "temperature": 3.0, "hard_weight": 0.5}
    assert config["model"] == {
        "name": "digit_cnn", "num_classes": 3, "in_chans": 1, "image_size": None,
        "widths": [2, 4], "hidden": 8, "dropout": 0.3,
    }  # fmt: skip
    assert config["recipe"]["lr"] == 0.01
    assert config["recipe"]["seed"] == 4
    assert config["augment"]["flip"] is True
    assert (config["epochs"], config["steps"]) == (2, None)


def test_folder_holds_what_the_design_says_and_the_run_comes_back(tmp_path):
    run = train(out=tmp_path / "new" / "run")
    names = sorted(path.name for path in run.folder.iterdir())
    assert names == ["best.safetensors", "config.yaml", "history.csv", "last.safetensors"]
    assert run.checkpoints == {
        "best": run.folder / "best.safetensors",
        "last": run.folder / "last.safetensors",
    }
    loaded = load_run(run.folder)
    assert not loaded.model.training
    x = torch.rand(3, 1, 6, 6)
    assert torch.equal(loaded.model(x).logits, run.model(x).logits)


def test_a_run_can_be_plotted():
    assert len(train().plot().axes) == 2


def test_two_stages_go_one_after_the_other(tmp_path):
    method = TwoStages(classifier())
    before = {name: p.detach().clone() for name, p in method.state_dict().items()}
    run = train(method, out=tmp_path, epochs=3)
    assert run.history["stage"] == ["features"] * 2 + ["head"] * 3
    assert run.history["epoch"] == [1, 2, 1, 2, 3]
    assert "rows" in run.history[0]
    assert "rows" not in run.history[2]
    after = method.state_dict()
    first, second = (engine.checkpoint.load(tmp_path / f"stage{i}/best.safetensors")[0] for i in (1, 2))
    for name in before:
        still = name.startswith("anchor.")
        assert torch.equal(before[name], after[name]) == still or "mean" in name or "std" in name, name
    assert digest(second) == digest(method.student.head)
    features = method.stages()[0].module.state_dict()
    assert digest(first) == digest(features), "the second stage leaves the first one's part as it was"
    assert run.checkpoints["stage1"] == tmp_path / "stage1" / "best.safetensors"


def test_only_the_stages_module_gets_gradients_and_train_mode():
    seen = []

    class Watching(TwoStages):
        def losses(self, batch, progress):
            seen.append({name for name, p in self.named_parameters() if p.requires_grad})
            assert self.student.head.training
            assert not self.student.net.features.training
            assert not self.connector.training
            return super().losses(batch, progress)

    method = Watching(classifier())
    flags = {name: p.requires_grad for name, p in method.named_parameters()}
    train(method, epochs=1)
    assert all(names == {"student.net.head.weight", "student.net.head.bias"} for names in seen)
    assert {name: p.requires_grad for name, p in method.named_parameters()} == flags


def test_a_stage_may_validate_another_model():
    class Two(methods.Method):
        name = "two"

        def __init__(self, student, assistant):
            super().__init__(student)
            self.assistant = assistant

        def losses(self, batch, progress):
            return {"total": F.cross_entropy(self.student(batch.image).logits, batch.label)}

        def teach(self, batch, progress):
            return {"total": F.cross_entropy(self.assistant(batch.image).logits, batch.label)}

        def stages(self):
            return [
                Stage("assistant", self.assistant, losses=self.teach, model=self.assistant),
                Stage("student", self.student),
            ]

    method = Two(classifier(), classifier(1))
    module = toy()
    run = train(method, module, epochs=4)
    assert evaluate(method.assistant, module.val).accuracy == max(run.history["val_accuracy"][:4])
    assert run.accuracy == max(run.history["val_accuracy"][4:])
