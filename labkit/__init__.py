"""Distilling vision models, hands on: the small package under the course.

`import labkit` loads neither torch nor transformers; every name below is fetched when it is first used.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_MODULES = ("bench", "course", "data", "engine", "losses", "methods", "models", "views")
_NAMES = {
    "profile": "labkit.profiles",
    "check": "labkit.course",
    "answer": "labkit.course",
    "cka": "labkit.models.cka",
    "LabkitError": "labkit.errors",
}
__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"labkit.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'labkit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
