"""The course: one source per lab, the notebooks made from it, and checks that teach.

Names are fetched when first used, so that `labkit lab` needn't wait for torch.
"""

from __future__ import annotations

import importlib

_NAMES = {
    "Check": "checks",
    "Misconception": "checks",
    "Property": "checks",
    "Result": "display",
    "answer": "instant",
    "check": "instant",
    "judge": "verdict",
    "build": "builder",
    "open_lab": "workspace",
    "update": "workspace",
    "progress": "overview",
    "run_checks": "headless",
    "run_notebook": "headless",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> object:
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
