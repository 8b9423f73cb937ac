"""The wheel, built from the sdist, installed into a clean environment and used outside the clone.

Nothing is downloaded: the environment borrows the dependencies of the running one through a path file, which
does not show it the editable labkit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import labkit

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]  # one build for all
WINDOWS = os.name == "nt"


def call(*command: object, cwd: Path, fails: bool = False) -> str:
    """Output of a command that runs without this process's Python and labkit settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("LABKIT_", "PYTHON", "VIRTUAL_ENV"))}
    clean |= {"COLUMNS": "200", "HOME": str(cwd), "XDG_CACHE_HOME": str(cwd / "cache")}
    result = subprocess.run([*map(str, command)], cwd=cwd, env=clean, capture_output=True, text=True)
    assert (result.returncode != 0) == fails, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def dist(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it."""
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, root, cwd=out)
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (file,) = dist.glob(f"labkit-{labkit.__version__}-*.whl")
    return file


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder to work in."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def bin(wheel: Path, home: Path) -> Path:
    """Where the commands of the clean environment are."""
    env = home / "env"
    call(sys.executable, "-m", "venv", "--without-pip", env, cwd=home)
    folder = env / ("Scripts" if WINDOWS else "bin")
    python = folder / ("python.exe" if WINDOWS else "python")
    pip = [sys.executable, "-m", "pip", "--python", python]
    call(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=home)
    site = Path(
        call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    )
    paths = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "borrowed.pth").write_text("\n".join(paths))
    return folder


def members(root: Path, *kinds: str) -> set[str]:
    """Files that git tracks or would track under these folders."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *kinds],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return {name for name in listing.stdout.split("\0") if name and (root / name).is_file()}


def test_wheel_holds_the_package_the_data_and_the_student_notebooks(wheel: Path, root: Path):
    inside = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in inside if ".dist-info/" not in name}
    expected = members(root, "labkit")
    expected |= {f"labkit/_shipped/{name}" for name in members(root, "data", "notebooks")}
    assert packed == expected
    assert any(name.endswith("licenses/LICENSE-content") for name in inside)
    assert not any("cache" in name or name.startswith("solutions") for name in inside)


def test_wheel_is_the_same_with_and_without_the_sdist(wheel: Path, root: Path, tmp_path: Path):
    call(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, root, cwd=tmp_path)
    (direct,) = tmp_path.glob("*.whl")
    assert set(zipfile.ZipFile(direct).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_sdist_holds_the_sources_of_the_notebooks_and_the_tests(dist: Path, root: Path):
    (file,) = dist.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert members(root, "solutions", "tests", "Makefile", "constraints.txt") <= names


def test_installed_labkit_is_not_the_clone(bin: Path, home: Path, root: Path):
    code = "import labkit, labkit.paths as p; print(labkit.__file__); print(p.clone()); print(p.work())"
    file, clone, work = call(bin / "python", "-c", code, cwd=home).split()
    assert Path(file).is_relative_to(home)
    assert clone == "None"
    assert Path(work) == home / "work"


def test_assets_and_presets_are_found(bin: Path, home: Path):
    code = (
        "import labkit, labkit.paths as p\n"
        "print(p.asset('results'), p.shipped('notebooks'), labkit.profile().lab(1).per_class > 0)"
    )
    results, notebooks, preset = call(bin / "python", "-c", code, cwd=home).split()
    assert "_shipped" in results
    assert Path(results).is_dir()
    assert Path(notebooks).is_dir()
    assert preset == "True"


def test_doctor_is_content(bin: Path, home: Path):
    out = call(bin / "labkit", "doctor", cwd=home)
    assert "✗" not in out
    assert re.search(r"✓ ok +notebooks", out)


def test_a_lab_is_listed_opened_kept_checked_and_begun_afresh(bin: Path, home: Path, root: Path):
    listed = call(bin / "labkit", "lab", cwd=home)
    for notebook in (root / "notebooks").glob("*.ipynb"):
        assert re.search(rf"^ +{notebook.name[:2]} ", listed, flags=re.MULTILINE), listed
    out = call(bin / "labkit", "lab", "0", "--no-open", cwd=home)
    copy = Path(out.partition("Your copy:")[2].strip())
    assert copy.parent == home / "work"
    text = copy.read_text(encoding="utf-8")
    copy.write_text(text + "\n", encoding="utf-8")  # the student's edit
    call(bin / "labkit", "lab", "00", "--no-open", cwd=home)
    assert copy.read_text(encoding="utf-8") == text + "\n"
    assert "up to date" in call(bin / "labkit", "update", cwd=home)
    assert "0 of " in call(bin / "labkit", "check", copy, cwd=home, fails=True)
    call(bin / "labkit", "lab", "0", "--fresh", "--no-open", cwd=home)
    assert copy.read_text(encoding="utf-8") == text
    assert len(list(copy.parent.glob("00_*.ipynb"))) == 2


def test_building_needs_a_clone_and_says_so(bin: Path, home: Path):
    assert "Building needs a clone" in call(bin / "labkit", "build", "--check", cwd=home, fails=True)
