"""`docs/guarantees.md` names only tests and faults that exist, and every fault is named."""

import re
from pathlib import Path

from chaos.faults import FAULTS
from tests.dialects.test_seed_rows import functions_in

_ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| (?!Promise)(.+?\.) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
_FAULT = re.compile(r"`([a-z]+(?:-[a-z]+)?)`")


def test_every_promise_names_tests_and_faults_that_exist() -> None:
    rows = _ROW.findall((_ROOT / "docs" / "guarantees.md").read_text())
    assert len(rows) > 12
    faults = {fault.name for fault in FAULTS}
    named: set[str] = set()
    for promise, shown in rows:
        tests = _TEST.findall(shown)
        assert tests, promise
        missing = [f"{path}::{name}" for path, name in tests if name not in functions_in(_ROOT / "tests" / path)]
        assert missing == [], promise
        played = set(_FAULT.findall(shown.partition(";")[2]))
        assert played <= faults, promise
        named |= played
    assert named | {"auth-kill"} == faults
