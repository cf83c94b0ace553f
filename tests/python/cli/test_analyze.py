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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"SELECT id FROM orders\0;\nSELECT 1;", "NUL in line 1"),
        (b"SELECT 1;\n\nSELECT '\0';", "NUL in line 3"),
        (b"\xff\xfeS\0E\0", "UTF-8"),
        (b"", "no statement"),
        (b"-- nothing\r\n", "no statement"),
        (b"\xef\xbb\xbf", "no statement"),
        (b"SELECT 1;\r\nDROP TABLE orders;\r\n", "all.sql:2"),
        (None, "Is a directory"),
    ],
)
def test_a_file_that_holds_no_text_of_statements_has_code_2(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, reason: str
) -> None:
    file = tmp_path / "all.sql"
    if content is None:
        file = tmp_path / "folder"
        file.mkdir()
    else:
        file.write_bytes(content)
    assert run(database, file) == 2
    assert reason in (said := capsys.readouterr().err)
    assert str(file) in said


def test_a_mark_in_front_and_lines_of_other_systems_are_read(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a b.sql"
    file.write_bytes(f"\ufeff{FINE};\r\n  {ILL};\r\n".replace("\nFROM", "\r\nFROM").encode())
    assert run(database, file) == 0
    out = capsys.readouterr().out
    assert "\r" not in out
    assert run(database, file, "--format", "sarif") == 0
    results = json.loads(capsys.readouterr().out)["runs"][0]["results"]
    place = next(one for one in results if one["ruleId"] == "full-scan")["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].endswith("/a%20b.sql")
    assert place["region"] == {"startLine": 3, "startColumn": 6, "endColumn": 12}
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'\xef\xbb\xbf{"sql": "SELECT total FROM orders WHERE customer = 7"}\r\n')
    assert run(database, "--workload", log, "--fail-on", "high") == 1


def test_the_place_is_underlined_whatever_is_before_it(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = "lower(state)"
    wide = f"SELECT total, '漢字é' FROM orders WHERE {call} = 'x'"
    tabs = f"SELECT total FROM orders\n\t\tWHERE {call} = 'x'"
    long = f"SELECT {'total, ' * 90}id FROM orders WHERE {call} = 'x' AND id <> {' + '.join(['1'] * 90)}"
    for sql, margin in ((wide, 10 + 38 + 2), (tabs, 10 + 2 + 6), (long, None)):
        assert run(database, sql) == 0
        lines = capsys.readouterr().out.split("\n")
        under = next(number for number, line in enumerate(lines) if line.strip() == "^" * len(call))
        assert call in lines[under - 1]
        assert len(lines[under - 1]) < 140
        at = lines[under].index("^")
        assert margin is None or at == margin
        if margin is None:
            assert lines[under - 1][at:].startswith(call)
    assert lines[under].count("\t") == 0


def test_nothing_of_a_statement_commands_the_terminal(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT total AS \"\x1b]0;title\x07\" FROM orders WHERE state = '\x1b[2J' AND lower(state) = '\x9b'"
    assert run(database, sql, "--advise") == 0
    out = capsys.readouterr().out
    assert "FROM orders" in out
    assert not {"\x1b", "\x07", "\x9b"} & set(out)


@pytest.mark.parametrize("words", [("--budget", "-1"), ("--budget", "nan"), ("--max-indexes", "0")])
def test_a_bad_option_is_refused_whether_it_is_needed_or_not(
    database: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    assert run(database, FINE, *words) == 2
    assert words[0] in capsys.readouterr().err
