"""What we learn from: a registry of data sets, splits, batches, stream and augmentation.

>>> data = load("digits", per_class=10)
>>> batch = next(iter(batches(data.train, 32, shuffle=True, augment=data.augment)))
>>> batch.image.shape
torch.Size([32, 1, 8, 8])
"""

from . import aviary, cifar, digits, folder, mnist
from .augment import PRESETS, Augment, Params
from .loader import Batch, Batches, batches, stream
from .registry import Info, Official, available, get, info, load, register, remove
from .sets import DataModule, FileSet, ImageSet

__all__ = [
    "PRESETS",
    "Augment",
    "Batch",
    "Batches",
    "DataModule",
    "FileSet",
    "ImageSet",
    "Info",
    "Official",
    "Params",
    "available",
    "aviary",
    "batches",
    "cifar",
    "digits",
    "folder",
    "get",
    "info",
    "load",
    "mnist",
    "register",
    "remove",
    "stream",
]
