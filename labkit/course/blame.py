"""One sentence for an exception inside the student's code: what, and in which of their lines."""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from pathlib import Path

_OURS = str(Path(__file__).resolve().parents[1])
_NOT_THEIRS = tuple(
    {_OURS, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))}
)


def sentence(error: BaseException) -> str:
    """Such as: Your code raised ValueError: shapes differ. It happened in line 3: `loss = a + b`."""
    what = _one_line(traceback.format_exception_only(error)[-1]).rstrip(".")
    place = where(error)
    if place is None and isinstance(error, TypeError):
        return f"Your code could not be called as the exercise asks: {what}."
    if place is None:
        return f"Your code ran, but using its result raised {what}."
    line, text = place
    return f"Your code raised {what}; line {line} of your cell: `{text}`."


def where(error: BaseException) -> tuple[int, str] | None:
    """(line number, text) of the deepest frame in the student's own code; None if none of it ran."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if file.startswith(_NOT_THEIRS) or file.startswith("<frozen"):
            continue
        return line, linecache.getline(file, line, frame.f_globals).strip() or "(text not available)"
    return None


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 300 else f"{flat[:297]}..."
