"""How good are features? A linear probe and nearest neighbours, beside raw pixels and a random twin.

The probe's C is chosen on validation, and the test split is asked once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..data import DataModule
from ..engine.probe import fit_probe
from ..models import SelfSupervised

CS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
FEW = (1, 3, 10)  # labels per class
_BATCH = 256
_ITERATIONS = 300  # of the solver
Encoder = Callable[[Tensor], Tensor]


@torch.inference_mode()
def features(encode: Encoder, images: Tensor) -> np.ndarray:
    """`encode` of images (N, 3, S, S) uint8, batch by batch: (N, D) float32."""
    return torch.cat([encode(chunk / 255).float() for chunk in images.split(_BATCH)]).numpy()


def tokens(model: SelfSupervised) -> Encoder:
    """The encoder of a backbone: its class token."""
    return lambda x: model(x)["cls"]


def pixels(x: Tensor) -> Tensor:
    """The encoder that does nothing: (B, 3 S^2)."""
    return x.flatten(1)


def probe(
    train: tuple[np.ndarray, Tensor],
    val: tuple[np.ndarray, Tensor],
    test: tuple[np.ndarray, Tensor] | None = None,
    cs: Sequence[float] = CS,
) -> dict[str, float]:
    """Fit on `train`, choose C on `val`: accuracies 'val' and, where given, 'test' in [0, 1], and 'c'.

    Each split is a pair of features (N, D) and labels (N,).
    """
    c, fitted = fit_probe(train, val, cs, max_iter=_ITERATIONS)
    found = {"val": float(fitted.score(*val)), "c": c}
    return found | ({"test": float(fitted.score(*test))} if test is not None else {})


def nearest(train: tuple[np.ndarray, Tensor], val: tuple[np.ndarray, Tensor], k: int = 5) -> float:
    """Accuracy in [0, 1] of the k nearest neighbours by cosine: cheap enough to watch a training with."""
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(k, metric="cosine", weights="distance")
    return float(model.fit(train[0], train[1].numpy()).score(val[0], val[1].numpy()))


def watch(model: SelfSupervised, data: DataModule) -> dict[str, float]:
    """What to look at while training: probe and neighbours on validation, and the features' spread.

    'std' is the mean over D of the standard deviation of unit features, times sqrt(D): 1 where they fill the
    sphere, 0 where all images look alike to the model (collapse).
    """
    sets = [(features(tokens(model), s.images), s.labels) for s in (data.train, data.val)]
    unit = sets[1][0] / np.linalg.norm(sets[1][0], axis=1, keepdims=True)
    spread = float(unit.std(0).mean() * np.sqrt(unit.shape[1]))
    return {"val_probe": probe(*sets, cs=(0.03,))["val"], "val_nearest": nearest(*sets), "std": spread}


def report(encode: Encoder, data: DataModule, few: Sequence[int] = ()) -> dict[str, float]:
    """Probe of an encoder on val and test, and on test with few labels per class.

    Returns:
        'val', 'test', 'c', and 'test_k' for each k of `few` that the split can give.
    """
    val, test = ((features(encode, s.images), s.labels) for s in (data.val, data.test))
    everything = features(encode, data.train.images)
    result = probe((everything, data.train.labels), val, test)
    position = {int(i): p for p, i in enumerate(data.train.ids)}
    for k in (k for k in few if k <= len(position) // data.num_classes):
        subset = data.train.few(k)
        rows = [position[int(i)] for i in subset.ids]
        result[f"test_{k}"] = probe((everything[rows], subset.labels), val, test)["test"]
    return {key: round(value, 4) for key, value in result.items()}
