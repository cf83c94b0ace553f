"""ORDER BY random(): every row is given a number and sorted by it."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from mcp_performance import Issue, QueryAnalyzer

ROOT = Path(__file__).parents[3]


@pytest.fixture
def analyzer(tmp_path: Path) -> QueryAnalyzer:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE big (id INTEGER PRIMARY KEY, random TEXT)")
        connection.execute("CREATE TABLE tiny (id INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO big (random) VALUES (?)", [("x",)] * 20_000)
        connection.execute("INSERT INTO tiny DEFAULT VALUES")
    connection.close()
    return QueryAnalyzer(tmp_path / "a.db")


def found(analyzer: QueryAnalyzer, sql: str) -> list[Issue]:
    return [issue for issue in analyzer.analyze(sql).issues if issue.code == "random-order"]


@pytest.mark.parametrize(
    ("sql", "severity", "table"),
    [
        ("SELECT id FROM big ORDER BY random() LIMIT 1", "warning", "big"),
        ("select id from big order /* now */ by RANDOM ( ) limit 1", "warning", "big"),
        ("SELECT id FROM tiny ORDER BY random() LIMIT 1", "info", "tiny"),
        ("SELECT * FROM big WHERE id IN (SELECT id FROM big ORDER BY random() LIMIT 5)", "warning", None),
    ],
)
def test_rows_in_a_random_order_are_found(
    analyzer: QueryAnalyzer, sql: str, severity: str, table: str | None
) -> None:
    assert [(issue.severity, issue.table) for issue in found(analyzer, sql)] == [(severity, table)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT random() FROM big ORDER BY id",
        "SELECT id FROM big ORDER BY random LIMIT 1",  # the column
        "SELECT id FROM big WHERE random = 'ORDER BY random()'",
        "SELECT id FROM big WHERE id >= abs(random()) % 20000 ORDER BY id LIMIT 1",
    ],
)
def test_what_only_looks_like_it_is_not(analyzer: QueryAnalyzer, sql: str) -> None:
    assert found(analyzer, sql) == []


def test_every_code_of_the_native_core_is_documented() -> None:
    codes = {
        code
        for source in (ROOT / "cpp/query").glob("*.cpp")
        for code in re.findall(r'\.code = "([a-z-]+)"', source.read_text())
    }
    documented = set(
        re.findall(r"``([a-z-]+)``", (ROOT / "python/mcp_performance/query/_report.py").read_text())
    )
    assert {"random-order", "full-scan"} <= codes
    assert codes <= documented
