"""What we learn from: a registry of data sets, splits, batches, stream and augmentation.

>>> data = load("digits", per_class=10)
>>> batch = next(iter(batches(data.train, 32, shuffle=True, augment=data.augment)))
>>> batch.image.shape
torch.Size([32, 1, 8, 8])
"""

from . import aviary, cifar, digits, fine_grained, folder, mnist
from .augment import PRESETS, Augment, Params
from .loader import Batch, Batches, batches, steps_per_epoch, stream
from .registry import Info, Official, available, get, info, load, register, remove
from .sets import DataModule, FileSet, ImageSet
from .store import StoredSet

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
    "StoredSet",
    "available",
    "aviary",
    "batches",
    "cifar",
    "digits",
    "fine_grained",
    "folder",
    "get",
    "info",
    "load",
    "mnist",
    "register",
    "remove",
    "steps_per_epoch",
    "stream",
]
