"""What a workload may hold beside statements that are well, and what the advice says of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mcp_performance import QueryAnalyzer

ROWS = 20_000


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kinds") / "mails.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE mails (id INTEGER PRIMARY KEY, sender TEXT, subject TEXT, state TEXT, size INTEGER);
        CREATE INDEX mails_size ON mails(size);
        """
    )
    connection.executemany(
        "INSERT INTO mails (sender, subject, state, size) VALUES (?, ?, ?, ?)",
        (
            (f"s{n % 5000}@example.org", f"About {n}", "read" if n % 100 else "new", n % 3000)
            for n in range(ROWS)
        ),
    )
    connection.commit()
    connection.close()
    return path


def test_each_arm_of_an_or_gets_its_column_and_no_more(database: Path) -> None:
    advice = QueryAnalyzer(database).advise(["SELECT id FROM mails WHERE sender = 'x' OR subject = 'y'"])
    assert {index.columns for index in advice} == {("sender",), ("subject",)}


def test_a_constant_that_no_row_has_is_not_worth_a_partial_index(database: Path) -> None:
    advice = QueryAnalyzer(database).advise(["SELECT id FROM mails WHERE state = 'gone' AND sender = 'x'"])
    assert [index.ddl for index in advice if " WHERE " in index.ddl] == []


def test_a_plan_that_depends_on_the_values_is_reported(database: Path) -> None:
    """The index serves the pattern that begins with text, and each is measured with its own plan."""
    sql = "SELECT id FROM mails WHERE subject LIKE ?"
    advice = QueryAnalyzer(database).advise([(sql, 5.0, ("About 77%",)), (sql, 5.0, ("%77",))])
    assert [index.columns for index in advice] == [("subject",)]
    assert any(sql in note and "2 plans" in note for note in advice.notes)


def test_what_is_no_query_is_named_but_for_transactions_and_settings(database: Path) -> None:
    advice = QueryAnalyzer(database).advise(
        ["BEGIN", "COMMIT", "PRAGMA user_version", "DROP TABLE mails", "nonsense 1", "VACUUM"]
    )
    named = [note.split(":")[0] for note in advice.notes]
    assert named == ["DROP TABLE mails", "nonsense ?", "VACUUM"]


def test_an_index_stays_where_a_statement_that_cannot_be_run_may_use_it(database: Path) -> None:
    known = "SELECT id FROM mails WHERE sender = 's7@example.org'"
    analyzer = QueryAnalyzer(database)
    assert [drop.index for drop in analyzer.advise([known]).drops] == ["mails_size"]
    foreign = "SELECT id FROM mails WHERE size = rounded_up(7)"
    advice = analyzer.advise([known, foreign])
    assert advice.drops == ()
    assert any("rounded_up" in note for note in advice.notes)


@pytest.mark.parametrize("params", ["[1, 2]", '{"other": 1}', '[{"a": 1}]', "[1e400]", f"[{10**30}]"])
def test_a_log_whose_parameters_do_not_fit_is_advised_on_without_them(
    database: Path, tmp_path: Path, params: str
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(f'{{"sql": "SELECT id FROM mails WHERE sender = ?", "params": {params}}}\n')
    (index,) = QueryAnalyzer(database).advise(log)
    assert index.columns == ("sender",)


def test_a_budget_that_was_spent_is_named(database: Path) -> None:
    statements = [f"SELECT count(*) FROM mails WHERE sender > 'x' AND size <> {n} + 0" for n in range(3)]
    statements += [f"SELECT sum(size) AS s{n} FROM mails WHERE subject = sender" for n in range(20)]
    advice = QueryAnalyzer(database).advise(statements, budget=0.05)
    assert any("budget" in note for note in advice.notes)
