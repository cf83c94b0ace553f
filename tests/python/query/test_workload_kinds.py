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


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parents whose keys begin at 1000, and children of each kind of foreign key without an index."""
    path = tmp_path_factory.mktemp("family") / "family.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        CREATE TABLE parents (id INTEGER PRIMARY KEY, code TEXT UNIQUE, name TEXT);
        CREATE TABLE pairs (a INTEGER, b INTEGER, note TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
        CREATE TABLE plain (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents);
        CREATE TABLE cascading (id INTEGER PRIMARY KEY,
            parent INTEGER REFERENCES parents ON UPDATE CASCADE ON DELETE CASCADE);
        CREATE TABLE by_code (id INTEGER PRIMARY KEY,
            code TEXT REFERENCES parents (code) ON UPDATE SET NULL ON DELETE SET NULL);
        CREATE TABLE of_pairs (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER,
            FOREIGN KEY (a, b) REFERENCES pairs ON UPDATE CASCADE ON DELETE CASCADE);
        """
    )
    numbers = range(1_000, 9_000)
    connection.executemany("INSERT INTO parents VALUES (?, ?, ?)", ((n, f"c{n}", f"n{n}") for n in numbers))
    connection.executemany("INSERT INTO pairs VALUES (?, ?, 'x')", ((n // 4, n % 4) for n in numbers))
    children = range(1_000, 5_000)
    connection.executemany("INSERT INTO plain (parent) VALUES (?)", ((n,) for n in children))
    connection.executemany("INSERT INTO cascading (parent) VALUES (?)", ((n,) for n in children))
    connection.executemany("INSERT INTO by_code (code) VALUES (?)", ((f"c{n}",) for n in children))
    connection.executemany("INSERT INTO of_pairs (a, b) VALUES (?, ?)", ((n // 4, n % 4) for n in children))
    connection.commit()
    connection.close()
    return path


BY_ID = {("plain", "parent"), ("cascading", "parent")}


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("UPDATE parents SET id = ? WHERE id = ?", BY_ID),
        ("UPDATE parents SET id = :new, name = :name WHERE id = :old", BY_ID),
        ("UPDATE main.parents SET name = ?, id = ? WHERE code = ? RETURNING name", BY_ID),
        ("UPDATE parents SET code = ? WHERE id = ?", {("by_code", "code")}),
        ("UPDATE OR REPLACE parents SET code = $to WHERE code = $from", {("by_code", "code")}),
        ("UPDATE pairs SET b = ? WHERE a = ? AND b = ?", {("of_pairs", "a")}),
        ("DELETE FROM parents WHERE id = ?", {*BY_ID, ("by_code", "code")}),
        ("DELETE FROM pairs WHERE a = ? AND b = ?", {("of_pairs", "a")}),
        ("INSERT OR REPLACE INTO parents (id, code, name) VALUES (?, ?, ?)", {*BY_ID, ("by_code", "code")}),
        ("REPLACE INTO parents VALUES (?, ?, ?)", {*BY_ID, ("by_code", "code")}),
        (
            "INSERT INTO parents VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET code = excluded.code || '.'",
            {("by_code", "code")},
        ),
        ("UPDATE parents SET name = ? WHERE id = ?", set()),
        ("INSERT INTO parents (id, code, name) VALUES (?, ?, ?)", set()),
    ],
)
def test_what_changes_a_key_gets_an_index_on_the_rows_that_refer_to_it(
    family: Path, sql: str, wanted: set[tuple[str, str]]
) -> None:
    advice = QueryAnalyzer(family).advise([sql])
    assert {(index.table, index.columns[0]) for index in advice} == wanted
    assert all(index.verified for index in advice)
