"""The training loop, on accelerate."""

from __future__ import annotations

import math
import os
import threading
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Augment, Batch, DataModule, batches
from ..errors import LabkitError
from ..rng import seed_everything
from .bank_feed import Feed
from .dropout import Clock, keyed_dropout
from .evaluate import evaluate
from .guards import check_stored, warn_of_chance
from .recipe import Recipe
from .records import Records
from .session import interruptible, make_accelerator
from .stage import Stage, Step
from .store import Position, Store
from .sync_norm import shared_statistics


class Trainer:
    """Runs the stages of a method. Built and used by `fit`, which documents the arguments."""

    def __init__(
        self,
        method: nn.Module,
        data: DataModule,
        recipe: Recipe,
        *,
        augment: Augment | None,
        feed: Feed,
        epochs: int | None,
        steps: int | None,
        folder: Path | None,
        config: dict[str, Any],
        progress: bool | None,
        device: str | None,
    ) -> None:
        self.method, self.data, self.recipe, self.augment = method, data, recipe, augment
        self.feed, self.epochs, self.steps = feed, epochs, steps
        self.accelerator = make_accelerator(recipe, device)
        self.device = self.accelerator.device
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        quiet = bool(os.environ.get("LABKIT_QUIET")) if progress is None else not progress
        self.quiet = quiet or not self.accelerator.is_main_process
        self.store = Store(folder, config, self.accelerator)
        self.validates = data.val is not None and len(data.val) > 0
        self.at = Position()
        self.clock = Clock(recipe.seed)
        self.records = Records(self.accelerator)
        self.whole = True  # between two steps, where a checkpoint can be taken
        self.kept: dict[str, Tensor] | None = None  # the watched model's best weights
        if recipe.batch_size < self.world:
            raise LabkitError(f"batch_size {recipe.batch_size} is smaller than the {self.world} processes.")

    def run(self, resume: bool) -> None:
        """Train all stages, from the last checkpoint if `resume` finds one."""
        seed_everything(self.recipe.seed)
        self.method.to(self.device)
        several = self.world > 1 and self.device.type == "cuda"
        frozen = getattr(self.method, "frozen", ())
        with shared_statistics(self.method, frozen) if several else nullcontext():
            self._run(resume)
        self.method.eval()

    def _run(self, resume: bool) -> None:
        stages = self.method.stages() if hasattr(self.method, "stages") else [Stage("train", self.method)]
        self.feed.check(stages, self.augment)
        flags = {p: p.requires_grad for p in self.method.parameters()}
        saved = self.store.read(self.method) if resume else None
        check_stored(self.method, self.feed)
        if not saved:
            warn_of_chance(self.method, self.data)
        if saved:
            self.at = saved[0]
        else:
            self.store.start()
        try:
            with keyed_dropout(self.method, self.clock), interruptible() as interrupt:
                while not self.at.done:
                    stage = stages[self.at.stage]
                    trained = set(stage.module.parameters())
                    for parameter, flag in flags.items():
                        parameter.requires_grad_(flag and parameter in trained)
                    self._stage(stage, saved, interrupt)
                    self._end_stage(stage, len(stages))
                    saved = None
        finally:
            for parameter, flag in flags.items():
                parameter.requires_grad_(flag)

    # One stage -------------------------------------------------------------------------------------------

    def _stage(self, stage: Stage, saved: tuple | None, interrupt: threading.Event) -> None:
        self.watched = stage.model or self.method.deployed()
        self.shown = self.feed.shown(stage, self.augment)
        self.step_module, self.optimizer = self._prepare(stage)
        self.kept = None
        if saved:
            self.store.restore(*saved, self.optimizer)
            self.kept = self.store.read_best() if self.at.best >= 0 else None
        elif self.at.stage == 0:  # whatever cuts the first epoch short, there is a run to go on with
            self.store.save(self.method, self.optimizer, self.at)
        self.per_epoch = self.at.step + len(self._batches())
        in_steps = self.steps is not None and stage.epochs is None
        length = self.steps if in_steps else self.per_epoch * (stage.epochs or self.epochs)
        self.total = length if stage.epochs else max(1, round(length * stage.length))
        epochs = math.ceil(self.total / self.per_epoch)
        every = self.recipe.validate_every or math.ceil(epochs / 30)
        hook = self.records.watch(self.watched)
        self.bar = self._bar(stage)
        try:
            while self.at.epoch < epochs and not self._waited_enough():
                self._epoch(stage, interrupt)
                self._end_epoch(stage, (self.at.epoch + 1) % every == 0 or self.at.epoch + 1 == epochs)
        except KeyboardInterrupt:
            self._interrupted()
            raise
        finally:
            hook.remove()
            self.bar.close()

    def _prepare(self, stage: Stage) -> tuple[nn.Module, torch.optim.Optimizer]:
        trained = [p for p in stage.module.parameters() if p.requires_grad]
        if not trained:
            raise LabkitError(f"Stage '{stage.name}' has nothing to train: all its parameters are frozen.")
        groups = [{"params": trained}]
        if hasattr(self.method, "param_groups"):
            ours = set(trained)
            groups = [
                {**g, "params": [p for p in g["params"] if p in ours]} for g in self.method.param_groups()
            ]
        optimizer = self.recipe.make_optimizer(groups)
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
        self.trained = [p for group in groups for p in group["params"]]
        self.dtype = trained[0].dtype
        step_module = Step(self.method, stage.losses or self.method.losses)
        with warnings.catch_warnings():  # torch renames broadcast_buffers, accelerate doesn't yet
            warnings.simplefilter("ignore", FutureWarning)
            step_module = self.accelerator.prepare(step_module)
        # accelerate's wrapper only serves fp16, and looks for another library on the disk at every step.
        scaled = self.accelerator.scaler is not None
        return step_module, self.accelerator.prepare(optimizer) if scaled else optimizer

    def _epoch(self, stage: Stage, interrupt: threading.Event) -> None:
        self._modes(stage)
        for batch in self._batches():
            done = self.at.epoch * self.per_epoch + self.at.step
            if done >= self.total:
                break
            factor = self.recipe.lr_factor(done, self.total)
            for group in self.optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            self.whole = False
            self._step(batch, done / self.total)
            if hasattr(self.method, "on_step_end"):
                self.method.on_step_end(done)
            self.at.step += 1
            self.whole = True
            self.bar.update()
            if interrupt.is_set():  # before the next batch: its workers may have ended, too
                raise KeyboardInterrupt

    def _step(self, batch: Batch, progress: float) -> None:
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        # Convolutions follow their input's layout, and are fastest in this one; so in `evaluate` and banks.
        batch = batch._replace(image=batch.image.to(dtype, memory_format=torch.channels_last))
        batch = self.shown.fill(batch)
        n = len(batch.label)
        self.clock.tick(self.at.epoch, batch.index)
        self.records.begin()
        terms = self.step_module(batch, progress)
        self.records.add(self.at, batch, terms, self.per_epoch)
        # A batch that the processes can't share evenly: weigh each by its part of it.
        share = n * self.world / min(self.recipe.batch_size, len(self.data.train))
        self.optimizer.zero_grad()
        self.accelerator.backward(terms["total"] * share)
        if self.recipe.clip:
            self.accelerator.clip_grad_norm_(self.trained, self.recipe.clip)
        self.optimizer.step()

    def _batches(self):
        return batches(
            self.data.train,
            self.recipe.batch_size,
            seed=self.recipe.seed,
            epoch=self.at.epoch,
            shuffle=True,
            augment=self.shown.augment,
            views=self.shown.views,
            view_seed=self.shown.seed,
            device=self.device,
            rank=self.rank,
            world=self.world,
            start=self.at.step,
        )

    def _modes(self, stage: Stage) -> None:
        """Train mode for what is trained, eval for all else, frozen networks above all."""
        self.method.eval()
        stage.module.train()
        for name in getattr(self.method, "frozen", ()):
            if getattr(self.method, name, None) is not None:
                getattr(self.method, name).eval()

    def _end_epoch(self, stage: Stage, validate: bool) -> None:
        at = self.at
        self.records.look(at, self.per_epoch)
        self.whole = False
        means = self.records.means(at)
        row = {
            "stage": stage.name,
            "epoch": at.epoch + 1,
            "step": len(at.losses),
            "lr": self.optimizer.param_groups[0]["lr"],
            **means,
        }
        if validate and self.validates and stage.keep == "best":
            result = evaluate(self.watched, self.data.val)
            row |= {"val_accuracy": result.accuracy, "val_loss": result.loss}
            at.waited += 1
            if result.accuracy > at.best:
                at.best, at.waited = result.accuracy, 0
                self._keep()
            self.bar.set_postfix(val=f"{at.best:.1%}")
        at.history.append(row)
        at.epoch, at.step, at.sums, at.seen = at.epoch + 1, 0, {}, 0
        self.whole = True
        self.store.save(self.method, self.optimizer, at)

    def _keep(self) -> None:
        self.kept = {name: t.detach().clone() for name, t in self.watched.state_dict().items()}
        measured = {"accuracy": self.at.best} if self.at.best >= 0 else {}
        self.store.save_weights("best", self.kept, **measured)

    def _end_stage(self, stage: Stage, stages: int) -> None:
        """Put the best weights back and write the stage's artefact."""
        if self.kept is None:  # nothing was validated: the last weights are the result
            self._keep()
        self.watched.load_state_dict(self.kept)
        if stages > 1:
            trained = self.watched if stage.module is self.method else stage.module
            self.store.save_weights(f"stage{self.at.stage + 1}/best", trained.state_dict(), stage=stage.name)
        if self.at.stage + 1 == stages:
            self.at.done = True
        else:
            self.at.stage, self.at.epoch, self.at.waited, self.at.best = self.at.stage + 1, 0, 0, -1.0
        self.store.save(self.method, self.optimizer, self.at)
        self.optimizer.zero_grad()
        if not self.at.done:
            self.accelerator.free_memory()

    def _interrupted(self) -> None:
        """Save, unless a step was cut in two or other processes are in theirs: then the last epoch stands."""
        if not self.store.writes:
            return
        if self.whole and self.world == 1:
            self.records.look(self.at, self.per_epoch)
            self.store.save(self.method, self.optimizer, self.at)
            self.bar.write(f"Interrupted. {self.store.folder} is saved: go on with resume=True.")
        else:
            self.bar.write(f"Interrupted. resume=True goes on from {self.store.folder}'s last saved epoch.")

    def _waited_enough(self) -> bool:
        return self.recipe.patience is not None and self.at.waited >= self.recipe.patience

    def _bar(self, stage: Stage):
        from tqdm.auto import tqdm

        done = self.at.epoch * self.per_epoch + self.at.step
        return tqdm(
            total=self.total,
            initial=done,
            desc=stage.name,
            unit="step",
            leave=False,
            delay=1.0,
            disable=self.quiet,
        )
