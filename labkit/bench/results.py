"""Committed results: a JSON file of rows, one per run, with the command and the machine that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabkitError
from ..paths import asset, write_atomic
from .stats import Interval, interval, paired

if TYPE_CHECKING:
    from ..views import Table

MEASURED = (  # added to a job by its run
    *("val", "test", "inside", "mass", "confusion", "assistant", "teacher_test", "agreement", "examples"),
    *("seconds", "ms", "memory", "disk"),
    *("adapted", "cka", "cka_unbiased", "cka_noise", "embedding_dim", "parameters"),
)


@dataclass(frozen=True)
class Sweep:
    """A swept parameter: its values, an interval at each, and the paired difference from each to the next."""

    values: list[float]
    intervals: list[Interval]
    steps: list[Interval]

    def table(self, label: str, names: Sequence[str], note: str = "") -> Table:
        """Rows of name, accuracy, and the paired difference from the row above."""
        from ..views import Table

        rows = zip(names, self.intervals, ["", *self.steps], strict=True)
        columns = [label, "test accuracy, %", "minus the row above, paired"]
        return Table(columns, [list(row) for row in rows], note=note)


@dataclass
class Results:
    """Flat rows of finished runs: what was run (`experiment`, `method`, `seed`, ...), then `val`, `test`."""

    command: str
    machine: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def select(self, **wanted: Any) -> list[dict[str, Any]]:
        """Rows whose fields equal `wanted`, ordered by seed."""
        rows = [row for row in self.rows if all(row.get(k) == v for k, v in wanted.items())]
        return sorted(rows, key=lambda row: row["seed"])

    def values(self, measure: str = "test", **wanted: Any) -> list[float]:
        """One measure of the selected rows, by seed.

        Raises:
            LabkitError: no such run, or none that was measured so.
        """
        rows = self.select(**wanted)
        if not rows or any(measure not in row for row in rows):
            raise LabkitError(f"No '{measure}' result for {wanted}: run `{self.command}`.")
        return [row[measure] for row in rows]

    def interval(self, measure: str = "test", **wanted: Any) -> Interval:
        """Mean and 95 % interval of the selected rows over seeds."""
        return interval(self.values(measure, **wanted))

    def gain(self, first: Mapping[str, Any], second: Mapping[str, Any], measure: str = "test") -> Interval:
        """Paired difference first - second over the seeds both have.

        Raises:
            LabkitError: no such run, or several of one seed.
        """
        ours, theirs = (self._by_seed(measure, wanted) for wanted in (first, second))
        seeds = sorted(ours.keys() & theirs.keys())
        return paired([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])

    def _by_seed(self, measure: str, wanted: Mapping[str, Any]) -> dict[int, float]:
        seeds = [row["seed"] for row in self.select(**wanted)]
        if len(set(seeds)) < len(seeds):
            raise LabkitError(f"{dict(wanted)} names several runs of one seed: name more of their fields.")
        return dict(zip(seeds, self.values(measure, **wanted), strict=True))

    def sweep(self, experiment: str) -> Sweep:
        """Test accuracy over the parameter that an experiment is named after."""
        points = sorted({row[experiment] for row in self.select(experiment=experiment)})
        runs = [self.values(experiment=experiment, **{experiment: x}) for x in points]
        steps = [paired(after, before) for before, after in pairwise(runs)]
        return Sweep(points, [interval(values) for values in runs], steps)

    def save(self, path: Path) -> Path:
        """Write atomically, one row a line so that changes read well."""
        head = {"command": self.command, "machine": self.machine}
        rows = ",\n  ".join(json.dumps(row) for row in sorted(self.rows, key=_order))
        text = json.dumps(head, indent=1)[:-2] + f',\n "rows": [\n  {rows}\n ]\n}}\n'
        return write_atomic(path, text)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a file that `save` wrote.

        Raises:
            LabkitError: the file is damaged.
        """
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise LabkitError(
                f"The results {path} are damaged ({error}): restore or remove the file."
            ) from error


def read_results(name: str) -> Results:
    """Shipped results by name, such as 'lab01'.

    Raises:
        MissingError: there are none of that name.
    """
    return Results.load(asset(f"results/{name}.json"))


def _order(row: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in row.items() if k not in MEASURED}, sort_keys=True)
