"""What the README says is true: its links, commands, syllabus and Python example."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from labkit import cli, methods


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def test_links_lead_to_files(readme: str, root: Path):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", readme)
    assert targets
    assert [t for t in targets if not (root / t).exists()] == []


def test_every_verb_is_listed_and_every_listed_verb_exists(readme: str):
    command = typer.main.get_command(cli.app)
    named = set(re.findall(r"`labkit ([a-z]+)", readme))
    assert named == set(command.commands)


def test_make_targets_exist(readme: str, root: Path):
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)`", readme)) <= targets


def test_syllabus_marks_the_labs_of_this_release(readme: str, root: Path):
    rows = re.findall(r"^\| (\d\d) \|.*\| (yes)? ?\|$", readme, flags=re.MULTILINE)
    assert [number for number, _ in rows] == [f"{n:02d}" for n in range(16)]
    marked = [number for number, here in rows if here]
    assert marked == sorted(p.name[:2] for p in (root / "solutions").glob("[0-9][0-9]_*.py"))


def test_every_method_has_its_row(readme: str):
    table = readme.partition("## Methods")[2].partition("## ")[0]
    assert sorted(re.findall(r"^\| `([a-z0-9_]+)` \|", table, flags=re.MULTILINE)) == methods.available()


@pytest.mark.slow
def test_python_example_runs(readme: str, tmp_path: Path):
    (example,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    result = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "accuracy" in result.stdout
