"""The runs behind lab 09: a linear probe, LoRA and full fine-tuning of one pretrained ViT.

The new head learns at one rate in all of them, the linear probe's best; that of the adapters, or of the whole
network, is each method's own. All are tuned on validation, the same number for every method, with a seed that
is not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Any

from ..methods import Scratch
from ..profiles import Profile

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from ..data import DataModule, ImageSet
    from ..engine import Run
    from ..models import Classifier

TUNING_SEEDS = (100,)  # never reported
RATES: dict[str, tuple[float, ...]] = {  # three for each method, tried on validation alone
    "probe": (0.003, 0.01, 0.03),
    "lora": (0.002, 0.005, 0.0125),
    "full": (0.0002, 0.0005, 0.00125),
}
METHODS = tuple(RATES)


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict; equal dicts are one run."""
    s = profile.lab(9)
    for seed in TUNING_SEEDS:
        for method, rates in RATES.items():
            for lr in rates:
                yield {"experiment": "tuning", "method": method, "seed": seed, "lr": lr}
    for method in METHODS:
        yield {"experiment": "cost", "method": method, "seed": 0}
    for seed in range(seeds):
        for method in ("before", *METHODS):
            yield {"experiment": "main", "method": method, "seed": seed}
    for seed in range(min(seeds, s.sweep_seeds)):
        yield {"experiment": "frozen head", "method": "lora", "seed": seed}
    for seed in range(min(seeds, s.sweep_seeds)):
        for rank in s.ranks:
            yield {"experiment": "rank", "method": "lora", "seed": seed, "rank": rank}


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with its accuracies, or with the cost of a step.

    Tuning has a validation accuracy alone; 'cost' has `ms`, `memory` and `disk`, see `step_cost`.
    """
    s, method = profile.lab(9), job["method"]
    if job["experiment"] == "cost":
        return {**job, **_cost(profile, method)}
    rank, lr = job.get("rank", s.rank), job.get("lr", s.lr.get(method))
    reported = job["seed"] not in TUNING_SEEDS
    frozen = job["experiment"] == "frozen head"
    return {**job, **_accuracies(profile, method, job["seed"], rank, lr, frozen, reported)}


@cache  # the rank sweep and the comparison share a run
def _accuracies(
    profile: Profile, method: str, seed: int, rank: int, lr: float | None, frozen: bool, reported: bool
) -> dict[str, float]:
    import torch

    from .. import engine

    module = _data(profile, seed)
    model = adapted(profile, method, module.num_classes, seed, rank=rank)
    precision = profile.lab(9).bench_precision
    if frozen:
        model.head.requires_grad_(False)
    if method != "before":
        head_lr = lr if method == "probe" else None
        train(profile, model, module, seed, lr=lr, head_lr=head_lr, precision=precision)
    device = next(model.parameters()).device.type
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        found = {"val": engine.evaluate(model, module.val).accuracy}
        if reported:
            found["test"] = engine.evaluate(model, module.test).accuracy
    return {name: round(accuracy, 5) for name, accuracy in found.items()}


def _data(profile: Profile, seed: int) -> DataModule:
    from .. import data

    return data.load(seed=seed, **profile.lab(9).data)


def adapted(
    profile: Profile, method: str, num_classes: int, seed: int, *, rank: int | None = None, scale: float = 1.0
) -> Classifier:
    """The profile's pretrained ViT with a new head, and what `method` trains of it ready to train.

    Args:
        profile: names the backbone and the adapters' settings.
        method: 'probe' (the head alone), 'lora' (adapters and head), 'full' or 'before' (everything).
        num_classes: of the new head.
        seed: draws the head and the adapters.
        rank: of the adapters; None takes the preset's. alpha / rank stays the preset's.
        scale: times the preset's alpha / rank.
    """
    from ..models import lora
    from ..rng import seed_everything

    s = profile.lab(9)
    seed_everything(seed)
    model = lora.eager_attention(lora.load_vit(profile.lora_backbone, num_classes))
    if method == "lora":
        rank = rank or s.rank
        lora.add_lora(model, rank, scale * rank * s.alpha / s.rank, s.dropout, s.targets)
    if method == "probe":
        model.requires_grad_(False)
        model.head.requires_grad_(True)
    return model


class TwoRates(Scratch):
    """Cross-entropy, with a learning rate of its own for the new head, which has most to learn."""

    name = "two rates"

    def __init__(self, student: Classifier, head_lr: float) -> None:
        super().__init__(student)
        self.options = {"head_lr": head_lr}

    def param_groups(self) -> list[dict[str, Any]]:
        """What trains below the head, at `fit`'s rate, and the head."""
        head = [p for p in self.student.head.parameters() if p.requires_grad]
        below = {p for p in self.student.parameters() if p.requires_grad} - set(head)
        below = [p for p in self.student.parameters() if p in below]
        groups = [{"params": below}, {"params": head, "lr": self.options["head_lr"]}]
        return [group for group in groups if group["params"]]


def train(
    profile: Profile, model: Classifier, module: DataModule, seed: int, *, lr: float | None = None,
    head_lr: float | None = None, **options: Any,
) -> Run:  # fmt: skip
    """Train what trains of `model` with the preset's `training`.

    Args:
        profile: of which the settings are.
        model: from `adapted`.
        module: its data.
        seed: of the order, the augmentation and the dropout.
        lr: of what trains below the head.
        head_lr: of the head; None takes the preset's.
        options: change single settings of `training`.
    """
    from .. import engine

    s = profile.lab(9)
    head_lr = head_lr or s.lr["probe"]
    recipe = s.training | {"lr": lr or head_lr} | options
    return engine.fit(TwoRates(model, head_lr), module, seed=seed, **recipe)


def step_cost(model: Classifier, images: Any, labels: Any, steps: int = 12) -> dict[str, Any]:
    """What training costs: one step's time and memory, and what has to be stored for each task.

    Args:
        model: with what trains ready to train; the steps have a learning rate of 0 and change nothing.
        images: (B, C, H, W) floats in [0, 1].
        labels: (B,).
        steps: timed ones; one more goes before them.

    Returns:
        `ms`: the processor's time for a step, median, which other programs hardly disturb; `memory`: bytes of
        weights, gradients, optimizer (Adam's two running means) and activations (what the forward pass keeps
        for the backward pass); `disk`: bytes of the file with what was trained.
    """
    import torch
    import torch.nn.functional as F
    from safetensors.torch import save

    from ..models import lora

    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.0)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def step() -> float:
        start = process_time()
        loss = F.cross_entropy(model(images).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return 1e3 * (process_time() - start)

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    times = [step() for _ in range(steps)]
    memory = {
        "weights": _bytes(model.parameters()),
        "gradients": _bytes(trained),
        "optimizer": _bytes(t for slots in optimizer.state.values() for t in slots.values()),
        "activations": sum(kept.values()),
    }
    return {"ms": round(median(times), 1), "memory": memory, "disk": len(save(lora.adapter_state(model)))}


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _cost(profile: Profile, method: str) -> dict[str, Any]:
    from ..data import stream

    module = _data(profile, 0)
    model = adapted(profile, method, module.num_classes, 0)
    batch = next(stream(module.train, profile.lab(9).training["batch_size"], 1))
    return step_cost(model, batch.image, batch.label)


def for_trainer(split: ImageSet, model: Any) -> Dataset:
    """A split as transformers' `Trainer` reads it: {"pixel_values": normalised image, "labels": class}.

    Args:
        split: of a data module of labkit.
        model: a timm network in transformers' wrapper; the mean and std of its `pretrained_cfg` are used.
    """
    import torch

    facts = getattr(model.config, "pretrained_cfg", None) or {}
    mean, std = (torch.tensor(facts.get(key, (0.5,) * 3)).view(3, 1, 1) for key in ("mean", "std"))

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(split)

        def __getitem__(self, i: int) -> dict[str, Any]:
            image, label = split[i]
            return {"pixel_values": (image - mean) / std, "labels": label}

    return Pairs()


def silent(trainer: Any) -> Any:
    """The Trainer without the table or the lines that it prints into a notebook; its `state` has them all."""
    from transformers import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return trainer


def share_of_gain(accuracy: Callable[[str], float]) -> float:
    """The part of full fine-tuning's gain over the linear probe that LoRA reaches; `accuracy(method)`."""
    return (accuracy("lora") - accuracy("probe")) / (accuracy("full") - accuracy("probe"))
