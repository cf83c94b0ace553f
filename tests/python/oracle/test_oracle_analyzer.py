"""A rewrite that the analyzer offers gives the rows of the statement that it is offered for, on any data."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcp_performance import QueryAnalyzer, QueryError
from oracle_runs import Oracle

TYPES = ("", "INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", "TEXT COLLATE NOCASE", "TEXT COLLATE RTRIM")
VALUES = (None, 0, 1, 2, 1.0, -0.0, "1", "1.0", "a", "A", "a ", "", b"", b"1", b"a", 2**53, 2.0**53, "NULL")
LITERALS = ("0", "1", "1.0", "'1'", "'a'", "'A'", "'a '", "x'31'", "x''", "2", "1e0", "?", "'it''s'")
RULES = {"or-to-in", "redundant-distinct", "count-to-exists"}
OTHERS = {
    "literal-type",
    "collation-narrow",
    "or-to-union",
    "exists-to-in",
    "coalesce-to-bare",
    "distinct-to-exists",
    "function-to-range",
    "star-to-columns",
    "arithmetic-to-bare",
    "lower-to-nocase",
    "not-in-to-not-exists",
    "correlated-to-join",
}


def constraint_of(rng: random.Random) -> str:
    return rng.choice(("", "", " NOT NULL", " UNIQUE", " NOT NULL UNIQUE", " UNIQUE COLLATE BINARY"))


def schema_of(rng: random.Random) -> list[str]:
    """Two tables with any keys, and perhaps views that take their names' place."""
    statements = []
    for name in ("t", "u"):
        columns = [f"c{i} {rng.choice(TYPES)}{constraint_of(rng)}" for i in range(3)]
        if rng.random() < 0.5:
            columns[0] = rng.choice(
                ("c0 INTEGER PRIMARY KEY", "c0 INTEGER PRIMARY KEY DESC", "c0 TEXT PRIMARY KEY")
            )
        if rng.random() < 0.3:
            collation = rng.choice(("", " COLLATE NOCASE", " COLLATE BINARY"))
            columns.append(f"UNIQUE (c1{collation}, c2)")
        suffix = " WITHOUT ROWID" if "PRIMARY KEY" in columns[0] and rng.random() < 0.3 else ""
        statements.append(f"CREATE TABLE {name} ({', '.join(columns)}){suffix}")
        if rng.random() < 0.3:
            where = rng.choice(("", " WHERE c2 > 0"))
            key = rng.choice(("c1", "c1, c2", "c1 COLLATE NOCASE", "lower(c1)"))
            statements.append(f"CREATE UNIQUE INDEX i{name} ON {name} ({key}){where}")
    return statements


def column_of(rng: random.Random) -> str:
    return rng.choice(("c0", "c1", "c2", "t.c1", '"c2"', "[c1]", "rowid"))


def equalities_of(rng: random.Random) -> str:
    column = column_of(rng)
    names = [column] * rng.randint(2, 4)
    if rng.random() < 0.15:
        names[-1] = column_of(rng)
    operator = rng.choice(("=", "=", "==", "IS"))
    tails = ("", "", "", " COLLATE NOCASE", " + 0")
    return " OR ".join(f"{name} {operator} {rng.choice(LITERALS)}{rng.choice(tails)}" for name in names)


def condition_of(rng: random.Random) -> str:
    chain = equalities_of(rng)
    shapes = (
        "{chain}",
        "({chain})",
        "({chain}) AND c2 = 1",
        "c2 > 0 AND {chain}",
        "{chain} AND c2 = 1",
        "NOT ({chain})",
        "NOT {chain}",
        "({chain}) IS NULL",
        "({chain}) = 1",
        "coalesce(({chain}), 7) = 7",
        "+({chain})",
        "abs({chain}) = 1",
    )
    return rng.choice(shapes).format(chain=chain)


def counting_of(rng: random.Random) -> str:
    inner = rng.choice(("u", "u WHERE u.c1 = t.c1", "u WHERE c2 > 0", "u WHERE u.c1 = t.c1 OR u.c2 = 1"))
    tail = rng.choice(
        ("", "", " LIMIT 0", " GROUP BY c1", " HAVING count(*) > 1", " UNION SELECT 0", " LIMIT 1 OFFSET 1")
    )
    compared = rng.choice(("> 0", ">= 1", "<> 0", "!= 0", "> 1", "= 0"))
    after = rng.choice(("", "", " AND c1 = 'a'", " OR c2 = 1", " + 0", " IS NOT NULL"))
    before = rng.choice(("", "", "c1 = 1 AND ", "NOT ", "1 = "))
    return f"{before}(SELECT count(*) FROM {inner}{tail}) {compared}{after}"


def statement_of(rng: random.Random) -> str:
    order = rng.choice(("", " ORDER BY c1", " ORDER BY c0 DESC LIMIT 3", " GROUP BY c1", " LIMIT 2"))
    kind = rng.randrange(4)
    if kind == 0:
        columns = rng.sample(["c0", "c1", "c2", "t.c0", '"c1"', "c1 AS x"], k=rng.randint(1, 3))
        where = rng.choice(("", f" WHERE {condition_of(rng)}"))
        return f"SELECT DISTINCT {', '.join(columns)} FROM t{rng.choice(('', ' AS t'))}{where}"
    condition = counting_of(rng) if kind == 1 else condition_of(rng)
    if kind == 2:
        return f"SELECT c0, ({condition_of(rng)}) FROM t WHERE {condition}{order}"
    source = rng.choice(("t", "t", "(SELECT * FROM t) AS t", "t JOIN u USING (c0)"))
    return (
        f"SELECT t.c0, c1 FROM {source} WHERE {condition}{order}"
        if source != "t JOIN u USING (c0)"
        else (f"SELECT c0, t.c1 FROM t JOIN u USING (c0) WHERE t.{condition}")
    )


def fill(connection: sqlite3.Connection, rng: random.Random) -> None:
    """Rows of values that compare equal under one rule and not under another; those that fit."""
    for table in ("t", "u"):
        for _ in range(rng.choice((0, 1, 30))):
            row = rng.choices(VALUES, k=3)
            with suppress(sqlite3.IntegrityError):  # a rowid that is no number
                connection.execute(f"INSERT OR IGNORE INTO {table} (c0, c1, c2) VALUES (?, ?, ?)", row)
    connection.commit()


def answers(connection: sqlite3.Connection, sql: str, params: list[Any]) -> Any:
    try:
        return [repr(row) for row in connection.execute(sql, params)]
    except sqlite3.Error as error:
        return type(error)


def test_a_rewrite_gives_the_same_rows(tmp_path: Path, oracle: Oracle) -> None:
    offered = Counter[str]()
    for number, rng in enumerate(oracle.rounds()):
        path = tmp_path / f"{number}.db"
        connection = sqlite3.connect(path)
        for statement in schema_of(rng):
            connection.execute(statement)
        analyzer = QueryAnalyzer(path)
        for _ in range(60):
            sql = statement_of(rng)
            try:
                rewrites = analyzer.analyze(sql).rewrites
            except QueryError:  # no statement of this schema
                continue
            for rewrite in rewrites:
                if rewrite.equivalence != "proved":  # checked on the tables, which are empty
                    continue
                offered[rewrite.rule] += 1
                check(connection, sql, rewrite.sql, rng)
        connection.close()
        path.unlink()
    assert offered.keys() <= RULES | OTHERS
    assert offered


def check(connection: sqlite3.Connection, sql: str, rewritten: str, rng: random.Random) -> None:
    ordered = "ORDER BY" in sql or "LIMIT" not in sql
    for _ in range(4):
        connection.execute("DELETE FROM t")
        connection.execute("DELETE FROM u")
        fill(connection, rng)
        params = rng.choices(VALUES, k=sql.count("?"))
        before, after = answers(connection, sql, params), answers(connection, rewritten, params)
        schema = connection.execute("SELECT group_concat(sql, '; ') FROM sqlite_schema").fetchone()[0]
        rows = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("t", "u")]
        if isinstance(before, list) and isinstance(after, list) and "LIMIT" not in sql:
            before, after = sorted(before), sorted(after)
        assert not ordered or before == after, f"{schema}; rows {rows}\n{sql}\n{rewritten}\nwith {params}"
