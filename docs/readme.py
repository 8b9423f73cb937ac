"""The README's pictures and its results, made from data/results: `python docs/readme.py` writes them."""

from __future__ import annotations

import re
from pathlib import Path

from labkit.bench import interval, paired, read_results
from labkit.paths import write_atomic

ROOT = Path(__file__).resolve().parents[1]
WORDS = {
    "teacher": "teacher, all labels",
    "hinton": "student, distilled",
    "label_smoothing": "student, label smoothing",
    "scratch": "student, alone",
}
MODELS = {
    "aviary-clip": "an open_clip model: timm ConvNeXt and a text transformer",
    "aviary-dinov2": "transformers' `Dinov2Model`, self-distilled",
    "aviary-vit": "a timm ViT, trained on 200 other species",
}


def results_block() -> str:
    """The README's results between their markers."""
    from labkit.profiles import profile
    from labkit.views import Table

    results, settings = read_results("lab01"), profile("cpu").lab(1)
    values = {method: results.values(experiment="main", method=method) for method in WORDS}
    table = Table(
        ["on real 8x8 digits", "test accuracy, %"], [[WORDS[m], interval(v)] for m, v in values.items()]
    )
    gains = [paired(values["hinton"], values[m]) for m in ("scratch", "label_smoothing")]
    return (
        f"<!-- results -->\n{table.markdown()}\n\n"
        f"Students see {settings.per_class} labelled images per class; mean ± 95 % interval over"
        f" {len(values['hinton'])} seeds.\nPaired by seed, the distilled student gains {gains[0]} points on"
        f" the same student alone\nand {gains[1]} on the same student with label smoothing. Made by"
        f" `{results.command}`\n({results.machine}).\n<!-- /results -->"
    )


def models_block() -> str:
    """The README's table of shipped models between its markers, from data/manifest.json."""
    import json

    from labkit.models.shipped import CNNS
    from labkit.paths import asset
    from labkit.views import Table

    files = json.loads(asset("manifest.json").read_text(encoding="utf-8"))["files"]

    def facts(name: str) -> dict:
        return files[f"weights/{name}/model.safetensors"]

    rows = [[f"`{n}`, {what}", _megabytes(facts(n)), _probe(facts(n))] for n, what in MODELS.items()]
    nets = [n for n in CNNS if f"weights/{n}/model.safetensors" in files]
    probes = sorted(facts(n)["metrics"]["probe_test_accuracy"] for n in nets)
    size = sum(facts(n)["bytes"] for n in nets) / 1e6
    span = f"{100 * probes[0]:.0f}-{100 * probes[-1]:.0f}"
    names = ", ".join(f"`{n}`" for n in nets)
    rows.append([f"{names}: CNNs, trained on 200 other species", f"{size:.1f}", span])
    table = Table(["model", "MB", "linear probe, %"], rows)
    clip = {k: f"{100 * v:.1f}" for k, v in facts("aviary-clip")["metrics"].items() if "zero_shot" in k}
    return (
        f"<!-- models -->\n{table.markdown()}\n\nAccuracy on the 60 species' test pictures, chance 1.7 %."
        f" `aviary-clip` classifies them without any label: {clip['test_zero_shot_by_description']} % by\n"
        f"description, {clip['test_zero_shot_by_name']} % by name. `labkit pretrain NAME` makes each again on"
        f" one core\n({facts('aviary-clip')['machine']}).\n<!-- /models -->"
    )


def aviary_block() -> str:
    """The comparison of methods on the Aviary between its markers."""
    from labkit.bench import matrix, matrix_table

    results, s = read_results("aviary"), matrix.setting("aviary")
    table = matrix_table.table(results, s)
    said = "\n".join(f"- {claim}" for claim in matrix_table.claims(results, s))
    alt = "Test accuracy of every method with its interval, at each label budget"
    return (
        f"<!-- aviary -->\n{table.markdown()}\n\n{said}\n\n![{alt}](data/results/aviary.png)\n\n"
        f"{table.note}\n<!-- /aviary -->"
    )


def aviary_vlm_block() -> str:
    """Vision-language teachers on the Aviary: the table, what it answers, the other students."""
    from labkit.bench import matrix, matrix_table

    results, s = read_results("aviary-vlm"), matrix.setting("aviary-vlm")
    table, asked = matrix_table.table(results, s), matrix_table.differences(results, s)
    parts = [table.markdown(), asked.markdown()]
    alt = "Test accuracy of every method with its interval, at each label budget that has been run"
    parts.append(f"![{alt}](data/results/aviary-vlm.png)")
    others = matrix_table.roster(results, s)
    if others is not None:
        parts += [others.markdown(), others.note]
    body = "\n\n".join([*parts, table.note])
    return f"<!-- aviary-vlm -->\n{body}\n<!-- /aviary-vlm -->"


def cifar10_block() -> str:
    """Real CIFAR-10: scratch against distilled, for few epochs and for more."""
    from labkit.bench import matrix, matrix_table

    results, s = read_results("cifar10"), matrix.setting("cifar10")
    table = matrix_table.table(results, s)
    alt = "Confusion matrices of teacher, distilled student and student alone on the CIFAR-10 test images"
    gains = [
        f"Distilled minus alone, {words}: {matrix_table.gain(results, 'hinton', 'scratch', where)} points."
        for words, where in matrix_table.shown(results, s).items()
    ]
    return (
        f"<!-- cifar10 -->\n{table.markdown()}\n\n{' '.join(gains)}\n{table.note}\n\n"
        f"![{alt}](docs/cifar10.png)\n<!-- /cifar10 -->"
    )


def cifar10_picture() -> bytes:
    """Confusion matrices after the longest training, summed over the seeds (PNG)."""
    from types import SimpleNamespace

    import numpy as np

    from labkit.bench import matrix, matrix_table
    from labkit.views import plot_confusion
    from labkit.views.figures import png

    results, s = read_results("cifar10"), matrix.setting("cifar10")
    where = list(matrix_table.shown(results, s).values())[-1]
    shown = {}
    for method, words in matrix_table.rows(results, s).items():
        counts = [np.array(m) for m in matrix_table.values(results, method, where, "confusion")]
        shown[words] = SimpleNamespace(confusion=sum(counts), classes=s.classes)
    return png(plot_confusion(shown))


BLOCKS = {
    "results": results_block,
    "models": models_block,
    "aviary": aviary_block,
    "aviary-vlm": aviary_vlm_block,
    "cifar10": cifar10_block,
}


def _megabytes(facts: dict) -> str:
    return f"{facts['bytes'] / 1e6:.1f}"


def _probe(facts: dict) -> str:
    """Test accuracy of the linear probe in percent; each recipe keeps it in its own place."""
    metrics = facts["metrics"]
    found = metrics.get("test_probe") or metrics.get("probe_test_accuracy") or metrics["probe"]["test"]
    return f"{100 * found:.1f}"


def picture() -> bytes:
    """A digit, what its label says, what the teacher says, and what that is worth over the seeds (PNG)."""
    from labkit import data, engine
    from labkit.bench import lab01
    from labkit.profiles import profile
    from labkit.views import PALETTE, figure
    from labkit.views.figures import png

    setting = profile("cpu")
    teacher, _ = lab01.teacher(setting, 0)
    digits = data.load(setting.digits, seed=0)
    test = engine.evaluate(teacher, digits.test)
    sure = test.logits.softmax(1).max(1).values.masked_fill(test.predictions != test.labels, 2.0)
    at = int(sure.argmin())
    label = int(test.labels[at])
    fig, (image, bars, seeds) = figure(1, 3, width=10, height=2.6, width_ratios=[1, 2, 2.4])
    fig.get_layout_engine().set(wspace=0.08)
    image.imshow(digits.test.images[at, 0], cmap="gray")
    image.axis("off")
    image.set_title(f"labelled {label}")
    soft = (test.logits[at] / setting.lab(1).temperature).softmax(0)
    colours = [PALETTE["vermillion"] if c == label else PALETTE["blue"] for c in range(digits.num_classes)]
    bars.bar(digits.classes, soft, color=colours)
    bars.set_title("what the teacher says")
    results = read_results("lab01")
    for row, (method, colour) in enumerate(
        {"scratch": "green", "label_smoothing": "orange", "hinton": "blue"}.items()
    ):
        values = [100 * v for v in results.values(experiment="main", method=method)]
        seeds.plot(values, [row] * len(values), "os^"[row], color=PALETTE[colour], alpha=0.6)
    level = 100 * results.interval(experiment="main", method="teacher").mean
    seeds.axvline(level, color=PALETTE["grey"], linestyle="--")
    seeds.annotate("teacher", (level, 2.4), ha="right", color=PALETTE["grey"])
    seeds.set_yticks(range(3), ["alone", "label smoothing", "distilled"])
    seeds.set_ylim(-0.5, 2.7)
    seeds.set_title("what that is worth: test accuracy, %")
    return png(fig)


def main() -> None:
    """Write the pictures, and the blocks whose markers the README has."""
    write_atomic(ROOT / "docs" / "distillation.png", picture())
    write_atomic(ROOT / "docs" / "cifar10.png", cifar10_picture())
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, block in BLOCKS.items():
        old = re.compile(rf"<!-- {name} -->\n.*?<!-- /{name} -->", re.DOTALL)
        if old.search(text):
            made = block()
            text = old.sub(lambda _, new=made: new, text)
    write_atomic(readme, text)


if __name__ == "__main__":
    main()
