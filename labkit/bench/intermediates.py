"""Which network should stand between a vision-language model and a student? `labkit intermediates`.

What can be known before any training, of pretrained candidates only: how alike a candidate and the model see
validation images (linear CKA of embeddings, biased as most papers print it and unbiased), its width and its
parameters. Biased CKA grows with the width whatever the features are, up to 1 where they are more than the
images: beside it stands what noise of that width gets, which for VGG-13's 4096 is much. What decides costs
training: its accuracy after DAIT's first stage, and its student's. A run per candidate and seed is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .. import manifest
from ..errors import LabkitError
from ..paths import shipped
from ..profiles import preset, profile
from . import pair, vlm
from .grid import Job, fill, forget_outdated
from .matrix_rows import KINDS, first_stages
from .results import Results
from .stats import Interval

if TYPE_CHECKING:
    from torch import Tensor

    from ..views import Table

PRESET = "intermediates"
WIDEST = 4096  # VGG-13's embedding, the widest of the papers' candidates


@dataclass(frozen=True)
class Candidate:
    """A pretrained network, as it comes.

    Attributes:
        name: as `build` takes it.
        width: of its embedding.
        parameters: without a head.
        cka: biased linear CKA of its embeddings with the model's, over validation images.
        cka_unbiased: the same, unbiased.
        cka_noise: what the biased one is of Gaussian noise as wide.
    """

    name: str
    width: int
    parameters: int
    cka: float
    cka_unbiased: float
    cka_noise: float


def intermediates(
    *,
    candidates: Sequence[str] | None = None,
    students: bool = False,
    seeds: int | None = None,
    name: str | None = None,
    folder: Path | str = "runs/intermediates",
    out: Path | None = None,
    workers: int | None = None,
) -> list[Candidate]:
    """Compare candidates for the intermediate teacher: print the table, write a report with its figure.

    Args:
        candidates: names of pretrained networks; None takes the profile's.
        students: train what the results lack: each candidate, and a student of it, for every seed.
        seeds: of these runs; None takes the preset's number.
        name: of the profile; None as in `profile`.
        folder: for report.html.
        out: results file, read and with `students` written; None is `results/intermediates.json` in the data
            folder under the profile cpu, else in `folder`.
        workers: processes of one thread each; None takes one per core, or two per GPU.

    Returns:
        What was measured of the candidates as they come, by unbiased CKA.

    Raises:
        LabkitError: a network that has no pretrained weights, or numbers out of range.
        MissingError: data or weights that are not here.
    """
    started = time.perf_counter()
    if (seeds is not None and seeds < 1) or (workers is not None and workers < 1):
        raise LabkitError(f"seeds and workers must be at least 1, but they are {seeds} and {workers}.")
    s = setting(name, candidates)
    ships = out is None and profile(name).name == "cpu"
    path = out or (shipped("data") / "results" if ships else Path(folder)) / f"{PRESET}.json"
    found = measure(s)
    if students:
        seeds = seeds or s.seeds
        command = f"labkit intermediates --students --seeds {seeds}"
        wanted = list(jobs(s, seeds))
        forget_outdated(path, wanted)
        results = fill(__name__, wanted, s, path, command, workers=workers)
        if ships:
            manifest.record(f"results/{path.name}", results.command, machine=results.machine)
    else:
        results = Results.load(path) if path.is_file() else Results("labkit intermediates --students")
    _report(found, results, s, Path(folder), time.perf_counter() - started)
    return found


def setting(name: str | None = None, candidates: Sequence[str] | None = None) -> SimpleNamespace:
    """The settings of a profile, with those of the comparison that it names, narrowed to some candidates."""
    own = vars(preset(PRESET))[profile(name).name]
    s = SimpleNamespace(**(vars(preset(own["like"])) if "like" in own else {}) | own)
    if candidates:
        s.candidates = list(candidates)
    return s


def measure(s: SimpleNamespace) -> list[Candidate]:
    """What is known of every candidate before any training, the most alike first by unbiased CKA."""
    from tqdm.auto import tqdm

    bar = tqdm(s.candidates, unit="net", leave=False, disable=bool(os.environ.get("LABKIT_QUIET")))
    return sorted((_measured(s, name) for name in bar), key=lambda found: -found.cka_unbiased)


def _measured(s: SimpleNamespace, name: str) -> Candidate:
    from ..engine import FeatureBank
    from ..models import build, cka

    module = pair.few(s, s.per_class, 0)  # its validation images are those of every seed and budget
    net = build(num_classes=module.num_classes, **_net(name))
    bank = FeatureBank(net, module.val, outputs=("embedding",), keep=False, progress=False)
    ours, theirs = bank.features(), vlm.features(s, module.val).features()
    head = sum(p.numel() for p in net.head.parameters())
    return Candidate(
        name,
        width=ours.shape[1],
        parameters=sum(p.numel() for p in net.parameters()) - head,
        cka=cka(ours, theirs),
        cka_unbiased=cka(ours, theirs, unbiased=True),
        cka_noise=noise(theirs, ours.shape[1]),
    )


def noise(theirs: Tensor, width: int) -> float:
    """Biased CKA of features (n, E) with n rows of Gaussian noise, `width` wide: what width alone gives."""
    import torch

    from ..models import cka

    generator = torch.Generator().manual_seed(0)
    return cka(torch.randn(len(theirs), width, generator=generator), theirs)


def _net(name: str) -> dict[str, Any]:
    return {"name": name, "weights": "pretrained"}


# The runs ---------------------------------------------------------------------------------------------------


def jobs(s: SimpleNamespace, seeds: int) -> Iterator[Job]:
    """One run for each candidate and seed."""
    options = s.methods[s.method] | first_stages(s, s.method)
    for seed in range(seeds):
        for name in s.candidates:
            job = {"experiment": PRESET, "method": s.method, "intermediate": name, "seed": seed}
            yield job | {"per_class": s.per_class} | options


def run(job: Job, s: SimpleNamespace) -> Job:
    """Train a candidate by DAIT's first stage, then a student of it.

    'adapted' is the candidate's own test accuracy, 'val' and 'test' are the student's; 'cka', 'cka_unbiased',
    'cka_noise', 'embedding_dim' and 'parameters' are those of `Candidate`, for who reads the results.
    """
    from ..engine import evaluate

    seed, name, kind = job["seed"], job["intermediate"], KINDS[job["method"]]
    net, _ = vlm.intermediate(s, seed, s.per_class, net=_net(name))
    done = pair.train(
        s, kind.method, seed, s.per_class, intermediate=net, **kind.options | s.methods[job["method"]]
    )
    test, found = pair.few(s, s.per_class, seed).test, _measured(s, name)
    measured = {"val": done.accuracy, "test": evaluate(done.model, test).accuracy}
    measured |= {"adapted": evaluate(net, test).accuracy, "cka": found.cka, "cka_noise": found.cka_noise}
    measured |= {"cka_unbiased": found.cka_unbiased}
    rounded = {name: round(value, 5) for name, value in measured.items()}
    return job | rounded | {"embedding_dim": found.width, "parameters": found.parameters}


# What is shown ----------------------------------------------------------------------------------------------


def accuracy(results: Results, name: str, measure: str) -> Interval | None:
    """Mean and interval over the seeds of a candidate's runs; None where there is none."""
    wanted = {"experiment": PRESET, "intermediate": name}
    return results.interval(measure, **wanted) if results.select(**wanted) else None


def table(found: Sequence[Candidate], results: Results, s: SimpleNamespace) -> Table:
    """One row a candidate."""
    from ..views import Table

    module = pair.few(s, s.per_class, 0)
    theirs = vlm.features(s, module.val).features()
    some = theirs[:: max(1, len(theirs) // module.num_classes)]  # about one image a class
    wide, wider = noise(theirs, WIDEST), noise(some, WIDEST)
    rows = []
    for one in found:
        own, student = (accuracy(results, one.name, m) or "-" for m in ("adapted", "test"))
        alike = [f"{value:.3f}" for value in (one.cka_unbiased, one.cka, one.cka_noise)]
        rows.append([one.name, *alike, one.width, f"{one.parameters:,}", own, student])
    columns = ["pretrained candidate", "CKA, unbiased", "biased", "biased, noise as wide", "width"]
    missing = any(row[-1] == "-" for row in rows)
    return Table(
        [*columns, "parameters", "adapted, %", "its student, %"],
        rows,
        caption=f"Linear CKA with {vlm.load(s).name} over {len(theirs)} validation images",
        note=f"Noise {WIDEST} wide, as VGG-13's embedding, gets a biased CKA of {wide:.3f} over these images,"
        f" {wider:.3f} over {len(some)}.\nTest accuracies: {KINDS[s.method].words}, mean ± 95 % interval over"
        " seeds" + ("; - was not trained: add --students." if missing else "."),
    )


def _report(
    found: Sequence[Candidate], results: Results, s: SimpleNamespace, folder: Path, seconds: float
) -> None:
    from ..views.candidates import plot_candidates
    from ..views.report import write_report

    made = table(found, results, s)
    points = {one.name: (one.cka, one.cka_unbiased, one.cka_noise, one.width) for one in found}
    scores = {one.name: [accuracy(results, one.name, m) for m in ("adapted", "test")] for one in found}
    fig = plot_candidates(points, scores)
    print(made)
    text = f"Made by <code>{results.command}</code>; drawn in {seconds:.0f} s."
    alt = "Candidates for the intermediate teacher: CKA by width, and the student's accuracy by CKA and by"
    alt += " the candidate's own accuracy"
    path = write_report(folder / "report.html", "What should stand between?", text, made, [(fig, alt)])
    print(f"Report: {path}")
