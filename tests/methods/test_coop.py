"""CoOp's loop: the authors' schedule, what is trained, seeds, and the choice of an epoch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit.errors import LabkitError
from labkit.methods.coop import coop_rate, prompt_accuracy, prompt_step, train_prompts


class Head(nn.Module):
    """A learner without a text tower: C vectors, normalised."""

    def __init__(self, classes: int = 3, width: int = 5) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(classes, width, generator=torch.Generator().manual_seed(1)))

    def forward(self) -> torch.Tensor:
        return F.normalize(self.vectors, dim=-1)


def clusters(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    return F.normalize(3 * torch.eye(3, 5)[labels] + torch.randn(n, 5, generator=generator), dim=-1), labels


def test_the_rate_is_that_of_dassl():
    """torch's own cosine over epochs, with the first epoch at 1e-5."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.002)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7)
    for epoch in range(7):
        wanted = 1e-5 if epoch == 0 else schedule.get_last_lr()[0]
        assert coop_rate(epoch, 7, 0.002) == pytest.approx(wanted)
        optimizer.step()
        schedule.step()
    assert coop_rate(0, 7, 0.002, warmup=0) == 0.002


def test_training_is_the_loop_written_out():
    features, labels = clusters(10)
    learner, by_hand = Head(), Head()
    run = train_prompts(learner, features, labels, scale=4.0, epochs=3, lr=0.1, batch_size=10)
    velocity = torch.zeros_like(by_hand.vectors)
    for epoch in range(3):  # one full batch an epoch: its order does not matter
        loss = F.cross_entropy(4.0 * features @ by_hand().T, labels)
        (gradient,) = torch.autograd.grad(loss, by_hand.vectors)
        velocity = 0.9 * velocity + gradient + 5e-4 * by_hand.vectors.detach()
        rate = 1e-5 if epoch == 0 else 0.05 * (1 + math.cos(math.pi * epoch / 3))
        by_hand.vectors.data -= rate * velocity
        assert run.losses[epoch] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(learner.vectors, by_hand.vectors)
    assert run.epoch == 3
    assert not run.val


def test_seeds_decide_the_order_and_incomplete_batches_are_left_out():
    features, labels = clusters(40)
    runs = []
    for seed in (0, 0, 1):
        learner = Head()
        runs.append(train_prompts(learner, features, labels, scale=4.0, epochs=2, batch_size=16, seed=seed))
    assert runs[0].losses == runs[1].losses != runs[2].losses
    assert len(runs[0].losses) == 2 * 2


def test_every_class_is_learned():
    features, labels = clusters(60)
    learner = Head()
    before = prompt_accuracy(learner, features, labels)
    train_prompts(learner, features, labels, scale=10.0, epochs=30, lr=0.3)
    assert prompt_accuracy(learner, features, labels) > max(0.9, before)


def test_the_best_epoch_is_kept_and_patience_ends_it():
    features, labels = clusters(30)
    learner, seen = Head(), []

    def step(learner, optimizer, *batch):
        loss = prompt_step(learner, optimizer, *batch)
        seen.append(learner.vectors.detach().clone())
        return loss

    options = {"scale": 8.0, "epochs": 20, "lr": 0.5, "batch_size": 30, "step": step}
    run = train_prompts(learner, features, labels, **options, validation=clusters(12), patience=4)
    best = max(range(len(run.val)), key=lambda e: (run.val[e], -e))
    assert run.epoch == best + 1
    assert len(run.val) == min(20, best + 5)
    assert torch.equal(learner.vectors, seen[best])
    assert prompt_accuracy(learner, *clusters(12)) == run.val[best]


def test_bad_input_is_one_sentence():
    features, labels = clusters(6)
    for arguments, options, words in (
        ((features, labels[:5]), {}, "belong together"),
        ((features[:0], labels[:0]), {}, "belong together"),
        ((features, labels), {"epochs": 0}, "epochs must be"),
        ((features, labels), {"batch_size": 1.5}, "batch_size must be"),
    ):
        with pytest.raises(LabkitError, match=words):
            train_prompts(Head(), *arguments, **{"scale": 1.0, "epochs": 1} | options)
    with pytest.raises(LabkitError, match="nothing to train"):
        train_prompts(Head().requires_grad_(False), features, labels, scale=1.0, epochs=1)
