"""A statement that fails: its error is sqlite3's, and what it leaves is what the next read shows."""

import pickle
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import IntegrityError, PoolClosed, SQLitePool

SCHEMA = [
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v NOT NULL UNIQUE, w CHECK (w < 5))",
    "CREATE TABLE log (id)",
    "CREATE TRIGGER fail BEFORE INSERT ON t WHEN new.w = 3 BEGIN SELECT raise(FAIL, 'three'); END",
    "CREATE TRIGGER never BEFORE DELETE ON t BEGIN SELECT raise(ABORT, 'never'); END",
    "CREATE TRIGGER logged AFTER INSERT ON log BEGIN "
    "INSERT OR FAIL INTO t VALUES (new.id, 70, 0), (1, 0, 0); END",
    "INSERT INTO t VALUES (1, 10, 0), (2, 20, 0)",
]


@pytest.fixture(params=["wal", "rollback", "memory"])
async def pool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SQLitePool]:
    path = ":memory:" if request.param == "memory" else str(tmp_path / "a.db")
    async with SQLitePool(path, wal=request.param == "wal") as pool:
        for statement in SCHEMA:
            await pool.execute(statement)
        yield pool


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("INSERT INTO t VALUES (1, 1, 1)", "SQLITE_CONSTRAINT_PRIMARYKEY"),
        ("INSERT INTO t VALUES (3, 10, 1)", "SQLITE_CONSTRAINT_UNIQUE"),
        ("INSERT INTO t VALUES (3, 30, 9)", "SQLITE_CONSTRAINT_CHECK"),
        ("INSERT INTO t VALUES (3, NULL, 1)", "SQLITE_CONSTRAINT_NOTNULL"),
        ("DELETE FROM t", "SQLITE_CONSTRAINT_TRIGGER"),
        ("INSERT INTO t VALUES ('x', 2, 1)", "SQLITE_MISMATCH"),
        ("SELECT * FROM nowhere", "SQLITE_ERROR"),
        ("UPDATE t SET w = abs(-9223372036854775807 - 1)", "SQLITE_ERROR"),
        ("SELECT zeroblob(2000000000)", "SQLITE_TOOBIG"),
    ],
)
async def test_an_error_has_the_code_and_the_name_that_sqlite3_gives_it(
    pool: SQLitePool, statement: str, name: str
) -> None:
    theirs = sqlite3.connect(":memory:")
    for sql in SCHEMA:
        theirs.execute(sql)
    with pytest.raises(sqlite3.Error) as expected:
        theirs.execute(statement)
    theirs.close()
    with pytest.raises(sqlite3.DatabaseError) as caught:
        await pool.execute(statement)
    assert caught.value.sqlite_errorname == expected.value.sqlite_errorname == name
    assert caught.value.sqlite_errorcode == expected.value.sqlite_errorcode
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (type(copied), copied.sqlite_errorname) == (type(caught.value), name)


async def test_a_failure_of_the_pool_itself_has_no_code_of_sqlite(pool: SQLitePool) -> None:
    await pool.close()
    with pytest.raises(PoolClosed) as caught:
        await pool.fetch("SELECT 1")
    assert caught.value.code == 0
    assert not hasattr(caught.value, "sqlite_errorcode")
    assert not hasattr(caught.value, "sqlite_errorname")


Way = Callable[[Any], Awaitable[object]]
# How a statement fails, and the keys that there are after it within a transaction.
WAYS: dict[str, tuple[Way, list[int]]] = {
    "OR FAIL": (lambda c: c.execute("INSERT OR FAIL INTO t VALUES (50, 50, 0), (1, 0, 0)"), [1, 2, 50]),
    "RETURNING": (
        lambda c: c.fetch("INSERT OR FAIL INTO t VALUES (50, 50, 0), (1, 0, 0) RETURNING id"),
        [1, 2, 50],
    ),
    "RAISE(FAIL)": (lambda c: c.execute("INSERT INTO t VALUES (51, 51, 0), (52, 52, 3)"), [1, 2, 51]),
    "in a trigger": (lambda c: c.execute("INSERT INTO log VALUES (70)"), [1, 2, 70]),
    "UPDATE OR FAIL": (lambda c: c.execute("UPDATE OR FAIL t SET id = 30"), [2, 30]),
    "abort": (lambda c: c.execute("INSERT INTO t VALUES (53, 53, 0), (1, 0, 0)"), [1, 2]),
    "many": (lambda c: c.executemany("INSERT INTO t VALUES (?, ?, 0)", [(60, 60), (61, 61), (1, 1)]), [1, 2]),
    "many OR FAIL": (
        lambda c: c.executemany("INSERT OR FAIL INTO t VALUES (?, ?, 0)", [(60, 60), (1, 1)]),
        [1, 2],
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_statement_that_fails_by_itself_leaves_nothing(pool: SQLitePool, way: str) -> None:
    before = await pool.fetch("SELECT id FROM t ORDER BY id")
    with pytest.raises(IntegrityError):
        await WAYS[way][0](pool)
    assert await pool.fetch("SELECT id FROM t ORDER BY id", cache=False) == before


@pytest.mark.parametrize("kind", ["transaction", "within one"])
@pytest.mark.parametrize("way", WAYS)
async def test_what_a_failed_statement_leaves_in_a_transaction_is_what_is_read_later(
    pool: SQLitePool, way: str, kind: str
) -> None:
    fail, left = WAYS[way]
    keys = "SELECT id FROM t ORDER BY id"
    for _ in range(2):
        assert await pool.fetch(keys) == [(1,), (2,)]
    async with pool.transaction() as connection:
        if kind == "transaction":
            with pytest.raises(IntegrityError):
                await fail(connection)
        else:
            async with connection.transaction():
                with pytest.raises(IntegrityError):
                    await fail(connection)
        inside = await connection.fetch(keys)
    assert inside == [(key,) for key in left]
    assert await pool.fetch(keys) == inside
    assert await pool.fetch(keys, cache=False) == inside


async def test_many_rows_that_fail_leave_the_rest_of_a_transaction(pool: SQLitePool) -> None:
    insert = "INSERT INTO t VALUES (?, ?, 0)"
    async with pool.transaction() as connection:
        await connection.execute("INSERT INTO t VALUES (40, 40, 0)")
        with pytest.raises(IntegrityError):
            await connection.executemany(insert, [(60, 60), (61, 61), (1, 1)])
        assert await connection.executemany(insert, [(62, 62), (63, 63)]) == 2
    assert await pool.fetch("SELECT id FROM t WHERE id > 2") == [(40,), (62,), (63,)]
    with pool.blocking.transaction() as blocking:
        with pytest.raises(IntegrityError):
            blocking.executemany(insert, [(64, 64), (1, 1)])
        blocking.execute("INSERT INTO t VALUES (65, 65, 0)")
    assert await pool.fetch("SELECT id FROM t WHERE id > 63") == [(65,)]
