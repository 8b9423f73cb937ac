"""The student's own copies in `work/`: opened once, never overwritten, brought up to date on request."""

from __future__ import annotations

import itertools
import os
import uuid
from datetime import datetime
from pathlib import Path

from .. import paths
from ..errors import LabkitError, MissingError, unknown
from .ipynb import dumps, load


def released(number: int | str | None = None) -> list[Path]:
    """The student notebooks that ship with labkit, all or those of one lab.

    Raises:
        LabkitError: no lab has this number.
        MissingError: no notebook is there at all.
    """
    folder = paths.shipped("notebooks")
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise MissingError(f"There are no notebooks in {folder}: run `labkit build`, or reinstall labkit.")
    if number is None:
        return found
    text = str(number).strip()
    chosen = [path for path in found if text.isdigit() and path.name.startswith(f"{int(text):02d}_")]
    if not chosen:
        raise unknown("lab", number, [path.name[:2] for path in found])
    return chosen


def open_lab(number: int | str, fresh: bool = False) -> Path:
    """The student's copy of a lab, made on first use.

    Args:
        number: such as 1 or '01'.
        fresh: begin again with the released notebook; the old copy stays beside it under a dated name.

    Returns:
        Path of the copy in the work folder (`labkit.paths.work()`).

    Raises:
        LabkitError: no such lab, or the work folder can't be written.
    """
    original = released(number)[0]
    copy = paths.work() / original.name
    if fresh and copy.exists():
        set_aside(copy)
    if not copy.exists():
        _create(copy, original.read_bytes())
    return copy


def update(number: int | str | None = None) -> list[str]:
    """Bring opened copies up to the released notebooks, with the student's answers and own cells.

    The old copy stays beside the new one under a dated name.

    Args:
        number: one lab; default all that were opened.

    Returns:
        One line per copy.

    Raises:
        LabkitError: a copy or a released notebook can't be read, or the work folder can't be written.
    """
    from .carry import carry_over

    report = []
    for original in released(number):
        copy = paths.work() / original.name
        if not copy.exists():
            if number is not None:
                report.append(f"{original.name}: not opened yet; `labkit lab {original.name[:2]}` opens it.")
            continue
        old, new = load(copy), load(original)
        if old.metadata.get("labkit", {}).get("cells") == new.metadata.labkit.cells:
            report.append(f"{original.name}: up to date.")
            continue
        merged, carried = carry_over(old, new)
        kept = backup(copy)
        paths.write_atomic(copy, dumps(merged))
        report.append(f"{original.name}: updated with {carried}; the old copy is {kept.name}.")
    return report


def set_aside(file: Path) -> Path:
    """Move a file to a dated name beside it; the content is safe there before the old name goes."""
    kept = backup(file)
    file.unlink(missing_ok=True)
    return kept


def backup(file: Path) -> Path:
    """Copy a file to a dated name that no file has: 01_x.2026-01-31-101502.ipynb, then ...-2.ipynb.

    Raises:
        LabkitError: the copy can't be written; the file is untouched.
    """
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    for count in itertools.count(1):
        kept = file.with_name(f"{file.stem}.{stamp}{'' if count == 1 else f'-{count}'}{file.suffix}")
        try:
            with open(kept, "xb") as out:  # 'x': of two programs in the same second, one takes the next name
                out.write(file.read_bytes())
                out.flush()
                os.fsync(out.fileno())
            return kept
        except FileExistsError:
            continue
        except OSError as error:
            raise LabkitError(f"Can't keep a copy of {file} as {kept.name}: {error.strerror}.") from None
    raise AssertionError("counting ends never")


def _create(target: Path, content: bytes) -> None:
    """Write a file that must not exist yet; never replaces one that appeared meanwhile."""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabkitError(f"Can't write to the folder {target.parent}: {error.strerror}.") from None
    paths.write_atomic(partial, content)
    try:
        os.link(partial, target)  # fails where the name is taken, unlike a rename
    except FileExistsError:
        raise LabkitError(f"{target} has just been made by another program; try again.") from None
    except OSError:  # a file system without hard links
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
