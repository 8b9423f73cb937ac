"""One training of DINO's kind: student, averaged teacher, crops, losses, and checkpoints to go on from."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data import Augment
from ..data.loader import slices
from ..engine import checkpoint
from . import dinov2_loss as losses


@dataclass(frozen=True)
class Settings:
    """Everything that decides a training, the seed included; equal settings give equal weights.

    Attributes:
        birds: different birds to learn from, with `photos` photographs each.
        bursts: the two global crops show two photographs of the same bird, as of a burst of shots (another
            pose, light and scene), and a crop is compared with the other photograph only; without, all crops
            are of one photograph, as in DINO.
        steps, batch: of the training; birds per step.
        width, depth, heads: of the network.
        local: local crops of half the side per bird; each costs a tenth of a step's time.
        global_scale, local_scale: their areas as shares of the image.
        jitter: brightness, contrast, saturation, hue; mild, because the colours of small parts are what
            tells birds apart.
        prototypes: K of the head.
        masked, mask_share: share of the global crops that the student sees masked, and the largest share of
            their patches.
        contrast_weight, contrast_temperature: of InfoNCE between student and teacher.
        patch_weight, spread_weight: of iBOT's loss and of KoLeo; 0 switches them off.
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
    local: int = 0
    global_scale: tuple[float, float] = (0.8, 1.0)
    local_scale: tuple[float, float] = (0.15, 0.5)
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    prototypes: int = 1024
    masked: float = 0.5
    mask_share: float = 0.5
    contrast_weight: float = 1.0
    contrast_temperature: float = 0.2
    patch_weight: float = 0.0
    spread_weight: float = 0.0
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


def optimizers(student: nn.Module, settings: Settings) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices of the network's blocks and the head, AdamW for all else.

    Muon's steps, momentum made orthogonal, reach here in a fraction of the birds what AdamW alone reaches
    (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon). Each group knows its peak rate, and
    whether its weights decay.
    """
    s, named = settings, [(n, p) for n, p in student.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if p.ndim == 2 and (".layer." in n or ".mlp." in n)]
    taken = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in taken]
    muon = torch.optim.Muon(matrices, lr=s.matrix_lr, adjust_lr_fn="original")
    adam = torch.optim.AdamW(
        [
            {"params": [p for p in rest if p.ndim > 1], "decays": True},
            {"params": [p for p in rest if p.ndim <= 1], "decays": False},
        ],
        lr=s.lr,
    )
    muon.param_groups[0]["decays"] = True
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return muon, adam


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
        self.augment = [
            Augment(scale=scale, flip=True, jitter=s.jitter) for scale in (s.global_scale, s.local_scale)
        ]
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

    def crops(self, photos: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Crops of birds photographed twice, (B, 2, 3, S, S) uint8: the local ones alternate between both.

        Returns:
            (2B, 3, S, S) global and (local * B, 3, S/2, S/2) local crops, normalised, crop by crop.
        """
        s, found = self.settings, []
        for v in range(2 + s.local):
            draw = self.step * (2 + s.local) + v  # a key of its own for every crop of the training
            found.append(self.augment[v >= 2](photos[:, v % 2], s.seed, draw, index))
        whole = torch.cat(found[:2])
        part = torch.cat(found[2:]) if s.local else whole[:0]
        part = torch.nn.functional.avg_pool2d(part, 2)
        return (whole - self.mean) / self.std, (part - self.mean) / self.std

    def masks(self, count: int, patches: int) -> Tensor:
        """(count, patches) bool, True where the student sees the mask token.

        Shares are spread evenly from 0.1 to `mask_share` over the masked crops, so that the number of masked
        patches is the same in all steps: kernels for matrices of ever new shapes would be compiled anew.
        """
        s = self.settings
        generator = torch.Generator().manual_seed(s.seed * 1_000_003 + self.step)
        share = torch.zeros(count)
        share[: round(s.masked * count)] = torch.linspace(0.1, s.mask_share, round(s.masked * count))
        share = share[torch.randperm(count, generator=generator)]
        rank = torch.rand(count, patches, generator=generator).argsort(1).argsort(1)
        return rank < (share * patches).round()[:, None]

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
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * now["rate"]
            group["weight_decay"] = now["decay"] * group["decays"]
        whole, part = self.crops(photos, index)
        patches = (whole.shape[-1] // self.student["net"].config.patch_size) ** 2
        mask = self.masks(len(whole), patches) if self.settings.patch_weight else None
        with torch.autocast(whole.device.type, torch.bfloat16):
            loss, seen = self._loss(whole, part, mask, now["temperature"])
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

    def _loss(
        self, whole: Tensor, part: Tensor, mask: Tensor | None, temperature: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        s, birds, head = self.settings, len(whole) // 2, self.student["head"]
        with torch.no_grad():
            seen = self.teacher["net"](whole).last_hidden_state
            theirs = self.teacher["head"].embed(seen[:, 0])  # (2B, D)
            targets = losses.assignments(self.teacher["head"].compare(theirs), temperature)  # (2B, K)
            theirs, targets = (x.unflatten(0, (2, birds)) for x in (theirs, targets))
        tokens = self.student["net"](whole, bool_masked_pos=mask).last_hidden_state
        cls = [tokens[:, 0]] + ([self.student["net"](part).last_hidden_state[:, 0]] if len(part) else [])
        ours = head.embed(torch.cat(cls)).unflatten(0, (-1, birds))  # (2 + local, B, D)
        found = {
            "dino": losses.dino(targets, head.compare(ours), s.student_temperature, s.bursts),
            "contrast": losses.contrast(theirs, ours, s.contrast_temperature, s.bursts),
            "koleo": sum(losses.koleo(half) for half in tokens[:, 0].chunk(2)) / 2,
        }
        if mask is not None:
            wanted = losses.assignments(self.teacher["head"](seen[:, 1:][mask]), temperature)
            found["patch"] = losses.cross_entropy(wanted, head(tokens[:, 1:][mask]), s.student_temperature)
        weights = {"contrast": s.contrast_weight, "koleo": s.spread_weight, "patch": s.patch_weight}
        total = sum(weights.get(name, 1.0) * value for name, value in found.items())
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
