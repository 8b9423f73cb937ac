"""The Aviary's fingerprint, `data/aviary.json`: results are comparable only where the world is the same.

python -m labkit.data.aviary.golden    # writes it; only after AVIARY_VERSION has been raised
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import PIL

from ... import manifest, paths
from .dataset import SEED, SIDE, SPLITS, shots
from .drawing import take
from .text import caption
from .world import AVIARY_VERSION, BENCHMARK, GENERIC, SCENES, wild

FILE = "aviary.json"
_COMMAND = "python -m labkit.data.aviary.golden"
_WILD = 200


def fingerprint() -> dict[str, object]:
    """Version and hashes of all that the Aviary draws and writes, computed afresh (about a second).

    `mini` covers pixels, part maps and scenes of the data set of this size; `words` covers names,
    descriptions, generic and wild species and captions. `drawn_with` names the libraries: another Pillow may
    fill a polygon differently.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        found, labels, ids = shots(split, "mini")
        digest.update(take(found, SIDE, parts=True).tobytes())
        digest.update(labels.numpy().astype("<i8").tobytes() + ids.numpy().astype("<i8").tobytes())
    birds = [*BENCHMARK, *GENERIC, *(wild(SEED, i) for i in range(_WILD))]
    words = [text for bird in birds for text in (bird.name, bird.description)]
    words += [caption(s, SCENES[i % len(SCENES)], SEED, i) for i, s in enumerate(birds)]
    return {
        "version": AVIARY_VERSION,
        "mini": digest.hexdigest(),
        "words": _hash(words),
        "drawn_with": f"Pillow {PIL.__version__}, numpy {np.__version__}",
    }


def shipped() -> dict[str, object]:
    """The fingerprint of the world that committed weights and results belong to.

    Raises:
        MissingError: it is not there.
        LabkitError: its file was changed.
    """
    return json.loads(manifest.verified(FILE).read_text(encoding="utf-8"))


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main() -> None:
    """Write the fingerprint and enter it into the manifest."""
    found = fingerprint()
    path = paths.write_atomic(paths.shipped("data") / FILE, json.dumps(found, indent=1) + "\n")
    manifest.record(FILE, _COMMAND, version=found["version"], mini=found["mini"])
    print(f"{path}: version {found['version']}, mini {found['mini'][:12]}")


if __name__ == "__main__":
    main()
