"""scikit-learn's handwritten digits: real, 8x8 pixels, and part of scikit-learn, so always there."""

from __future__ import annotations

from pathlib import Path

import torch

from .augment import Augment
from .registry import Info, Official, register
from .sets import ImageSet
from .splits import TEST, hold_out

NAMES = tuple("0123456789")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _find(root: Path | None) -> Path:
    from importlib.util import find_spec

    return Path(find_spec("sklearn").origin).parent / "datasets" / "data" / "digits.csv.gz"


@register(
    Info(
        name="digits",
        description="handwritten digits, 8x8 grey, part of scikit-learn: works offline",
        images=1797,
        classes=10,
        image_size=8,
        licence="CC BY 4.0",
        size="nothing to download",
        fetch="nothing to fetch, it comes with scikit-learn",
        citation="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning"
        " Repository, 1998, doi:10.24432/C50P49",
    ),
    find=_find,
)
def read(root: Path | None = None, *, image_size: int | None = None) -> Official:
    """1 797 digits with a fixed stratified test split of 599; ids are positions in scikit-learn's array."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)  # 0..16 -> 0..255
    labels = torch.from_numpy(digits.target).long()
    whole = ImageSet(pixels[:, None].contiguous(), labels, NAMES)
    train, test = hold_out(whole.labels, whole.ids, NAMES, 1 / 3, 0, TEST)
    return Official(
        whole.subset(train),
        whole.subset(test),
        descriptions=WORDS,
        augment=Augment.named("shift"),
        val_size=0.2,
    )
