"""The runs behind lab 08: probes of frozen features over few and many labels, beside networks that train.

A backbone encodes every image once (`FeatureBank`); a run is then a logistic regression whose C is chosen on
validation images, or the training of a small network for a fixed number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..engine.probe import fit_probe
from ..profiles import Profile

if TYPE_CHECKING:
    import numpy as np

    from ..data import DataModule, FileSet, ImageSet
    from ..engine import Run

KINDS = ("cls", "patches", "both")
TUNING_SEEDS = (100, 101, 102)  # never reported
# Tried on validation alone, at one budget, with the first tuning seed.
CONFIGURATIONS: dict[str, list[dict[str, Any]]] = {
    "scratch": [{"lr": lr} for lr in (0.001, 0.003, 0.01, 0.03)],
    "finetuned": [{"lr": lr} for lr in (0.001, 0.003, 0.01)],
}
LOOKED_AT = 300  # training and test images whose patches are compared with the bird's outline
_VALIDATIONS = 3  # of a network in training


def jobs(profile: Profile, seeds: int) -> Iterator[dict[str, Any]]:
    """Every run as a flat dict; equal dicts are one run."""
    s = profile.lab(8)
    for seed in TUNING_SEEDS:
        for kind in KINDS:
            yield _job("tuning", "dinov2", seed, s.per_class, kind=kind)
    for method, options in CONFIGURATIONS.items():
        for option in options:
            yield _job("tuning", method, TUNING_SEEDS[0], s.per_class, **option)
    if s.data["name"] == "aviary":  # nobody knows where the birds are in photographs
        for method in ("dinov2", "centre", "twin"):
            yield _job("foreground", method, 0)
    for seed, budget in product(range(seeds), s.budgets):
        for kind in KINDS:
            yield _job("main", "dinov2", seed, budget, kind=kind)
        yield _job("main", "twin", seed, budget, kind=s.kind)
        yield _job("main", "cnn", seed, budget)
        yield _job("main", "pixels", seed, budget)
        if seed < s.network_seeds:
            yield _job("main", "scratch", seed, budget, lr=s.scratch_lr)
            yield _job("main", "finetuned", seed, budget, lr=s.finetune_lr)
    for seed, budget in product(range(s.network_seeds), s.longer["budgets"]):
        yield _job("longer", "scratch", seed, budget, lr=s.scratch_lr, steps=s.longer["steps"])


def _job(
    experiment: str, method: str, seed: int, per_class: int | None = None, **options: Any
) -> dict[str, Any]:
    return {"experiment": experiment, "method": method, "seed": seed, "per_class": per_class, **options}


def run(job: dict[str, Any], profile: Profile) -> dict[str, Any]:
    """One run: the job with its validation and, outside tuning, its test accuracy (foreground: area)."""
    method, seed, per_class = job["method"], job["seed"], job["per_class"]
    if job["experiment"] == "foreground":
        return {**job, "test": round(foreground(profile, method, seed), 5)}
    splits = ["val"] if seed in TUNING_SEEDS else ["val", "test"]
    if method in CONFIGURATIONS:
        from .. import engine

        done = train_network(profile, method, seed, per_class, job["lr"], steps=job.get("steps"))
        scores = {split: engine.evaluate(done.model, getattr(_data(profile), split)) for split in splits}
        return {**job, **{split: round(score.accuracy, 5) for split, score in scores.items()}}
    kind = job.get("kind") or {"cnn": "embedding"}.get(method, method)
    scores = probe_scores(profile, method, kind, per_class, seed)
    return {**job, **{split: scores[split] for split in splits}}


@cache
def probe_scores(profile: Profile, method: str, kind: str, per_class: int, seed: int) -> dict[str, float]:
    """Accuracy on 'val' and 'test' of a probe of one kind of features on so many labels per class."""
    module = _data(profile)
    if seed and per_class * module.num_classes == len(module.train):  # nothing is drawn
        return probe_scores(profile, method, kind, per_class, 0)
    found = features(profile, method)
    pairs = {split: (found[split][kind], getattr(module, split).labels) for split in found}
    rows = few_rows(module.train, per_class, seed)
    _, probe = fit_probe([t[rows] for t in pairs["train"]], pairs["val"], profile.lab(8).strengths)
    return {split: round(float(probe.score(*pairs[split])), 5) for split in ("val", "test")}


@cache
def _data(profile: Profile) -> DataModule:
    """All training images, the validation images, and the test images of every run."""
    from .. import data

    s = profile.lab(8)
    module = data.load(seed=0, **s.data)
    module.test = module.test.few(s.test_per_class, seed=0)
    return module


def few_rows(split: ImageSet | FileSet, per_class: int, seed: int) -> Tensor:
    """Positions in `split` of a seeded, nested budget of so many images of every class."""
    order = split.ids.cpu().sort()
    chosen = split.few(per_class, seed=seed).ids.cpu()
    return order.indices[torch.searchsorted(order.values, chosen)]


# Features ---------------------------------------------------------------------------------------------------


def pool(tokens: Tensor, kind: str) -> Tensor:
    """One vector per image from tokens (B, 1 + P, D): 'cls' (B, D), 'patches' (B, D), 'both' (B, 2D)."""
    cls, patches = tokens[:, 0], tokens[:, 1:].mean(1)
    return {"cls": cls, "patches": patches, "both": torch.cat([cls, patches], 1)}[kind]


class Pooled(nn.Module):
    """A DINOv2 backbone that keeps three vectors of each image: CLS, the mean patch, both side by side."""

    def __init__(self, backbone: nn.Module, pool: Callable[[Tensor, str], Tensor] = pool) -> None:
        super().__init__()
        self.backbone, self.pool = backbone, pool

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) in [0, 1] -> 'cls' (B, D), 'patches' (B, D), 'both' (B, 2D)."""
        out = self.backbone(x)
        tokens = torch.cat([out["cls"][:, None], out["patches"]], 1)  # registers are left out already
        return {kind: self.pool(tokens, kind) for kind in KINDS}


class Pixels(nn.Module):
    """The encoder that knows nothing: the image itself, shrunk to `side` by averaging."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) in [0, 1] -> 'pixels' (B, 3 side^2)."""
        return {"pixels": F.adaptive_avg_pool2d(x, self.side).flatten(1)}


class Embedding(nn.Module):
    """A classifier that keeps what goes into its last layer."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) in [0, 1] -> 'embedding' (B, D)."""
        return {"embedding": self.classifier(x).embedding}


@cache
def features(profile: Profile, method: str) -> dict[str, dict[str, Tensor]]:
    """Features split -> kind -> (N, D) of 'dinov2', its random 'twin' (one draw), 'pixels' or the 'cnn'.

    The 'cnn' is the network that 'finetuned' starts from, with its shipped weights as they are.
    """
    s, module = profile.lab(8), _data(profile)
    if method == "pixels":
        encoder = Pixels(s.pixels)
    elif method == "cnn":
        from .. import models

        encoder = Embedding(models.build(num_classes=module.num_classes, weights="pretrained", **s.student))
    else:
        encoder = Pooled(backbone(profile, method))
    return encode(encoder.eval(), module, s.batch_size, keep=method == "dinov2")


def encode(
    encoder: nn.Module, module: DataModule, batch_size: int = 128, *, keep: bool = True
) -> dict[str, dict[str, Tensor]]:
    """What `encoder` gives for the three splits: split -> output -> (N, D), float32 on the CPU."""
    from ..engine import FeatureBank

    banks = {
        split: FeatureBank(encoder, getattr(module, split), batch_size=batch_size, keep=keep)
        for split in ("train", "val", "test")
    }
    return {split: {name: bank.features(name) for name in bank.names} for split, bank in banks.items()}


@cache
def backbone(profile: Profile, method: str = "dinov2", seed: int = 0) -> nn.Module:
    """The profile's self-supervised backbone; as 'twin' the same network, randomly initialised."""
    from ..models import SelfSupervised, load_backbone
    from ..rng import seed_everything

    trained = load_backbone(profile.self_supervised)
    if method != "twin":
        return trained
    seed_everything(seed)
    net = type(trained.net)(trained.net.config)
    scale = {name: tuple(getattr(trained, name).flatten().tolist()) for name in ("mean", "std")}
    twin = SelfSupervised(net, f"{trained.name} twin", trained.image_size, **scale)
    return twin.requires_grad_(False).eval()


def four_files(photo: np.ndarray, folder: Path | str) -> dict[str, Path]:
    """One photograph (H, W, 3) uint8 as four PNG files: 'grey', 'palette', 'cut-out' and 'colour'.

    The cut-out is a disc; around it the file is transparent and, as most programs save it, black.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(photo)
    disc = Image.new("L", picture.size)
    ImageDraw.Draw(disc).ellipse((2, 2, picture.width - 3, picture.height - 3), fill=255)
    cut = Image.composite(picture, Image.new("RGB", picture.size), disc)
    cut.putalpha(disc)
    made = {"grey": picture.convert("L"), "palette": picture.quantize(16), "cut-out": cut, "colour": picture}
    files = {name: Path(folder, f"{name}.png") for name in made}
    for name, file in files.items():
        made[name].save(file)
    return files


# Networks that train, and where a backbone sees the bird ----------------------------------------------------


def train_network(
    profile: Profile,
    method: str,
    seed: int,
    per_class: int,
    lr: float,
    *,
    steps: int | None = None,
    progress: bool | None = None,
) -> Run:
    """A small classifier on so many labels per class: 'scratch', or 'finetuned' from its shipped weights.

    It trains for the preset's number of steps unless `steps` names another.
    """
    from dataclasses import replace

    from .. import engine, methods, models
    from ..data import steps_per_epoch
    from ..rng import seed_everything

    s, module = profile.lab(8), _data(profile)
    few = replace(module, train=module.train.few(per_class, seed=seed))
    seed_everything(seed)
    weights = "pretrained" if method == "finetuned" else None
    student = models.build(num_classes=module.num_classes, weights=weights, **s.student)
    training = s.training | ({"steps": steps} if steps else {})
    passes = training["steps"] // steps_per_epoch(len(few.train), training["batch_size"])
    pause = max(1, passes // _VALIDATIONS)
    made = methods.create("scratch", student=student)
    recipe = {"lr": lr, "validate_every": pause, **training}
    return engine.fit(made, few, seed=seed, progress=progress, **recipe)


def foreground(profile: Profile, method: str, seed: int = 0) -> float:
    """How well one number per patch tells bird from background: area under the ROC curve, 0.5 is chance.

    The number is the first principal component of the patch tokens, fitted on training images; its sign,
    which is arbitrary, is chosen on them too. Method 'centre' takes minus the distance from the centre.
    """
    from sklearn.decomposition import PCA
    from sklearn.metrics import roc_auc_score

    every, found = torch.arange(LOOKED_AT), {}
    for split in (_data(profile).train, _data(profile).test):
        images = split.subset(every * (len(split) // LOOKED_AT))
        net = backbone(profile, "dinov2" if method == "centre" else method, seed)
        with torch.inference_mode():
            tokens = torch.cat([net(part / 255)["patches"] for part in images.images.split(100)])
        side = round(tokens.shape[1] ** 0.5)
        found[split] = tokens.flatten(0, 1), _on_bird(images, side)
    (train, train_bird), (test, test_bird) = found.values()
    if method == "centre":
        line = (torch.arange(side) + 0.5) / side - 0.5
        near = -(line[:, None] ** 2 + line**2).flatten().repeat(LOOKED_AT)
        return float(roc_auc_score(test_bird, near))
    pca = PCA(1, svd_solver="full").fit(train)
    sign = 1 if roc_auc_score(train_bird, pca.transform(train)[:, 0]) >= 0.5 else -1
    return float(roc_auc_score(test_bird, sign * pca.transform(test)[:, 0]))


def _on_bird(images: ImageSet, side: int) -> Tensor:
    """Of every patch, in rows, image after image: does the bird cover more than half of it? (N side^2,)"""
    from ..data.aviary import annotate

    bird = (annotate(images).parts > 0).float()[:, None]
    return (F.adaptive_avg_pool2d(bird, side) > 0.5).flatten()
