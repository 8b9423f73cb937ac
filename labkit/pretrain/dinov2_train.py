"""One training of DINO's kind: student, averaged teacher, crops, losses, and checkpoints to go on from."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..data import Augment
from ..data.loader import slices
from ..engine import checkpoint
from . import dinov2_loss as losses
from .muon import muon_and_adamw, set_rates


@dataclass(frozen=True)
class Settings:
    """Everything that decides a training, the seed included; equal settings give equal weights.

    Attributes:
        birds: different birds to learn from, with `photos` photographs each.
        bursts: the two crops show two photographs of the same bird, as of a burst of shots (another pose,
            light and scene); without, both are of one photograph, as in DINO.
        steps, batch: of the training; birds per step.
        width, depth, heads: of the network.
        scale: areas of the crops as shares of the image. There is no colour jitter: the colours of small
            parts are what tells birds apart.
        prototypes: K of the head.
        contrast_weight, contrast_temperature: of InfoNCE between student and teacher.
        lr, matrix_lr: peak rates of AdamW and of Muon.
        warmup: share of the steps until the peak; from there half a cosine down.
        weight_decay: first and last (cosine).
        momentum: the teacher's, at the start; 1 at the end (cosine).
        sharp: the teacher's temperature at the start and after three tenths of the steps.
        student_temperature: the student's.
        seed: decides everything that is drawn.
    """

    birds: int = 32768
    photos: int = 2
    bursts: bool = True
    steps: int = 1200
    batch: int = 64
    width: int = 128
    depth: int = 6
    heads: int = 2
    scale: tuple[float, float] = (0.8, 1.0)
    prototypes: int = 1024
    contrast_weight: float = 1.0
    contrast_temperature: float = 0.2
    lr: float = 2e-3
    matrix_lr: float = 0.02
    warmup: float = 0.1
    weight_decay: tuple[float, float] = (0.04, 0.2)
    momentum: float = 0.5
    sharp: tuple[float, float] = (0.04, 0.06)
    student_temperature: float = 0.1
    seed: int = 0


def cosine(start: float, end: float, progress: float) -> float:
    """From `start` at progress 0 to `end` at 1, along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def optimizers(student: nn.Module, settings: Settings) -> tuple[Optimizer, Optimizer]:
    """Muon for the matrices of the network's blocks and the head, AdamW for all else."""
    return muon_and_adamw(
        student,
        lambda name: ".layer." in name or ".mlp." in name,
        matrix_lr=settings.matrix_lr,
        lr=settings.lr,
    )


class SelfDistillation:
    """Student and teacher in training.

    Args:
        net: a `Dinov2Model` for images of side 64; the student. The teacher starts as its copy.
        mean, std: (1, 3, 1, 1), of the images that `net` expects.
        settings: of the training.

    Attributes:
        student, teacher: modules with `.net` and `.head`.
        step: steps taken.
    """

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor, settings: Settings) -> None:
        s = self.settings = settings
        self.mean, self.std = mean, std
        head = losses.Head(s.width, s.prototypes)
        self.student = nn.ModuleDict({"net": net, "head": head}).train()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.optimizers = optimizers(self.student, s)
        self.augment = Augment(scale=s.scale, flip=True)
        self.step = 0
        self._order: tuple[int, list[Tensor]] = (-1, [])  # an epoch and its batches

    def positions(self, birds: int) -> Tensor:
        """Which birds the next step sees: (B,) positions, without repetition within an epoch."""
        s = self.settings
        per_epoch = max(1, birds // s.batch)
        epoch, within = divmod(self.step, per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, slices(birds, s.batch, seed=s.seed, epoch=epoch, shuffle=True))
        return self._order[1][within]

    def crops(self, photos: Tensor, index: Tensor) -> Tensor:
        """One crop of each photograph of birds (B, 2, 3, S, S) uint8: (2B, 3, S, S), normalised."""
        # a key of its own for every crop of the training
        found = [self.augment(photos[:, v], self.settings.seed, 2 * self.step + v, index) for v in range(2)]
        return (torch.cat(found) - self.mean) / self.std

    def schedule(self) -> dict[str, float]:
        """Share of the peak learning rates, weight decay, teacher's momentum and temperature of this step."""
        s, progress = self.settings, self.step / self.settings.steps
        rising = min(1.0, (self.step + 1) / max(1.0, s.warmup * s.steps))
        falling = cosine(1.0, 0.005, max(0.0, (progress - s.warmup) / (1 - s.warmup)))
        return {
            "rate": rising if rising < 1 else falling,
            "decay": cosine(*s.weight_decay, progress),
            "momentum": cosine(s.momentum, 1.0, progress),
            "temperature": s.sharp[0] + (s.sharp[1] - s.sharp[0]) * min(1.0, progress / 0.3),
        }

    def take_step(self, photos: Tensor, index: Tensor) -> dict[str, float]:
        """One step on birds (B, 2, 3, S, S) uint8 with ids `index` (B,); the step's numbers for the log."""
        now = self.schedule()
        set_rates(self.optimizers, now["rate"], now["decay"])
        crops = self.crops(photos, index)
        with torch.autocast(crops.device.type, torch.bfloat16):
            loss, seen = self._loss(crops, now["temperature"])
        self.student.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 3.0)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            mine, theirs = list(self.student.parameters()), list(self.teacher.parameters())
            torch._foreach_lerp_(theirs, mine, 1 - now["momentum"])
        self.step += 1
        return {name: float(value.detach()) for name, value in seen.items()}

    def _loss(self, crops: Tensor, temperature: float) -> tuple[Tensor, dict[str, Tensor]]:
        s, birds, head = self.settings, len(crops) // 2, self.student["head"]
        with torch.no_grad():
            theirs = self.teacher["head"].embed(self.teacher["net"](crops).last_hidden_state[:, 0])  # (2B, D)
            targets = losses.assignments(self.teacher["head"].compare(theirs), temperature)  # (2B, K)
            theirs, targets = (x.unflatten(0, (2, birds)) for x in (theirs, targets))
        ours = head.embed(self.student["net"](crops).last_hidden_state[:, 0]).unflatten(0, (2, birds))
        found = {
            "dino": losses.dino(targets, head.compare(ours), s.student_temperature),
            "contrast": losses.contrast(theirs, ours, s.contrast_temperature),
        }
        total = found["dino"] + s.contrast_weight * found["contrast"]
        return total, {"loss": total, **found, "entropy": losses.entropy(targets)}

    def save(self, path: Path) -> None:
        """Write all that `resume` needs."""
        tensors, rest = {}, []
        for i, optimizer in enumerate(self.optimizers):
            packed, facts = checkpoint.pack_optimizer(optimizer)
            tensors |= {f"{i}.{key}": value for key, value in packed.items()}
            rest.append(facts)
        for name in ("student", "teacher"):
            state = getattr(self, name).state_dict()
            tensors |= {f"{name}.{key}": value for key, value in state.items()}
        meta = {"settings": asdict(self.settings), "step": self.step, "optimizers": rest}
        checkpoint.save(path, tensors, meta)

    def resume(self, path: Path) -> bool:
        """Go on from `path` where it is there and of the same settings; whether it was."""
        if not path.is_file():
            return False
        tensors, meta = checkpoint.load(path)
        if meta.get("settings") != json.loads(json.dumps(asdict(self.settings))):
            return False

        def within(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}

        for name in ("student", "teacher"):
            checkpoint.load_into(getattr(self, name), within(name), path)
        for i, optimizer in enumerate(self.optimizers):
            checkpoint.unpack_optimizer(optimizer, within(str(i)), meta["optimizers"][i])
        self.step = meta["step"]
        return True
