"""``mcp-performance analyze``: what it takes, what it prints, and its exit codes."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest

from mcp_performance.cli import main

ILL = "SELECT total\nFROM orders\nWHERE lower(state) = 'open'"
FINE = "SELECT total FROM orders WHERE id = 7"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, state TEXT, total REAL)"
    )
    connection.executemany(
        "INSERT INTO orders (customer, state, total) VALUES (?, ?, ?)",
        [(i % 500, "öpen", i) for i in range(5000)],
    )
    connection.commit()
    connection.close()
    return path


def run(*words: object) -> int:
    return main(["analyze", *map(str, words)])


@pytest.mark.parametrize(
    ("sql", "level", "code"),
    [
        (FINE, "info", 0),
        (ILL, "never", 0),
        (ILL, "high", 1),
        (ILL, "warning", 1),
        ("SELECT * FROM orders WHERE id = 7", "warning", 0),
        ("SELECT * FROM orders WHERE id = 7", "info", 1),
        ("INSERT INTO orders (total) VALUES (1)", "info", 0),
    ],
)
def test_the_exit_code_says_whether_there_are_findings(
    database: Path, sql: str, level: str, code: int
) -> None:
    assert run(database, sql, "--fail-on", level) == code


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELEC 1", "SELEC"),
        ("nonsense", "nonsense"),
        ("", "statement"),
        ("CREATE TABLE t (a)", "CREATE"),
        ("DROP TABLE orders", "DROP"),
        ("PRAGMA user_version", "PRAGMA"),
        ("SELECT nothing FROM orders", "nothing"),
        ("SELECT 1 FROM nowhere", "nowhere"),
        ("SELECT 1; SELECT 2", "more than one"),
        ("missing.sql", "missing.sql"),
        ("(SELECT 1)", "("),
        ("WITH nonsense", "incomplete"),
        ("VALUES nonsense", "nonsense"),
        ("/* CREATE */ DROP TABLE orders", "DROP"),
        ("/* never closed SELECT 1", "statement"),
    ],
)
def test_what_cannot_be_analyzed_has_a_reason_and_code_2(
    database: Path, capsys: pytest.CaptureFixture[str], sql: str, reason: str
) -> None:
    assert run(database, sql) == 2
    assert reason in capsys.readouterr().err


def test_a_database_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(b"no database at all" * 100)
    for path in (tmp_path / "missing.db", tmp_path, other):
        assert run(path, "SELECT 1") == 2
        assert str(path) in capsys.readouterr().err
    assert not (tmp_path / "missing.db").exists()


def test_text_underlines_the_place_and_draws_the_plan(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(database, ILL) == 0
    lines = capsys.readouterr().out.split("\n")
    place = lines.index("          WHERE lower(state) = 'open'")
    assert lines[place + 1] == " " * 16 + "^" * len("lower(state)")
    assert any(line.strip() == "└─ SCAN orders" for line in lines)
    assert "\x1b" not in "".join(lines)


def test_places_are_counted_in_characters(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(database, "SELECT 'äöü€' AS x, total FROM orders WHERE customer = 7", "--format", "json") == 0
    (query,) = json.loads(capsys.readouterr().out)["queries"]
    scan = next(issue for issue in query["issues"] if issue["code"] == "full-scan")
    assert query["sql"][scan["offset"] :][: scan["length"]] == "orders"
    assert scan["evidence"] == "SCAN orders"


@pytest.fixture
def statements(tmp_path: Path) -> Path:
    path = tmp_path / "all.sql"
    path.write_text(f"-- the ill one\n\n{ILL};\n\n{FINE};\nSELECT ';' FROM orders\n  WHERE customer = 3")
    return path


def test_a_file_of_statements(database: Path, statements: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(database, statements, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)["queries"]
    assert [(query["source"], query["line"]) for query in found] == [
        (str(statements), 3),
        (str(statements), 7),
        (str(statements), 8),
    ]
    assert [bool(query["issues"]) for query in found] == [True, False, True]


def test_statements_are_told_apart_by_semicolons_and_not_by_lines(
    database: Path, statements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    statements.write_text(
        "/* all; of\n them */ SELECT 1; SELECT ';' ; -- no; more\nSELECT 3;;\n/* a */ -- b\nSELECT\n4"
    )
    assert run(database, statements, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)["queries"]
    assert [(query["sql"], query["line"]) for query in found] == [
        ("SELECT 1;", 2),
        ("SELECT ';' ;", 2),
        ("SELECT 3;", 3),
        ("SELECT\n4", 5),
    ]


def test_a_comment_before_a_statement_is_none_of_it(database: Path) -> None:
    assert run(database, f"/* a; b */ -- c\n {ILL}", "--fail-on", "high") == 1


def test_a_step_of_the_plan_says_how_many_rows_it_goes_over(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(database, ILL) == 0
    assert re.search(r"└─ SCAN orders\n +[\d,]+ rows each time\n", capsys.readouterr().out)


def test_an_error_in_a_file_names_file_and_line(
    database: Path, statements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    statements.write_text(f"{FINE};\nSELECT nothing FROM orders;\n")
    assert run(database, statements) == 2
    assert f"{statements}:2" in capsys.readouterr().err


def test_sarif_places_each_finding(
    database: Path, statements: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(database, statements, "--format", "sarif", "--fail-on", "high") == 1
    log = json.loads(capsys.readouterr().out)
    assert log["version"] == "2.1.0"
    (one,) = log["runs"]
    rules = {rule["id"] for rule in one["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in one["results"]} == rules
    function = next(result for result in one["results"] if result["ruleId"] == "function-on-column")
    place = function["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == str(statements)
    assert place["region"] == {"startLine": 5, "startColumn": 7, "endColumn": 19}
    assert {result["level"] for result in one["results"]} <= {"note", "warning", "error"}


@pytest.mark.parametrize(
    ("form", "mark"), [("html", "<!doctype html>"), ("markdown", "| severity |"), ("text", "SCAN")]
)
def test_each_form_names_finding_and_suggestion(
    database: Path, capsys: pytest.CaptureFixture[str], form: str, mark: str
) -> None:
    assert (
        run(database, "SELECT total FROM orders WHERE customer = 7 AND state <> '<i>'", "--format", form) == 0
    )
    printed = capsys.readouterr().out
    assert mark in printed
    assert "full-scan" in printed
    assert "CREATE INDEX" in printed
    assert form != "html" or "<i>" not in printed


def test_a_workload_is_advised_on(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"sql": "SELECT total FROM orders WHERE customer = ?", "params": [7], "calls": 9}\n')
    assert run(database, "--workload", log) == 0
    printed = capsys.readouterr().out
    assert "CREATE INDEX idx_orders_customer ON orders(customer);" in printed
    assert "full-scan" in printed
    assert "bytes" in printed
    assert run(database, "--workload", log, "--fail-on", "high", "--format", "json") == 1
    (index,) = json.loads(capsys.readouterr().out)["advice"]
    assert index["verified"] is True


@pytest.mark.parametrize(
    "content",
    [None, "", "-- nothing\n", "SELECT nothing FROM orders\n", '{"sql": 5}\n', "no SQL\nat all\n"],
)
def test_a_workload_that_cannot_be_used_is_named(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    log = tmp_path / "log.jsonl"
    if content is not None:
        log.write_text(content)
    assert run(database, "--workload", log) == 2
    assert str(log) in capsys.readouterr().err


def test_neither_statement_nor_workload_is_an_error(database: Path) -> None:
    assert run(database) == 2
