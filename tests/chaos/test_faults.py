"""The fault matrix (FAULTS.md) holds every row and rule that tests cite, and the tests that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE / "FAULTS.md").read_text()
SOURCES = {path: path.read_text() for path in HERE.parent.rglob("*.py")}


def test_every_row_and_rule_that_the_chaos_tests_cite_stands_in_the_matrix() -> None:
    there = set(re.findall(r"^\| ([FR]\d+) \|", PAGE, re.MULTILINE))
    cited = {
        found.upper()
        for path, text in SOURCES.items()
        if path.parent == HERE
        for found in re.findall(r"\b[FR]\d{1,2}\b|(?<=_)f\d{1,2}(?=_)", text)
    }
    assert {"F1", "F35", "R1", "R13"} <= cited
    assert cited <= there
    assert there == {f"F{number}" for number in range(1, 44)} | {f"R{number}" for number in range(1, 14)}


def test_every_test_that_the_matrix_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    defined = {name for text in SOURCES.values() for name in re.findall(r"def (test_\w+)", text)}
    assert len(named) > 50
    assert sorted(named - defined) == []
