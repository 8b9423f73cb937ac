"""BatchNorm over several GPUs: the statistics of a step's images, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def shared_statistics(method: nn.Module, frozen: tuple[str, ...] = ()) -> Iterator[None]:
    """Inside the block all BatchNorm layers, but those of frozen networks, are SyncBatchNorm.

    They share parameters and statistics with the layers that they stand for, which come back at the end: a
    network that is stored or read again is the one that was built. timm's conversion keeps the activation of
    its layers, torch's drops it.
    """
    from timm.layers import convert_sync_batchnorm

    still = {
        module
        for name in frozen
        if isinstance(net := getattr(method, name, None), nn.Module)
        for module in net.modules()
    }
    replaced = [
        (parent, name, child)
        for parent in method.modules()
        for name, child in parent.named_children()
        if isinstance(child, _BatchNorm) and child not in still
    ]
    for parent, name, child in replaced:
        setattr(parent, name, convert_sync_batchnorm(child))
    try:
        yield
    finally:
        for parent, name, child in replaced:
            child.train(getattr(parent, name).training)
            setattr(parent, name, child)
