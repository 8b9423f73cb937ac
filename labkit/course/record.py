"""The student's progress: one JSON file, `LABKIT_PROGRESS` or `work/progress.json`.

It counts attempts (hints open with them) and remembers passes. Trouble with the file is said once and never
stops a check: the lesson goes on without it.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

from .. import paths
from ..errors import LabkitError

_told: set[str] = set()


def path() -> Path:
    """Where the file is."""
    named = os.environ.get("LABKIT_PROGRESS")
    return Path(named).expanduser() if named else paths.work() / "progress.json"


def read() -> dict[str, dict]:
    """What is recorded, check id -> {attempts, passed, points, possible}; empty if nothing can be read."""
    file = path()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {str(id): _row(row) for id, row in content["checks"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        _tell(f"Can't read the progress file {file} ({error.strerror}); checks work without it.")
    except (ValueError, TypeError, KeyError, AttributeError):
        _put_aside(file)
    return {}


def add(id: str, passed: bool, possible: float) -> int:
    """Count one attempt and remember a pass.

    Returns:
        How many attempts this check has had, this one included (1 if they can't be recorded).
    """
    import filelock

    file = path()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{file}.lock", timeout=5):
            rows = read()
            row = rows.setdefault(id, _row({}))
            row["attempts"] += 1
            row["possible"] = possible
            if passed:
                row["points"] = possible
                row["passed"] = row["passed"] or datetime.now().astimezone().isoformat(timespec="seconds")
            text = json.dumps({"version": 1, "checks": rows}, indent=1, sort_keys=True, ensure_ascii=False)
            paths.write_atomic(file, text + "\n")
            return row["attempts"]
    except filelock.Timeout:
        reason = "another program holds its lock"
    except OSError as error:
        reason = error.strerror or str(error)
    except LabkitError as error:
        reason = str(error.__cause__.strerror if isinstance(error.__cause__, OSError) else error)
    _tell(f"Can't write the progress file {file} ({reason}); checks work, but attempts aren't remembered.")
    return 1


def _row(row: dict) -> dict:
    """One record with every field of the right type; raises TypeError or ValueError on rubbish."""
    if not isinstance(row, dict):
        raise TypeError
    passed = row.get("passed")
    return {
        "attempts": int(row.get("attempts", 0)),
        "passed": None if passed is None else str(passed),
        "points": float(row.get("points", 0)),
        "possible": float(row.get("possible", 0)),
    }


def _put_aside(file: Path) -> None:
    """Keep an unreadable file under a dated name, so that a new one can be started."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    kept = file.with_name(f"{file.stem}.unreadable-{stamp}{file.suffix}")
    try:
        os.replace(file, kept)
        _tell(f"The progress file could not be read; it is kept as {kept.name} and a new one is started.")
    except OSError:
        _tell(f"The progress file {file} can't be read; delete it to start a new one.")


def _tell(sentence: str) -> None:
    if sentence in _told or os.environ.get("NBGRADER_EXECUTION"):
        return
    _told.add(sentence)
    from .display import note

    note(sentence)
