"""The first code cell of every notebook: gets labkit where it is missing, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from ..errors import LabkitError

_CELL = """\
# Gets labkit where it is missing (Colab, Kaggle); the pins keep this machine's own torch and numpy.
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
if util.find_spec("labkit") is None:
    near = Path("../pyproject.toml")
    local = near.is_file() and 'name = "labkit"' in near.read_text(encoding="utf-8")
    found = [name for name in ("torch", "torchvision", "numpy") if util.find_spec(name)]
    pins = [f"{{name}}=={{metadata.version(name)}}" for name in found]
    place = ".." if local else "git+{repository}"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", place, *pins], check=True)
"""


def repository(root: Path) -> str:
    """The public address of the course: `[tool.labkit] repository` in `pyproject.toml`.

    Raises:
        LabkitError: the setting or the file is missing or is no https address.
    """
    file = root / "pyproject.toml"
    try:
        value = tomllib.loads(file.read_text(encoding="utf-8"))["tool"]["labkit"]["repository"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        raise LabkitError(
            f'{file} must say where the course lives: [tool.labkit] repository = "https://...".'
        ) from None
    if not re.fullmatch(r"https://[\w./~-]+", value):
        raise LabkitError(f"{file}: [tool.labkit] repository must be an https address, not '{value}'.")
    return value.rstrip("/")


def cell(address: str) -> str:
    """Source of the first code cell (12 lines)."""
    return _CELL.format(repository=address).rstrip("\n")


def badge(address: str, name: str) -> str:
    """A line of markdown that opens the notebook in Colab; empty where the course isn't on GitHub."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?", address)
    if not found:
        return ""
    target = f"https://colab.research.google.com/github/{found[1]}/blob/main/notebooks/{name}.ipynb"
    return f"[Open in Colab]({target})"
