"""`labkit demo digits`: a distilled student against the same student alone, on real handwritten digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .demo import Runs, Say, Trained, accuracies, plain
from .stats import Interval, interval, paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..views import Table

SEEDS = 3
TITLE = "A distilled student on real digits"
METHODS = {
    "hinton": "student, distilled",
    "label_smoothing": "student, label smoothing",
    "scratch": "student alone",
}
ROWS = {"teacher": "teacher, all labels"} | METHODS
PARTS = (tuple(ROWS),)


def train(rows: Sequence[str], seed: int, out: Path, say: Say) -> dict[str, Trained]:
    """The teacher of one seed and a student for each method; `rows` are all rows."""
    from .. import data, engine
    from ..profiles import profile
    from . import lab01

    setting = profile("cpu")
    s = setting.lab(1)
    guide, _ = lab01.teacher(setting, seed)
    few = data.load(s.data, seed=seed, per_class=s.per_class)
    say(f"seed {seed}: teacher")
    trained = {"teacher": Trained(**plain(engine.evaluate(guide, few.test)), losses=[], history=[])}
    for method, options in lab01.chosen(s).items():
        folder = out / f"{method}-{seed}"
        run = lab01.train(setting, method, few, seed, guide, out=folder, progress=False, **options)
        test = engine.evaluate(run.model, few.test)
        trained[method] = Trained(**plain(test), losses=run.losses, history=list(run.history))
        say(f"seed {seed}: {METHODS[method]}")
    return trained


def _gain(runs: Runs) -> Interval:
    return paired(accuracies(runs, "hinton"), accuracies(runs, "scratch"))


def claim(runs: Runs) -> str:
    """The one sentence."""
    gain, seeds = _gain(runs), len(runs["hinton"])
    return (
        f"Distilled minus alone, paired over {seeds} seeds: {gain} points of test accuracy (95 % interval)."
    )


def table(runs: Runs) -> Table:
    """Accuracy and cost of every network."""
    from ..models import build, cost
    from ..profiles import profile
    from ..views import Table

    s = profile("cpu").lab(1)
    rows = []
    for method, title in ROWS.items():
        net = s.teacher if method == "teacher" else s.student
        spent = cost(build(num_classes=10, **net), (1, 1, 8, 8))
        rows.append([title, interval(accuracies(runs, method)), f"{spent.parameters:,}", f"{spent.macs:,}"])
    return Table(
        ["network", "test accuracy, %", "parameters", "MACs"],
        rows,
        caption=f"Real 8x8 handwritten digits; students see {s.per_class} labels per class",
        note=f"Mean ± 95 % interval over {len(runs['hinton'])} seeds; same steps and data for all.",
    )


def figures(runs: Runs) -> list[tuple[Figure, str]]:
    """What the report shows, with captions."""
    from ..views import plot_confusion, plot_losses, plot_seeds

    methods = {title: accuracies(runs, method) for method, title in METHODS.items()}
    return [
        (
            plot_seeds(methods, {"teacher": interval(accuracies(runs, "teacher")).mean}),
            "Test accuracy of each seed: students distilled, with label smoothing, alone; line: the teacher",
        ),
        (
            plot_losses({METHODS[m]: runs[m][0].losses for m in ("hinton", "scratch")}),
            "Training loss by step. The two objectives differ, so compare shapes, not heights",
        ),
        (
            plot_confusion({METHODS[m]: runs[m][0].test for m in ("hinton", "scratch")}),
            "Mistakes on the test digits by true and predicted class, first seed",
        ),
    ]
