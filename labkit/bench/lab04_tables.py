"""The tables of lab 04: accuracies with paired differences, layers, and what changed inside the students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .lab04 import LAYERS, PARTS
from .results import Results
from .stats import Interval, interval, paired

if TYPE_CHECKING:
    from ..views import Table


def gains(runs: Mapping[str, Sequence[float]], against: Sequence[str], label: str, note: str = "") -> Table:
    """Accuracy of each method, and its difference from some of them, paired by seed.

    Args:
        runs: name -> accuracies by seed, the same seeds for all.
        against: the names to compare with; a method is not compared with itself.
        label: head of the first column.
        note: a line below.
    """
    from ..views import Table

    rows = [
        [name, interval(values), *("" if name == other else paired(values, runs[other]) for other in against)]
        for name, values in runs.items()
    ]
    return Table([label, "test accuracy, %", *(f"minus {other}" for other in against)], rows, note=note)


def by_layer(results: Results, method: str) -> list[list[float]]:
    """Test accuracies by seed of a method that matched one layer, for layers 0 to 3."""
    return [results.values(experiment="layer", method=method, layer=layer) for layer in LAYERS]


def layers(results: Results, methods: Mapping[str, str], base: Sequence[float]) -> Table:
    """Accuracy over the matched layer, and the paired difference from a student that matched nothing.

    Args:
        results: of lab 04.
        methods: method -> its name in words.
        base: accuracies by seed of the student alone; the first seeds are those of the sweep.
    """
    from ..views import Table

    found = {name: by_layer(results, method) for method, name in methods.items()}
    count = min(len(values[0]) for values in found.values())
    depth = {0: "0, early", 3: "3, late"}
    rows = []
    for layer in LAYERS:
        runs = [values[layer] for values in found.values()]
        cells = [x for run in runs for x in (interval(run), paired(run, base[: len(run)]))]
        rows.append([depth.get(layer, str(layer)), *cells])
    columns = [x for name in found for x in (f"{name}, %", "minus alone")]
    note = f"{count} seeds, differences paired: {results.command}"
    return Table(["layer", *columns], rows, note=note)


def inside(results: Results, names: Mapping[str, str]) -> Table:
    """CKA of each student layer with the teacher's same layer, and where the last layer looks.

    Args:
        results: of lab 04.
        names: kind -> its name in words; kinds without one of the measurements get empty cells.
    """
    from ..views import Table

    rows = []
    for kind, name in names.items():
        cells: list[object] = []
        for layer in LAYERS:
            same = {"student_layer": layer, "teacher_layer": layer}
            cells.append(_plain(results, experiment="cka", method=kind, **same))
        for part in PARTS:
            wanted = {"experiment": "look", "method": kind, "part": part}
            cells.append(results.interval(**wanted) if results.select(**wanted) else "")
        rows.append([name, *cells])
    heads = [f"CKA {layer}" for layer in LAYERS]
    return Table(["network", *heads, *(f"on the {part}, %" for part in PARTS)], rows, note=results.command)


def _plain(results: Results, **wanted: object) -> str:
    """Mean and interval as plain numbers, or nothing."""
    if not results.select(**wanted):
        return ""
    found: Interval = results.interval(**wanted)
    return f"{found.mean:.2f} ± {found.half:.2f}"
