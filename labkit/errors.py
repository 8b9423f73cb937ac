"""Errors a user can act on: one sentence that says what, where and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LabkitError(ValueError):
    """Bad input. `str(error)` is the whole message; the command line prints it and exits 1."""


class MissingError(LabkitError, FileNotFoundError):
    """A file, folder, data set or weight that is not where it should be."""


class LabkitWarning(UserWarning):
    """Something that is allowed and rarely meant, said in one sentence."""


def unknown(kind: str, name: object, known: Iterable[str]) -> LabkitError:
    """The error for a name that is in no registry, with the nearest known name."""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    guess = f" Did you mean '{close[0]}'?" if close else ""
    return LabkitError(f"Unknown {kind} '{name}'.{guess} Known: {', '.join(known) or 'none'}.")
