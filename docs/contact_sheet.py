"""One photograph of each of the Aviary's 60 species, family by family: `python docs/contact_sheet.py`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from labkit.data.aviary import BENCHMARK, render
from labkit.paths import write_atomic

PATH = Path(__file__).resolve().parent / "aviary.png"
SIDE, ACROSS, GAP, LINE = 96, 5, 14, 24  # pixels a bird, families a row, between families, for a name
SEED = 60  # photographs of no other set


def sheet() -> np.ndarray:
    """(H, W, 3) uint8: the four look-alikes of each family side by side, its name beneath."""
    families = list(dict.fromkeys(species.family for species in BENCHMARK))
    step = (2 * SIDE + GAP, 2 * SIDE + LINE + GAP)
    rows = -(-len(families) // ACROSS)
    page = Image.new("RGB", (ACROSS * step[0] + GAP, rows * step[1] + GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for label, species in enumerate(BENCHMARK):
        row, column = divmod(families.index(species.family), ACROSS)
        left, top = GAP + column * step[0], GAP + row * step[1]
        below, beside = divmod(label % 4, 2)
        bird = render(species, SEED, label, image_size=SIDE, annotate=False).image
        page.paste(Image.fromarray(bird), (left + beside * SIDE, top + below * SIDE))
        draw.text((left + SIDE, top + 2 * SIDE + LINE / 2), species.family, "#333", font, anchor="mm")
    return np.asarray(page)


def main() -> None:
    """Write docs/aviary.png."""
    file = io.BytesIO()
    palette = Image.fromarray(sheet()).quantize(256, kmeans=5, dither=Image.Dither.NONE)
    palette.save(file, "PNG", optimize=True)  # a quarter of the bytes
    write_atomic(PATH, file.getvalue())


if __name__ == "__main__":
    main()
