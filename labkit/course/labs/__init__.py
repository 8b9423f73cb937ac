"""The checks of every lab, loaded one lab at a time: `labNN.py` in this folder holds a list `CHECKS`.

A new lab is a new file; nothing else is edited.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable

from ...errors import LabkitError, unknown
from ..checks import ID, Check

_registered: dict[str, Check] = {}
_loaded: set[str] = set()


def numbers() -> list[str]:
    """The labs that have a file here, as two digits: ['00', '01', ...]."""
    found = (re.fullmatch(r"lab(\d\d)", module.name) for module in pkgutil.iter_modules(__path__))
    return sorted(match[1] for match in found if match)


def register(checks: Iterable[Check]) -> None:
    """Add checks from outside this folder, such as an instructor's own lab. The same list twice is fine.

    Raises:
        LabkitError: another check has that id.
    """
    for check in checks:
        old = _registered.get(check.id)
        if old is not None and old is not check:
            raise LabkitError(f"Two checks are called '{check.id}'; an id is used once in the whole course.")
        _registered[check.id] = check


def checks(number: int | str) -> dict[str, Check]:
    """The checks of one lab by id, in the order of its list; empty if the lab has none."""
    lab = f"{int(number):02d}"
    if lab not in _loaded and lab in numbers():
        register(importlib.import_module(f"{__name__}.lab{lab}").CHECKS)
        _loaded.add(lab)
    return {check.id: check for check in _registered.values() if check.lab == lab}


def every() -> dict[str, Check]:
    """All checks of all labs, and those registered from outside."""
    for number in numbers():
        checks(number)
    return dict(_registered)


def get(id: str) -> Check:
    """One check.

    Raises:
        LabkitError: no lab has it; names the nearest id.
    """
    if isinstance(id, str) and ID.fullmatch(id) and id in checks(id[:2]):
        return _registered[id]
    raise unknown("check", id, every())
