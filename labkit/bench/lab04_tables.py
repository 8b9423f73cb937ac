"""The tables of lab 04: accuracies with paired differences, layers, and what changed inside the students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .lab04_seen import LAYERS
from .results import Results
from .stats import interval, paired

if TYPE_CHECKING:
    from ..views import Table


def gains(
    runs: Mapping[str, Sequence[float]],
    against: Sequence[str] | Mapping[str, str],
    label: str,
    note: str = "",
) -> Table:
    """Accuracy of each method, and its difference from some of them, paired by seed.

    Args:
        runs: name -> accuracies by seed, the same seeds for all.
        against: the names to compare with, or names with their short forms; none is compared with itself.
        label: head of the first column.
        note: a line below.
    """
    from ..views import Table

    rows = [
        [name, interval(values), *("" if name == other else paired(values, runs[other]) for other in against)]
        for name, values in runs.items()
    ]
    short = against.values() if isinstance(against, Mapping) else against
    return Table([label, "test accuracy, %", *(f"minus {other}" for other in short)], rows, note=note)


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
    note = f"{count} seeds, differences in points, paired: {results.command}"
    return Table(["layer", *columns], rows, note=note)


def inside(results: Results, names: Mapping[str, str]) -> Table:
    """CKA of each student layer with the teacher's same layer, over seeds.

    Args:
        results: of lab 04.
        names: kind of student -> its name in words.
    """
    from ..views import Table

    rows = []
    for kind, name in names.items():
        where = [{"student_layer": layer, "teacher_layer": layer} for layer in LAYERS]
        found = [results.interval(experiment="cka", method=kind, **same) for same in where]
        rows.append([name, *(f"{x.mean:.2f} ± {x.half:.2f}" for x in found)])
    columns = ["CKA with the teacher's same layer", *(f"layer {layer}" for layer in LAYERS)]
    return Table(columns, rows, note=results.command)
