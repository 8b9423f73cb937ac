"""`labkit doctor`: is this machine ready for the labs, and if not, what to do about it.

Every finding is made by a function of its own; one that breaks becomes a failing line, never a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from . import paths

GIB = 2**30
MEMORY_NEEDED = 3 * GIB  # the largest notebook
DISK_NEEDED = 1 * GIB  # runs, caches and checkpoints of all labs under the cpu profile
SHOWN = ("torch", "torchvision", "timm", "transformers", "jupyterlab")  # other versions are shown when wrong


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, whether it is well, what was found, how to mend it."""

    what: str
    ok: bool
    found: str
    mend: str = ""


def examine() -> list[Finding]:
    """All findings on this machine, in the order in which they are best mended."""
    checks = (_python, _packages, _profile, _device, _memory, _disk, _shipped, _notebooks, _kernel)
    return [finding for check in checks for finding in _guarded(check)]


def _guarded(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of one check; what it raises is a finding too."""
    try:
        return list(check())
    except Exception as error:
        name = check.__name__.strip("_")
        reason = " ".join(str(error).split()) or type(error).__name__
        return [Finding(name, False, reason, "mend this, then run `labkit doctor` again")]


def _python() -> Iterator[Finding]:
    version = "{}.{}.{}".format(*sys.version_info[:3])
    well = (3, 11) <= sys.version_info[:2] <= (3, 14)
    yield Finding("Python", well, version, "install Python 3.11-3.14 and make a new environment")


def _packages() -> Iterator[Finding]:
    """Installed versions against the ranges in labkit's own metadata."""
    from packaging.requirements import Requirement

    yield Finding("labkit", True, f"{metadata.version('labkit')} in {Path(__file__).parent}")
    for line in metadata.requires("labkit") or []:
        need = Requirement(line)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        mend = f'python -m pip install "{need.name}{need.specifier}"'
        try:
            version = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            yield Finding(need.name, False, "not installed", mend)
            continue
        well = need.specifier.contains(version, prereleases=True)
        if not well:
            yield Finding(need.name, False, f"{version}, but {need.specifier} is needed", mend)
        elif need.name in SHOWN:
            yield Finding(need.name, True, version)


def _profile() -> Iterator[Finding]:
    """The profile, and the data sets that its labs read; `labkit data list` shows the others."""
    from . import data
    from .errors import LabkitError
    from .profiles import profile

    try:
        chosen = profile()
    except LabkitError as error:
        yield Finding("profile", False, str(error), "set LABKIT_PROFILE to one of these, or unset it")
        return
    origin = "from LABKIT_PROFILE" if os.environ.get("LABKIT_PROFILE") else "the default"
    yield Finding("profile", True, f"{chosen.name} ({origin})")
    known = {entry.name: entry for entry in data.info()}
    for name in dict.fromkeys((chosen.digits, chosen.images)):
        if name in known:  # others belong to labs that this release doesn't have
            entry = known[name]
            found = "here" if entry.present else f"missing ({entry.size} to download)"
            yield Finding(f"data set {name}", entry.present, found, entry.fetch)


def _device() -> Iterator[Finding]:
    """Processor and accelerator; no GPU is no fault."""
    import torch

    yield Finding("processor", True, f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        found = f"{gpu.name}, {gpu.total_memory / GIB:.0f} GiB, {'bf16' if native else 'fp16'} autocast"
    elif torch.backends.mps.is_available():
        found = "Apple GPU (mps)"
    else:
        found = "none; the cpu profile needs none"
    yield Finding("GPU", True, found)


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield Finding(
        "memory",
        memory.available >= MEMORY_NEEDED,
        f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free, a lab needs up to 3",
        "close other programs and notebooks",
    )


def _disk() -> Iterator[Finding]:
    """Free space, and leave to write, where labkit writes."""
    import shutil

    for what, folder in (("cache folder", paths.cache()), ("work folder", paths.work())):
        there = next(p for p in (folder, *folder.resolve().parents) if p.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            yield Finding(what, False, f"can't write to {folder}", _elsewhere(what))
            continue
        free = shutil.disk_usage(there).free
        found = f"{folder}, {free / GIB:.1f} GiB free"
        yield Finding(what, free >= DISK_NEEDED, found, "free some space: 1 GiB is needed")


def _elsewhere(what: str) -> str:
    if what == "cache folder":
        return "set LABKIT_CACHE to a folder you can write to"
    return "start labkit in a folder you can write to"


def _shipped() -> Iterator[Finding]:
    """Weights and results against the checksums in data/manifest.json."""
    import hashlib
    import json

    folder = paths.shipped("data")
    if not folder.is_dir():
        mend = "unset LABKIT_DATA" if os.environ.get("LABKIT_DATA") else "reinstall labkit"
        yield Finding("shipped data", False, f"no folder {folder}", mend)
        return
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return  # nothing ships yet
    files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    wrong = []
    for name, entry in files.items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            wrong.append(name)
    found = f"missing or damaged: {', '.join(wrong)}" if wrong else f"{len(files)} files as released"
    yield Finding("shipped data", not wrong, found, _restore(folder))


def _notebooks() -> Iterator[Finding]:
    folder = paths.shipped("notebooks")
    count = len(list(folder.glob("[0-9][0-9]_*.ipynb")))
    mend = "labkit build" if paths.clone() else "reinstall labkit"
    yield Finding("notebooks", count > 0, f"{count} labs in {folder}", mend)


def _restore(folder: Path) -> str:
    return f"git checkout -- {folder}" if paths.clone() else "reinstall labkit"


def _kernel() -> Iterator[Finding]:
    """The kernel that notebooks name, python3, must be this Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    mend = "python -m ipykernel install --sys-prefix"
    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        yield Finding("Jupyter kernel", False, "no kernel 'python3'", mend)
        return
    # Not resolved: a virtual environment's python is a link to the one it was made from.
    home, here = Path(command).parent, Path(sys.executable).parent
    same = not home.is_absolute() or os.path.abspath(home) == os.path.abspath(here)
    yield Finding("Jupyter kernel", same, f"python3 starts {command}", mend)
