"""What lab 03's notebook runs but does not teach: the set-up of a live run, and the priors of its bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from . import lab03_theory as theory
from . import pair

if TYPE_CHECKING:
    from ..data import Batch, DataModule, ImageSet
    from ..models import Classifier
    from ..profiles import Profile


class Live(NamedTuple):
    """A new student and all that a hand-written loop needs to train it.

    Attributes:
        student: initialised by seed 0.
        optimizer, rates: of the preset's recipe; `rates.step()` belongs after every step.
        rounds: iterables of batches that stand for epochs; together they are the whole run.
        measure: (student, 'val' or 'test') -> accuracy on a part of that split.
        steps: of the whole run.
        dtype: that the networks compute in.
    """

    student: Classifier
    optimizer: torch.optim.Optimizer
    rates: torch.optim.lr_scheduler.LRScheduler
    rounds: list[Iterator[Batch]]
    measure: Callable[[Classifier, str], float]
    steps: int
    dtype: torch.dtype = torch.float32

    def step_with(
        self,
        step: Callable[..., tuple[float, int]],
        guide: nn.Module | None = None,
        temperature: float = 1.0,
        hard_weight: float = 1.0,
        **_: object,
    ) -> Callable[[Batch], tuple[float, int]]:
        """A hand-written `step(student, guide, optimizer, batch, temperature, hard_weight)`, of a batch.

        It computes in the recipe's precision, and moves the learning rate on.
        """

        def one(batch: Batch) -> tuple[float, int]:
            with torch.autocast(batch.image.device.type, self.dtype, enabled=self.dtype != torch.float32):
                done = step(self.student, guide, self.optimizer, batch, temperature, hard_weight)
            self.rates.step()
            return done

        return one


def begin(s: SimpleNamespace, method: str, module: DataModule, device: torch.device | str) -> Live:
    """A live run by the preset's recipe; images, order and initialisation are the same for every method.

    Args:
        s: settings with `student`, `training`, `options`, `rounds` and `peek`.
        method: whose learning rate and weight decay to take.
        module: what is learned from.
        device: where the student and the batches are.
    """
    from .. import engine, models
    from ..data import steps_per_epoch, stream
    from ..rng import seed_everything

    chosen = {k: v for k, v in s.options[method].items() if k in pair.RECIPE}
    length = ("steps", "epochs")
    recipe = engine.Recipe(**{k: v for k, v in (s.training | chosen).items() if k not in length})
    size = recipe.batch_size
    n = s.training.get("steps") or s.training["epochs"] * steps_per_epoch(len(module.train), size)
    seed_everything(0)
    student = models.build(num_classes=module.num_classes, **s.student).to(device)
    optimizer = recipe.make_optimizer(student.parameters())

    def clip(*_: object) -> None:
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(student.parameters(), recipe.clip)

    optimizer.register_step_pre_hook(clip)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: recipe.lr_factor(min(i, n - 1), n))
    images = stream(module.train, size, n, augment=module.augment, device=device)
    cuts = [n * i // s.rounds for i in range(s.rounds + 1)]
    rounds = [islice(images, b - a) for a, b in pairwise(cuts)]
    parts = {name: getattr(module, name).few(s.peek, seed=0) for name in ("val", "test")}

    def measure(net: Classifier, split: str) -> float:
        return engine.evaluate(net, parts[split]).accuracy

    # Not fp16, whose gradients a hand-written step would have to scale.
    bf16 = recipe.mixed_precision(torch.device(device)) == "bf16"
    return Live(student, optimizer, rates, rounds, measure, n, torch.bfloat16 if bf16 else torch.float32)


def flat(split: ImageSet, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pixels in [0, 1] with a constant 1 appended, (n, D + 1), and labels (n,)."""
    part = split if rows is None else split.subset(rows)
    x = part.images.flatten(1).float() / 255
    return torch.cat([x, torch.ones(len(x), 1)], 1), part.labels


def bounds(profile: Profile, labels: int = 100) -> dict[str, theory.Bound]:
    """PAC-Bayes bounds of a linear classifier of 8x8 digits, by what its prior knew.

    Half of the training images, with labels, are what the bound is computed on. Of the other half, `labels`
    have a label: they centre the second prior, and teach a network whose answers to the whole half centre the
    third.

    Args:
        profile: whose settings of lab 01 train the network.
        labels: how many of the other half.
    """
    from .. import data, engine, methods, models
    from ..rng import permutation, seed_everything

    s, digits = profile.lab(1), data.load("digits", seed=0)
    order = permutation(len(digits.train), 0)
    half = len(order) // 2
    prior_rows, own = order[:half], order[half:]
    known = data.DataModule("digits", digits.train.subset(order[:labels]), digits.val, digits.test)
    seed_everything(0)
    teacher = models.build("digit_teacher", known.num_classes)
    run = engine.fit(methods.create("scratch", student=teacher), known, seed=0, **s.teacher_training)
    answers = engine.evaluate(run.model, digits.train.subset(prior_rows)).logits.softmax(1)
    x, y = flat(digits.train, order[:labels])
    centres = {
        "knows nothing": torch.zeros(x.shape[1], digits.num_classes),
        f"{labels} labels": theory.linear_fit(x, y),
        "distilled from their teacher": theory.linear_fit(flat(digits.train, prior_rows)[0], answers),
    }
    train, test = flat(digits.train, own), flat(digits.test)
    return {name: theory.bounded(centre, train, test) for name, centre in centres.items()}
