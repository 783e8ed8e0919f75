"""`docs/seeds.md` has every row of the five products' guides, and names only tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_ROWS = {"A": 35, "B": 40, "C": 37, "D": 38, "E": 23}
_ROW = re.compile(r"^\| ([A-E]\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


@pytest.fixture(scope="module")
def document() -> str:
    return (_ROOT / "docs" / "seeds.md").read_text()


@cache
def functions_in(path: Path) -> frozenset[str]:
    """The names of the tests in a module."""
    body = ast.parse(path.read_text()).body if path.is_file() else []
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(name for name in functions if name.startswith("test_"))


def test_every_row_is_there_once_and_in_order(document: str) -> None:
    wanted = [f"{letter}{number}" for letter, count in _ROWS.items() for number in range(1, count + 1)]
    assert [row for row, _, _ in _ROW.findall(document)] == wanted


def test_every_row_says_where_it_lives_or_that_it_does_not_yet(document: str) -> None:
    for row, _, where in _ROW.findall(document):
        assert "`" in where or "not yet" in where, f"{row} says nowhere: {where}"


def test_every_test_that_is_named_exists(document: str) -> None:
    named = _TEST.findall(document)
    missing = [f"{path}::{name}" for path, name in named if name not in functions_in(_ROOT / "tests" / path)]
    assert len(named) > 150
    assert missing == []


def test_every_test_of_a_row_is_named_by_that_row(document: str) -> None:
    where = {row: text for row, _, text in _ROW.findall(document)}
    unnamed = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for name in sorted(functions_in(path)):
            row = re.match(r"test_([a-e]\d+)_", name)
            if row and f"`dialects/{path.name}::{name}`" not in where[row[1].upper()]:
                unnamed.append(f"{row[1].upper()}: {path.name}::{name}")
    assert unnamed == []
