"""The pool raises what a program over ``sqlite3`` catches: the class of sqlite3 is a base of each error."""

import contextlib
import pathlib
import sqlite3
from collections.abc import AsyncIterator

import pytest

import mcp_performance
from mcp_performance import Error, QueryError, SQLitePool

SCHEMA = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b UNIQUE, CHECK (id < 1000));
    CREATE TABLE s (a INTEGER) STRICT;
    INSERT INTO t VALUES (1, 'a', 1);
"""

# Statement and parameters that both refuse.
CASES = [
    ("SELEC", ()),
    ("SELECT * FROM missing", ()),
    ("SELECT missing FROM t", ()),
    ("SELECT missing(1)", ()),
    ("SELECT abs(-9223372036854775807 - 1)", ()),
    ("SELECT json('{')", ()),
    ("INSERT INTO t VALUES ('x', 'a', 2)", ()),
    ("INSERT INTO t VALUES (1, 'a', 2)", ()),
    ("INSERT INTO t VALUES (2, NULL, 2)", ()),
    ("INSERT INTO t VALUES (2, 'a', 1)", ()),
    ("INSERT INTO t VALUES (1000, 'a', 2)", ()),
    ("INSERT INTO s VALUES ('a')", ()),
    ("SELECT zeroblob(2000000000)", ()),
    ("SELECT randomblob(?)", (2_000_000_000,)),
    ("SELECT replace(hex(zeroblob(10000)), '0', hex(zeroblob(100000)))", ()),
    ("SELECT ?, ?", (1,)),
    ("SELECT ?", (1, 2)),
    ("SELECT 1", (1,)),
    ("SELECT ?3", (1, 2)),
    ("SELECT :a", {}),
    ("SELECT :a", {"b": 1}),
    ("SELECT ?", {"a": 1}),
    ("SELECT 1; SELECT 2", ()),
    ("SELECT '\0'", ()),
    ("SELECT ?", (1 << 63,)),
    ("SELECT ?", ("\ud800",)),
    ("SELECT \ud800", ()),
]


@pytest.fixture
async def pool(tmp_path: pathlib.Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db", size=2, synchronous="OFF") as pool:
        for statement in SCHEMA.split(";")[:-1]:
            await pool.execute(statement)
        yield pool


@pytest.mark.parametrize(("sql", "params"), CASES, ids=lambda part: ascii(part)[:40])
async def test_an_error_is_of_the_class_that_sqlite3_raises(pool, sql, params):
    with contextlib.closing(sqlite3.connect(":memory:")) as peer:
        peer.executescript(SCHEMA)
        with pytest.raises(Exception) as theirs:  # noqa: PT011
            peer.execute(sql, params).fetchall()
    for call in (pool.fetch, pool.execute):
        with pytest.raises(theirs.type) as ours:
            await call(sql, params)
        assert isinstance(ours.value, Error) or type(ours.value) is theirs.type
        if isinstance(ours.value, Error):
            assert getattr(ours.value, "sqlite_errorcode", 0) == getattr(
                theirs.value, "sqlite_errorcode", ours.value.code
            )


@pytest.mark.parametrize("name", ["DataError", "ProgrammingError", "IntegrityError", "DatabaseError"])
def test_a_class_of_the_name_of_one_of_sqlite3_is_one(name):
    ours = getattr(mcp_performance, name)
    assert issubclass(ours, getattr(sqlite3, name))
    assert issubclass(ours, Error)


async def test_what_is_wrong_with_a_call_is_still_a_query_error(pool):
    for sql, params in [("SELECT ?", ()), ("SELECT zeroblob(2000000000)", ())]:
        with pytest.raises(QueryError):
            await pool.fetch(sql, params)


async def test_a_closed_pool_raises_what_a_closed_connection_does(pool):
    async with pool.acquire() as given_back:
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="given back"):
        await given_back.fetch("SELECT 1")
    await pool.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        await pool.fetch("SELECT 1")


async def test_a_lock_that_lasts_is_an_operational_error(tmp_path):
    path = tmp_path / "app.db"
    async with SQLitePool(path, busy_timeout=0) as pool:
        await pool.execute("CREATE TABLE t (a)")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError) as caught:
                await pool.execute("INSERT INTO t VALUES (1)", timeout=0.01)
            assert isinstance(caught.value, TimeoutError)
            other.execute("ROLLBACK")


@pytest.mark.parametrize("name", ["missing/app.db", "."])
async def test_a_file_that_cannot_be_opened_is_an_operational_error(name, tmp_path):
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(tmp_path / name).execute("PRAGMA user_version")
    with pytest.raises(sqlite3.OperationalError):
        await SQLitePool(tmp_path / name).fetch("SELECT 1")


async def test_a_file_that_is_no_database_is_a_database_error(tmp_path):
    (tmp_path / "app.db").write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        await SQLitePool(tmp_path / "app.db").fetch("SELECT * FROM t")
    assert caught.value.sqlite_errorname == "SQLITE_NOTADB"
