"""What a run recorded, one row per epoch."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, overload

from ..errors import LabkitError
from ..paths import write_atomic


class History(list):
    """A list of rows (dicts); `history["val_accuracy"]` gives one column, None where a row lacks it."""

    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    def __getitem__(self, key):
        return [row.get(key) for row in self] if isinstance(key, str) else super().__getitem__(key)

    @property
    def columns(self) -> list[str]:
        """Names of all columns in the order of their first appearance."""
        return list(dict.fromkeys(name for row in self for name in row))

    def save(self, path: Path) -> Path:
        """Write all rows as CSV, atomically."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self)
        return write_atomic(path, text.getvalue())

    @classmethod
    def load(cls, path: Path) -> History:
        """Read a CSV written by `save`; numbers come back as int or float, empty cells as absent.

        Raises:
            LabkitError: the file is damaged.
        """
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file, strict=True, restval=""))
        except (csv.Error, UnicodeDecodeError) as error:
            raise LabkitError(f"The history {path} is damaged ({error}): delete it.") from error
        if any(None in row for row in rows):
            raise LabkitError(f"The history {path} is damaged (a row is too long): delete it.")
        return cls({k: _number(v) for k, v in row.items() if v != ""} for row in rows)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
