"""What the README tells Windows and macOS users, from a copy of the clone: venv, pip install, demo.

A script, not a pytest test: it downloads about 3 GB unless pip has them cached. No constraints are used, so
it also shows that the newest versions of everything work together. Run it: python tests/install/plain.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
DISK_NEEDED = 8  # GB: the environment, pip's unpacking and the copy


def copy_clone(target: Path) -> None:
    """Copy what git tracks or would track: neither .venv nor runs, work and caches."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CLONE,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listing.stdout.decode().split("\0")):
        if (CLONE / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CLONE / name, target / name)


def run(title: str, *command: str | Path, cwd: Path) -> None:
    """Run a command without this process's Python settings, and print its minutes."""
    print(f"\n== {title}", flush=True)
    began = time.perf_counter()
    # An activated environment or LABKIT_... settings must not help or hinder.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LABKIT_", "PYTHON", "VIRTUAL_ENV"))}
    subprocess.run([str(part) for part in command], cwd=cwd, env=clean, check=True)
    print(f"== {title}: {(time.perf_counter() - began) / 60:.1f} min", flush=True)


def main() -> int:
    free = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    if free < DISK_NEEDED:
        print(
            f"plain.py needs {DISK_NEEDED} GB in {tempfile.gettempdir()}, but {free:.1f} GB are free:"
            " free some, or set TMPDIR to a larger disk.",
            file=sys.stderr,
        )
        return 1
    with tempfile.TemporaryDirectory(prefix="labkit-plain-") as folder:
        home, copy = Path(folder) / "home", Path(folder) / "labkit"
        home.mkdir()
        copy_clone(copy)
        bin = copy / ".venv" / ("Scripts" if os.name == "nt" else "bin")
        run("python -m venv .venv", sys.executable, "-m", "venv", ".venv", cwd=copy)
        run("pip install .", bin / "python", "-m", "pip", "install", "--progress-bar", "off", ".", cwd=copy)
        # From elsewhere and without the sources, so that only what was installed can be used.
        shutil.rmtree(copy / "labkit")
        run("labkit demo digits", bin / "labkit", "demo", "digits", "--out", home / "demo", cwd=home)
        run("labkit lab", bin / "labkit", "lab", cwd=home)
        if not (home / "demo" / "report.html").is_file():
            print("labkit demo wrote no report.html", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
