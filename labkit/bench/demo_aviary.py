"""`labkit demo aviary`: from a vision-language model over a network between to a small student.

The comparison of `presets/aviary-vlm.yaml` at its smallest budget, its options chosen there, with fewer
steps: DAIT's two stages against the same without the model, direct distillation and the student alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from ..profiles import preset
from . import pair, vlm
from .demo import Runs, Say, Trained, accuracies, plain
from .matrix_rows import KINDS
from .stats import interval, paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..data import DataModule
    from ..models import Classifier
    from ..views import Table

SEEDS = 3
STEPS = 150  # of a student: half of the comparison's, as are the two below
BETWEEN_STEPS = 100  # of the network between
VIEWS = 8  # of every training image
LOOKED_AT = 10  # test images per class for Grad-CAM, as in lab 13
PER_CLASS = 6
TITLE = "From a vision-language model to a small student"
METHODS = {
    "dait-f": "DAIT, two stages",
    "dait ce": "stage 1 by labels alone",  # the control: what is left without the model
    "vl2lite": "VL2Lite, directly",
    "scratch": "student alone",
}
ROWS = {"zero-shot": "aviary-clip, zero-shot by name", "intermediate": "DAIT's intermediate"} | METHODS
# What asks the model, and what doesn't: about as long as each other.
PARTS = (("zero-shot", "intermediate", "dait-f", "vl2lite"), ("dait ce", "scratch"))
SHOWN = (3, 703, 1500, 2300)  # test images whose Grad-CAM is drawn, chosen before any training


@dataclass(frozen=True)
class Seen(Trained):
    """A trained network and where it looks.

    Attributes:
        attention: its attention-on-part score.
        controls: see `PartAttention`.
        looks: (N, S, S), Grad-CAMs of the images `SHOWN`.
    """

    attention: float = np.nan
    controls: dict[str, float] | None = None
    looks: np.ndarray | None = None


@cache
def setting() -> SimpleNamespace:
    """The comparison's settings with the demo's budget, steps and views."""
    s = copy.deepcopy(preset("aviary-vlm"))
    s.per_class, s.views, s.looked_at = PER_CLASS, VIEWS, LOOKED_AT
    s.training = pair.changed(s.training, {"steps": STEPS})
    s.intermediate_training = pair.changed(s.intermediate_training, {"steps": BETWEEN_STEPS})
    return s


def train(rows: Sequence[str], seed: int, out: Path, say: Say) -> dict[str, Seen]:
    """These rows of one seed: the model as it is, the network between, a student for each method."""
    from ..engine import load_run

    s, found = setting(), {}
    module = pair.few(s, s.per_class, seed)
    for row in rows:
        folder = out / f"{row}-{seed}"
        if row == "zero-shot":
            test = vlm.zero_shot_on(s, module, module.test)
            found[row] = Seen(**plain(test), losses=[], history=[])
        elif row == "intermediate":
            net, _ = vlm.intermediate(s, seed, s.per_class, out=folder, progress=False)
            found[row] = _seen(module, net, [], list(load_run(folder).history))
        else:
            kind = KINDS[row]
            told = {"out": folder, "progress": False, **kind.options, **s.methods[row]}
            run = pair.train(s, kind.method, seed, s.per_class, **told)
            found[row] = _seen(module, run.model, run.losses, list(run.history))
        say(f"seed {seed}: {ROWS[row]}")
    return found


def _seen(module: DataModule, net: Classifier, losses: list[float], history: list[dict]) -> Seen:
    from ..engine import attention_on_parts, evaluate, grad_cam

    some = _shown(module)
    attention = attention_on_parts(net, module.test.few(setting().looked_at, seed=0))
    return Seen(
        **plain(evaluate(net, module.test)),
        losses=losses,
        history=history,
        attention=attention.mean,
        controls=attention.controls,
        looks=grad_cam(net, some.images / 255, some.labels).cpu().numpy(),
    )


def _shown(module: DataModule):
    return module.test.subset([i % len(module.test) for i in SHOWN])


# What is shown ----------------------------------------------------------------------------------------------


def claim(runs: Runs) -> str:
    """The sentence above the table."""
    ours, seeds = accuracies(runs, "dait-f"), len(runs["dait-f"])
    alone, direct, control = (
        paired(ours, accuracies(runs, row)) for row in ("scratch", "vl2lite", "dait ce")
    )
    return (
        f"Two stages minus alone, paired over {seeds} seeds: {alone} points of test accuracy (95 % interval);"
        f" minus VL2Lite, which asks the model directly: {direct}; minus the same two stages with a network"
        f" between that learned from the labels alone: {control}, what the model adds to it."
    )


def table(runs: Runs) -> Table:
    """Accuracy, kind of mistakes, attention and size of every network."""
    from ..engine.mistakes import families, mistakes
    from ..models import build
    from ..views import Table

    s = setting()
    groups, rows = families(runs["scratch"][0].classes), []
    nets = {"intermediate": s.intermediate["name"]}
    for row, title in ROWS.items():
        inside = [mistakes(entry.test.logits, entry.test.labels, groups).inside for entry in runs[row]]
        looks, size = "-", sum(p.numel() for p in vlm.load(s).clip.visual.parameters())
        if row != "zero-shot":
            looks = interval([entry.attention for entry in runs[row]])
            size = sum(p.numel() for p in build(nets.get(row, s.student["name"]), 60).parameters())
        rows.append([title, interval(accuracies(runs, row)), interval(inside), looks, f"{size:,}"])
    beside = ", ".join(f"{name} {value:.1%}" for name, value in controls(runs).items())
    return Table(
        [
            "network",
            "test accuracy, %",
            "mistakes among look-alikes, %",
            "attention on parts, %",
            "parameters",
        ],
        rows,
        caption=f"The Aviary, {len(groups)} species, {s.per_class} labels of each; the student is"
        f" {s.student['name']}, with random weights, {s.training['steps']} steps",
        note=f"Mean ± 95 % interval over {len(runs['scratch'])} seeds. Attention: share of Grad-CAM on the"
        f" parts that tell look-alikes apart; {beside}.",
    )


def controls(runs: Runs) -> dict[str, float]:
    """What maps that know nothing of the image would get, over all students, and the whole bird's."""
    every = [entry.controls for row in METHODS for entry in runs[row]]
    return {name: float(np.mean([one[name] for one in every])) for name in ("chance", "centre", "bird")}


def figures(runs: Runs) -> list[tuple[Figure, str]]:
    """What the report shows, with captions."""
    from ..engine import families
    from ..views import plot_seeds
    from ..views.looks import plot_part_attention
    from ..views.mistakes import plot_family_confusion
    from ..views.schedule import plot_schedule

    methods = {title: accuracies(runs, row) for row, title in METHODS.items()}
    beside = {"zero-shot": "zero-shot", "intermediate": "intermediate"}
    lines = {words: interval(accuracies(runs, row)).mean for row, words in beside.items()}
    histories = {ROWS[row]: runs[row][0].history for row in ("intermediate", *METHODS)}
    pairs = {METHODS[row]: runs[row][0].test for row in ("scratch", "dait-f")}
    scores = {ROWS[r]: [e.attention for e in runs[r]] for r in ("intermediate", *METHODS)}
    return [
        (
            plot_seeds(methods, lines),
            "Test accuracy of each seed; lines: the model itself, the network between",
        ),
        (
            plot_schedule(histories),
            "First seed. Left: validation accuracy. Right: lambda, the weight of the labels, where it grows",
        ),
        (
            plot_family_confusion(pairs, families(runs["scratch"][0].classes)),
            "Mistakes on test images by true and predicted class, first seed; frames: look-alikes",
        ),
        (
            _pictures(runs),
            "Grad-CAM of the true class, first seed; outlined: the parts that tell the bird from look-alikes",
        ),
        (
            plot_part_attention(scores, controls(runs)),
            "Attention on the discriminative parts, a point per seed; lines: what a map gets that is even,"
            " that sits in the centre, or that is even over the whole bird",
        ),
    ]


def _pictures(runs: Runs) -> Figure:
    """The images `SHOWN` under every network of the first seed."""
    import torch

    from ..data.aviary import annotate
    from ..views.looks import plot_looks

    module = pair.few(setting(), setting().per_class, 0)
    some = _shown(module)
    entries = {ROWS[row]: runs[row][0] for row in ("scratch", "vl2lite", "dait-f", "intermediate")}
    at = [i % len(module.test) for i in SHOWN]
    right = {True: "right", False: "wrong"}
    return plot_looks(
        some.images,
        [some.classes[label].replace(" ", "\n") for label in some.labels],
        {title: torch.from_numpy(entry.looks) for title, entry in entries.items()},
        annotate(some).discriminative(),
        notes={
            title: [right[bool(entry.test.predictions[i] == entry.test.labels[i])] for i in at]
            for title, entry in entries.items()
        },
        size=1.35,
    )
