"""One short file per published method; `create` builds one by its name."""

from .base import Method, available, create, register
from .hinton import Hinton
from .scratch import LabelSmoothing, Scratch

__all__ = ["Hinton", "LabelSmoothing", "Method", "Scratch", "available", "create", "register"]
