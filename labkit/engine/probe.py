"""A linear probe: how well one linear layer reads classes off features that stand still."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    import numpy as np
    from sklearn.pipeline import Pipeline

Pair = Sequence["Tensor | np.ndarray"]  # features (N, D) and labels (N,)


def fit_probe(
    train: Pair, val: Pair, strengths: Sequence[float], *, standardise: bool = True, max_iter: int = 2000
) -> tuple[float, Pipeline]:
    """Logistic regression on features, fitted on `train`, its C chosen on `val`.

    Args:
        train: features (N, D) and labels (N,).
        val: the same of the images that choose.
        strengths: values of C, scikit-learn's inverse weight of the L2 penalty; on a tie the smallest wins.
        standardise: give every dimension mean 0 and spread 1 over the training images first; unit vectors,
            such as CLIP's, may do without.
        max_iter: of the solver.

    Returns:
        The chosen C and scikit-learn's fitted pipeline, which scales and classifies.
    """
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (x, y), (held, held_y) = ([np.asarray(part) for part in pair] for pair in (train, val))
    # With more dimensions than images the weights lie in the span of the images: turning the axes into it
    # changes no prediction under an L2 penalty and saves most of the time.
    wide = standardise and x.shape[1] > len(x)
    prepare = make_pipeline(
        StandardScaler() if standardise else "passthrough", PCA(svd_solver="full") if wide else "passthrough"
    )
    x, held = prepare.fit_transform(x), prepare.transform(held)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one image per class, and of the last digits of convergence
        heads = {c: LogisticRegression(C=c, max_iter=max_iter).fit(x, y) for c in sorted(strengths)}
    best = max(heads, key=lambda c: heads[c].score(held, held_y))
    return best, make_pipeline(prepare, heads[best])
