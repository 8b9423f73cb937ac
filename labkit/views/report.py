"""A run's report: one HTML file with everything inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from ..paths import write_atomic
from .figures import png
from .tables import Table

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem;
  color: #111; background: #fff }}
table {{ border-collapse: collapse; margin: 1rem 0 }} td, th {{ border-bottom: 1px solid #ccc }}
figure {{ margin: 1.5rem 0 }} img {{ max-width: 100% }} figcaption {{ color: #444 }}
</style></head><body><h1>{title}</h1><p>{text}</p>{table}{figures}</body></html>
"""


def write_report(
    path: Path, title: str, text: str, table: Table, figures: Sequence[tuple[Figure, str]]
) -> Path:
    """Write the page atomically; `text` is HTML, each figure comes with its caption (also its alt text)."""
    parts = []
    for fig, caption in figures:
        data = base64.b64encode(png(fig)).decode()
        parts.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{escape(caption)}">'
            f"<figcaption>{escape(caption)}.</figcaption></figure>"
        )
    page = _PAGE.format(title=escape(title), text=text, table=table._repr_html_(), figures="".join(parts))
    return write_atomic(path, page)
