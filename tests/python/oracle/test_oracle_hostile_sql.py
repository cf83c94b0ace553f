"""Statements from anyone: the helper answers or refuses them, and no file is made, changed or removed."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

from mcp_performance import _core
from oracle_runs import Oracle

GRAMMAR: dict[str, tuple[str, ...]] = {
    "statement": (
        "{select}",
        "{select}",
        "{select} UNION ALL {select}",
        "WITH {name} AS ({select}) {select}",
        "WITH RECURSIVE {name}(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM {name}) SELECT x FROM {name}",
        "INSERT INTO {table} VALUES ({expression}, {expression}, {expression})",
        "INSERT INTO {table} {select}",
        "UPDATE {table} SET {column} = {expression} WHERE {expression}",
        "DELETE FROM {table} WHERE {expression}",
        "{escape}",
        "{statement}; {statement}",
        "EXPLAIN {statement}",
        "{garbage}",
        "{garbage}{statement}",
        "{statement} {garbage}",
        "VALUES ({expression})",
    ),
    "escape": (
        "ATTACH DATABASE '{path}' AS x",
        "VACUUM INTO '{path}'",
        "PRAGMA journal_mode = OFF",
        "BEGIN IMMEDIATE",
        "PRAGMA writable_schema = 1",
        "CREATE TABLE z AS {select}",
        "DROP TABLE {table}",
        "REINDEX",
        "ANALYZE",
        "CREATE TEMP TABLE z (a)",
        "ALTER TABLE {table} RENAME TO z",
        "SAVEPOINT z",
        "PRAGMA temp_store_directory = '{path}'",
        "CREATE VIRTUAL TABLE z USING fts5(a)",
        "SELECT load_extension('{path}')",
        "SELECT writefile('{path}', 'x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT fts3_tokenizer('simple', x'00')",
        "SELECT edit('{path}')",
        "UPDATE sqlite_schema SET sql = '{garbage}'",
        "SELECT * FROM pragma_database_list",
        "DELETE FROM sqlite_schema",
        "INSERT INTO words(words) VALUES ('rebuild')",
        "INSERT INTO words(words, rank) VALUES ('merge', 500)",
    ),
    "select": (
        "SELECT {expression} FROM {source}",
        "SELECT * FROM {source} WHERE {expression}",
        "SELECT DISTINCT {column}, count(*) FROM {source} GROUP BY {expression} HAVING {expression}",
        "SELECT {column} FROM {source} ORDER BY {expression} LIMIT {expression} OFFSET {expression}",
        "SELECT {column}, row_number() OVER (PARTITION BY {column} ORDER BY {expression}) FROM {source}",
    ),
    "source": (
        "{table}",
        "{table} AS a JOIN {table} AS b ON {expression}",
        "({select})",
        "{table} INDEXED BY {name}",
        "{table} LEFT JOIN {table} USING ({column})",
        "json_each({expression})",
        "{table} NATURAL JOIN {table}",
    ),
    "table": (
        "users",
        "orders",
        "words",
        "grown",
        "sqlite_schema",
        "nowhere",
        '"users"',
        "main.users",
        "temp.users",
    ),
    "column": (
        "id",
        "email",
        "age",
        "rowid",
        "a.id",
        "b.age",
        "*",
        "nothing",
        "[email]",
        '"no such"',
        "users.email",
    ),
    "name": ("x", "i", "users_age", "`y`", "é"),
    "expression": (
        "{column}",
        "{literal}",
        "{expression} {operator} {expression}",
        "({select})",
        "{column} IN ({select})",
        "EXISTS ({select})",
        "{column} IN ({literal}, {literal})",
        "abs({expression})",
        "CAST({expression} AS TEXT)",
        "CASE WHEN {expression} THEN {expression} ELSE {expression} END",
        "{column} BETWEEN {expression} AND {literal}",
        "NOT {expression}",
        "lower({column})",
        "{column} COLLATE NOCASE",
        "{column} IS NOT NULL",
        "({expression})",
        "zeroblob({literal})",
        "printf('%1000000000d', {literal})",
        "group_concat({column})",
        "{column} MATCH {literal}",
    ),
    "operator": ("=", "<", "AND", "OR", "LIKE", "GLOB", "||", "+", "IS", "->>", "<>", "REGEXP", "%", "<<"),
    "literal": (
        "1",
        "'a'",
        "NULL",
        "?",
        "?99999",
        ":x",
        "x'00ff'",
        "1e999",
        "-9223372036854775808",
        "'%a'",
        "'{garbage}'",
    ),
    "garbage": (
        "'",
        '"',
        ";",
        "--",
        "/*",
        "\x01",
        "é",
        "(",
        ")",
        "((((",
        "💥",
        "0x",
        "?",
        "[",
        "`",
        ",,",
        "\n",
        "SELECT",
    ),
}
DEPTH = 7
HELPER = Path(_core.__file__).with_name("mcp_analyze")


def text_of(rng: random.Random, rule: str, path: Path, depth: int = 0) -> str:
    """A sentence of *rule*; deep ones end with what needs no further rule."""
    choices = GRAMMAR[rule]
    if depth > DEPTH:
        choices = tuple(one for one in choices if "{" not in one) or choices[:1]
    text = rng.choice(choices)
    if depth > DEPTH and "{" in text:
        return "1"
    out = ""
    while text:
        before, brace, rest = text.partition("{")
        out += before
        if not brace:
            break
        name, _, text = rest.partition("}")
        out += str(path) if name == "path" else text_of(rng, name, path, depth + 1)
    return out


def build(path: Path, journal: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        f"PRAGMA journal_mode={journal};"
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT, age INTEGER);"
        "CREATE TABLE orders (id INTEGER, email TEXT, age INTEGER, PRIMARY KEY (id, age)) WITHOUT ROWID;"
        "CREATE INDEX users_age ON users(age); CREATE VIEW grown AS SELECT * FROM users WHERE age > 17;"
        "CREATE VIRTUAL TABLE words USING fts5(email);"
        "INSERT INTO users VALUES (1, 'a', 2), (2, 'b', 30); INSERT INTO orders VALUES (1, 'x', 3);"
    )
    connection.close()


def state(directory: Path) -> dict[str, str]:
    return {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in directory.iterdir() if one.is_file()
    }


def test_nothing_is_written_and_nothing_crashes(tmp_path: Path, oracle: Oracle) -> None:
    outcomes = Counter[str]()
    for number, rng in enumerate(oracle.rounds()):
        directory = tmp_path / str(number)
        directory.mkdir()
        database = directory / "app.db"
        build(database, rng.choice(("delete", "wal")))
        before = state(directory)
        for _ in range(5):
            sql = text_of(rng, "statement", directory / "canary")
            command = [str(HELPER), str(database), "10", str(256 << 20)]
            run = subprocess.run(command, input=sql.encode(), capture_output=True, env={})
            assert run.returncode in {0, -signal.SIGKILL, -signal.SIGXCPU}, f"{run.returncode}: {sql}"
            if run.returncode == 0:
                outcomes.update(json.loads(run.stdout).keys() & {"report", "error"})
        assert state(directory) == before
    assert outcomes
