"""The house rules of design and style, read off the source: one-way imports, short files, short functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "labkit"
FILES = sorted(PACKAGE.rglob("*.py"))
# Parsed before any test has run: in Python 3.11, a parse that failed elsewhere spoils later ones (gh-106905).
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
# A part imports only parts of a smaller number, and the small modules beside them. `views` stands outside:
# anyone calls it from inside a function, and it reads whatever it draws.
RANK = {"__main__": 9, "cli": 8, "commands": 7, "doctor": 7, "trained": 7, "grading": 6, "course": 5}
RANK |= {
    "bench": 4,
    "pretrain": 4,
    "export": 4,
    "methods": 3,
    "engine": 2,
    "models": 1,
    "losses": 1,
    "data": 1,
}
RANK |= {"errors": 0, "paths": 0, "manifest": 0, "rng": 0, "profiles": 0, "terminal": 0, "": 0}


def part_of(path: Path) -> str:
    """'engine' for labkit/engine/fit.py, 'cli' for labkit/cli.py, '' for labkit/__init__.py."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def lazy_nodes(tree: ast.Module) -> set[ast.AST]:
    """What does not run at import: the bodies of functions and of `if TYPE_CHECKING`."""
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return {inner for block in blocks for inner in ast.walk(block)}


def own_imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """(part of labkit, is it imported only when used, line) for every import of ours."""
    tree = TREES[path]
    lazy = lazy_nodes(tree)
    here = ["labkit", *path.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*here[: len(here) - node.level], *filter(None, [node.module])])
            base = base if node.level else node.module or ""
            # `from .. import data` names parts, `from ..data import load` does not
            targets = [f"{base}.{a.name}" for a in node.names] if base == "labkit" else [base]
        else:
            continue
        for target in targets:
            if target.partition(".")[0] == "labkit":
                part = target.split(".")[1] if "." in target else ""
                yield (part if part in RANK or part == "views" else ""), node in lazy, node.lineno


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_arrows_point_one_way(path: Path):
    part = part_of(path)
    for target, lazy, line in own_imports(path):
        where = f"labkit/{path.relative_to(PACKAGE)}:{line} imports labkit.{target}"
        if target == part:
            continue
        if target == "views":
            assert lazy, f"{where} at the top: import views inside the function that draws"
        elif part == "views":
            assert RANK[target] < RANK["cli"], f"{where}: views know nothing of the command line"
        elif part == "losses":
            pytest.fail(f"{where}: losses import torch and nothing of ours")
        elif RANK[target]:
            assert RANK[target] < RANK[part], f"{where} against the arrow"


def test_every_part_has_a_rank():
    assert {part_of(path) for path in FILES} <= {*RANK, "views"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_files_and_functions_are_short(path: Path):
    length = path.read_text(encoding="utf-8").count("\n")
    assert length <= 300, f"{length} lines: split the file, one concept each"
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None
            docs = node.body[0].end_lineno - node.body[0].lineno + 1 if documented else 0
            lines = node.end_lineno - node.lineno + 1 - docs
            assert lines <= 50, f"{node.name} has {lines} lines without its docstring"
