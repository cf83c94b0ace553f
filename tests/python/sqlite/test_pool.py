"""What a user of SQLitePool relies on when nothing goes wrong, and the errors of wrong use."""

import asyncio
import datetime
import decimal
import enum
import logging
import math
import queue
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_performance import (
    ConfigurationError,
    IntegrityError,
    PoolClosed,
    PoolTimeout,
    QueryError,
    SQLitePool,
)
from mcp_performance._base._registry import pools


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db") as pool:
        await pool.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL, data BLOB)")
        await pool.executemany(
            "INSERT INTO item VALUES (?, ?, ?, ?)",
            [(1, "bolt", 0.5, b"\x00\x01"), (2, "Größe \U0001f529", None, None), (3, "", -1.5, b"")],
        )
        yield pool


ROWS = [(1, "bolt", 0.5, b"\x00\x01"), (2, "Größe \U0001f529", None, None), (3, "", -1.5, b"")]


async def test_fetch_returns_all_rows_as_plain_tuples_of_their_own_types(pool: SQLitePool) -> None:
    rows = await pool.fetch("SELECT * FROM item ORDER BY id")
    assert rows == ROWS
    assert {type(row) for row in rows} == {tuple}


async def test_fetch_returns_a_new_list_each_time(pool: SQLitePool) -> None:
    first = await pool.fetch("SELECT id FROM item")
    first.clear()
    assert len(await pool.fetch("SELECT id FROM item")) == 3


async def test_fetchrow_and_fetchval_return_the_first_or_none(pool: SQLitePool) -> None:
    assert await pool.fetchrow("SELECT * FROM item ORDER BY id") == ROWS[0]
    assert await pool.fetchval("SELECT name FROM item ORDER BY id") == "bolt"
    assert await pool.fetchrow("SELECT * FROM item WHERE id = 9") is None
    assert await pool.fetchval("SELECT name FROM item WHERE id = 9") is None
    assert await pool.fetch("SELECT name FROM item WHERE id = 9") == []


async def test_execute_returns_the_rows_changed(pool: SQLitePool) -> None:
    assert await pool.execute("UPDATE item SET price = 1 WHERE id < ?", (3,)) == 2
    assert await pool.execute("UPDATE item SET price = 1 WHERE id = 99") == 0
    assert await pool.execute("CREATE TABLE other (id)") == 0
    assert await pool.execute("DELETE FROM item") == 3


async def test_returning_answers_with_the_new_key(pool: SQLitePool) -> None:
    assert await pool.fetchval("INSERT INTO item (name) VALUES ('nut') RETURNING id") == 4
    assert await pool.fetchval("SELECT name FROM item WHERE id = 4") == "nut"


@pytest.mark.parametrize("row_type", ["tuple", "named", "dict"])
async def test_row_types_of_the_pool_and_of_the_call(tmp_path: Path, row_type: str) -> None:
    async with SQLitePool(tmp_path / "a.db", row_type=row_type) as pool:  # type: ignore[arg-type]
        for _ in range(2):  # run, then from the cache
            row = await pool.fetchrow("SELECT 1 AS a, 'x' AS b FROM sqlite_schema UNION SELECT 1, 'x'")
            if row_type == "dict":
                assert row == {"a": 1, "b": "x"}
            else:
                assert row == (1, "x")
            if row_type != "tuple":
                assert row["b"] == "x"
        assert await pool.fetchrow("SELECT 2 AS a", row_type="dict") == {"a": 2}


async def test_named_rows_are_tuples_that_know_their_columns(pool: SQLitePool) -> None:
    (row,) = await pool.fetch("SELECT id, name AS n FROM item WHERE id = 1", row_type="named")
    assert row == (1, "bolt")
    assert row["n"] == row[1] == "bolt"
    assert row.keys() == ("id", "n")
    assert row.as_dict() == {"id": 1, "n": "bolt"}
    with pytest.raises(KeyError):
        row["missing"]


async def test_a_dict_from_the_cache_is_the_callers_own(pool: SQLitePool) -> None:
    sql = "SELECT id, name FROM item WHERE id = 1"
    (await pool.fetchrow(sql, row_type="dict"))["name"] = "changed"
    assert (await pool.fetchrow(sql, row_type="dict"))["name"] == "bolt"


class Colour(enum.IntEnum):
    RED = 7


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (True, 1),
        (Colour.RED, 7),
        (1.5, 1.5),
        (math.inf, math.inf),
        (math.nan, None),
        ("a\x00b", "a\x00b"),
        ("é" * 1000, "é" * 1000),
        (b"\x00" * 300, b"\x00" * 300),
        (bytearray(b"xy"), b"xy"),
        (memoryview(b"xy"), b"xy"),
        ("", ""),
        (b"", b""),
    ],
)
async def test_values_come_back_as_they_went(pool: SQLitePool, value: object, stored: object) -> None:
    for _ in range(3):  # on a worker, and inline
        got = await pool.fetchval("SELECT ?", (value,))
        assert (got, type(got)) == (stored, type(stored))


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ((2**63,), OverflowError),
        ((-(2**63) - 1,), OverflowError),
        ((object(),), TypeError),
        (("\ud800",), UnicodeEncodeError),
        ("text", TypeError),
        (5, TypeError),
        ({1: 2}, TypeError),
    ],
)
async def test_what_sqlite_cannot_hold_is_refused(
    pool: SQLitePool, params: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await pool.fetch("SELECT ?", params)


async def test_parameters_by_name_and_by_position(pool: SQLitePool) -> None:
    assert await pool.fetchrow("SELECT :a, @b, $c", {"a": 1, "b": 2, "c": 3, "unused": 4}) == (1, 2, 3)
    assert await pool.fetchval("SELECT ?2", [1, 2]) == 2
    for sql, params in [("SELECT ?", ()), ("SELECT ?", (1, 2)), ("SELECT :a, :b", {"a": 1})]:
        with pytest.raises(QueryError, match="parameters"):
            await pool.fetch(sql, params)


async def test_errors_are_sqlite3s_classes_with_codes(pool: SQLitePool) -> None:
    with pytest.raises(IntegrityError, match=r"UNIQUE constraint failed: item\.id") as caught:
        await pool.execute("INSERT INTO item (id) VALUES (1)")
    assert caught.value.code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
    assert isinstance(caught.value, sqlite3.IntegrityError)
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        await pool.fetch("SELECT * FROM nowhere")
    for sql in ["SELECT 1; SELECT 2", "SELEC 1"]:
        with pytest.raises(QueryError):
            await pool.fetch(sql)
    assert await pool.fetch("SELECT 1; -- and no more\n ;") == [(1,)]


async def test_a_transaction_commits_or_undoes_everything(pool: SQLitePool) -> None:
    async with pool.transaction() as connection:
        await connection.execute("DELETE FROM item WHERE id = 1")
        assert connection.in_transaction
        assert await pool.fetchval("SELECT count(*) FROM item") == 3  # not seen outside
        assert await connection.fetchval("SELECT count(*) FROM item") == 2
    assert await pool.fetchval("SELECT count(*) FROM item") == 2
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with pool.transaction() as connection:
            await connection.execute("DELETE FROM item")
            raise ZeroDivisionError
    assert await pool.fetchval("SELECT count(*) FROM item") == 2


async def test_transactions_nest_as_savepoints(pool: SQLitePool) -> None:
    async with pool.transaction() as connection:
        await connection.execute("DELETE FROM item WHERE id = 1")
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with connection.transaction():
                await connection.execute("DELETE FROM item WHERE id = 2")
                raise ZeroDivisionError
        async with connection.transaction(), connection.transaction():
            await connection.execute("DELETE FROM item WHERE id = 3")
    assert await pool.fetch("SELECT id FROM item") == [(2,)]


async def test_a_readonly_transaction_is_one_snapshot_that_cannot_write(pool: SQLitePool) -> None:
    async with pool.transaction(readonly=True) as snapshot:
        assert await snapshot.fetchval("SELECT count(*) FROM item") == 3
        await pool.execute("DELETE FROM item")
        assert await snapshot.fetchval("SELECT count(*) FROM item") == 3
        with pytest.raises(QueryError, match="read-only"):
            await snapshot.execute("DELETE FROM item")
    assert await pool.fetchval("SELECT count(*) FROM item") == 0


async def test_an_acquired_connection_reads_and_then_writes(pool: SQLitePool) -> None:
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM item") == 3
        assert await connection.execute("CREATE TEMP TABLE scratch (x)") == 0
        await connection.execute("INSERT INTO scratch VALUES (1)")
        assert await connection.fetchval("SELECT x FROM scratch") == 1
        assert await connection.fetchval("INSERT INTO item (name) VALUES ('n') RETURNING id") == 4
        async with connection.transaction():
            await connection.execute("DELETE FROM item")
    assert await pool.fetchval("SELECT count(*) FROM item") == 0
    with pytest.raises(PoolClosed, match="given back"):
        await connection.fetch("SELECT 1")


async def test_as_many_connections_as_the_size_can_be_acquired(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", size=3, acquire_timeout=0.5) as pool:
        async with pool.acquire(), pool.acquire(), pool.acquire():
            assert pool.stats().in_use == 3
            with pytest.raises(PoolTimeout, match="no connection came free"):
                await pool.fetch("SELECT 1")
            with pytest.raises(PoolTimeout):
                async with pool.acquire():
                    pass
        assert await pool.fetchval("SELECT 1") == 1
        assert pool.stats().timeouts == 2
        await pool.close(timeout=60)  # not that of the pool, which a busy machine may need


async def test_begin_outside_a_connection_is_refused(pool: SQLitePool) -> None:
    for sql in ["BEGIN", "COMMIT", "SAVEPOINT x"]:
        with pytest.raises(QueryError, match="transaction"):
            await pool.execute(sql)
    async with pool.transaction() as connection:
        with pytest.raises(QueryError, match="transaction"):
            await connection.execute("COMMIT")


async def test_what_a_connection_left_open_is_rolled_back_before_reuse(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", size=1) as pool:
        await pool.execute("CREATE TABLE t (x)")
        async with pool.acquire() as connection:
            await connection.execute("BEGIN IMMEDIATE")
            await connection.execute("INSERT INTO t VALUES (1)")
        assert await pool.fetchval("SELECT count(*) FROM t") == 0


async def test_gather_tasks_and_wait_for_take_statements(pool: SQLitePool) -> None:
    sql = "SELECT name FROM item WHERE id = ?"
    assert await asyncio.gather(*(pool.fetchval(sql, (i,)) for i in (1, 3))) == ["bolt", ""]
    assert await asyncio.create_task(pool.fetchval(sql, (1,))) == "bolt"
    assert await asyncio.wait_for(pool.fetchval(sql, (1,)), 10) == "bolt"
    statement = pool.fetchval(sql, (1,))
    await statement
    with pytest.raises(RuntimeError, match="twice"):
        await statement


async def test_a_statement_that_is_never_awaited_warns(pool: SQLitePool) -> None:
    with pytest.warns(RuntimeWarning, match="never awaited"):
        pool.execute("DELETE FROM item")
    assert await pool.fetchval("SELECT count(*) FROM item") == 3


def test_the_blocking_twin_has_the_same_methods(tmp_path: Path) -> None:
    with SQLitePool(tmp_path / "a.db").blocking as db:
        db.execute("CREATE TABLE t (x)")
        assert db.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(100)]) == 100
        assert db.fetch("SELECT x FROM t WHERE x < 2") == [(0,), (1,)]
        assert db.fetchrow("SELECT x FROM t WHERE x = 5") == (5,)
        assert db.fetchval("SELECT count(*) FROM t") == 100
        with db.transaction() as connection:
            connection.execute("DELETE FROM t WHERE x < 50")
            with pytest.raises(ZeroDivisionError), connection.transaction():  # noqa: PT012
                connection.execute("DELETE FROM t")
                raise ZeroDivisionError
        with db.acquire() as connection:
            assert connection.fetchval("SELECT count(*) FROM t") == 50
            assert connection.fetchval("INSERT INTO t VALUES (7) RETURNING x") == 7
        with pytest.raises(ZeroDivisionError), db.transaction() as connection:  # noqa: PT012
            connection.execute("DELETE FROM t")
            raise ZeroDivisionError
        assert db.fetchval("SELECT count(*) FROM t") == 51
    with pytest.raises(PoolClosed):
        db.fetch("SELECT 1")


def test_threads_share_a_blocking_pool(tmp_path: Path) -> None:
    with SQLitePool(tmp_path / "a.db", size=3).blocking as db:
        db.execute("CREATE TABLE t (x)")

        def work(number: int) -> None:
            for i in range(50):
                db.execute("INSERT INTO t VALUES (?)", (number * 1000 + i,))
                assert db.fetchval("SELECT count(*) FROM t WHERE x = ?", (number * 1000 + i,)) == 1

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert db.fetchval("SELECT count(*) FROM t") == 300


async def test_memory_is_one_database_for_all_connections_and_private_to_the_pool() -> None:
    async with SQLitePool(":memory:", size=3) as pool, SQLitePool(":memory:") as other:
        await pool.execute("CREATE TABLE t (x)")
        await pool.execute("INSERT INTO t VALUES (1)")
        async with pool.acquire() as a, pool.acquire() as b:
            assert await a.fetchval("SELECT x FROM t") == await b.fetchval("SELECT x FROM t") == 1
        await pool.execute("UPDATE t SET x = 2")
        assert await pool.fetchval("SELECT x FROM t") == 2
        with pytest.raises(QueryError, match="no such table"):
            await other.fetch("SELECT x FROM t")


async def test_ensure_indexes_creates_what_is_missing_and_reports(pool: SQLitePool) -> None:
    ddl = "CREATE INDEX item_name ON item (name)"
    (report,) = await pool.ensure_indexes([ddl])
    assert (report.name, report.table, report.created) == ("item_name", "item", True)
    reports = await pool.ensure_indexes([ddl, "CREATE UNIQUE INDEX IF NOT EXISTS item_name ON item (name)"])
    assert [(r.name, r.created, r.sql) for r in reports] == [("item_name", False, ddl)] * 2
    plan = await pool.fetch("EXPLAIN QUERY PLAN SELECT * FROM item WHERE name = 'x'")
    assert "item_name" in plan[0][3]
    with pytest.raises(ConfigurationError, match="DROP TABLE"):
        await pool.ensure_indexes(["DROP TABLE item"])
    with pytest.raises(QueryError, match="no such column"):
        await pool.ensure_indexes(["CREATE INDEX x ON item (nowhere)"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 0),
        ("size", True),
        ("size", 2.5),
        ("cache_pages", -1),
        ("query_cache_ttl", -1),
        ("query_cache_ttl", math.nan),
        ("slow_query_threshold", "soon"),
        ("query_cache_bytes", -5),
        ("busy_timeout", math.inf),
        ("acquire_timeout", 0),
        ("inline_budget", -0.1),
        ("synchronous", "MAYBE"),
        ("row_type", "list"),
        ("init", 5),
        ("adapters", ["colour"]),
    ],
)
def test_a_bad_argument_is_an_error_that_names_it(tmp_path: Path, name: str, value: object) -> None:
    wrong_type = value in (True, 2.5, "soon") or (name, value) == ("init", 5)
    with pytest.raises(TypeError if wrong_type else ConfigurationError, match=f"{name}="):
        SQLitePool(tmp_path / "a.db", **{name: value})  # type: ignore[arg-type]


async def test_a_bad_call_is_an_error_that_names_the_argument(pool: SQLitePool) -> None:
    with pytest.raises(ConfigurationError, match="timeout=-1"):
        await pool.fetch("SELECT 1", timeout=-1)
    with pytest.raises(ConfigurationError, match="row_type='list'"):
        await pool.fetch("SELECT 1", row_type="list")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="positional"):
        await pool.fetch("SELECT ?, ?", 1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="sql"):
        await pool.fetch(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected"):
        await pool.execute("SELECT 1", cache=False)  # type: ignore[call-arg]


async def test_a_closed_pool_refuses_and_closes_again(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db")
    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()
    assert pool.closed
    with pytest.raises(PoolClosed):
        await pool.fetch("SELECT 1")
    with pytest.raises(PoolClosed):
        async with pool.acquire():
            pass
    await pool.close()
    pool.terminate()


async def test_close_drains_what_was_begun(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db", size=2, inline_budget=0)
    await pool.execute("CREATE TABLE t (x)")
    writes = [asyncio.create_task(pool.execute("INSERT INTO t VALUES (?)", (i,))) for i in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # on a busy machine some of them gave their first turn away
    await pool.close()
    assert await asyncio.gather(*writes) == [1] * 20


async def test_the_statistics_say_what_happened(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", slow_query_threshold=0, name="books") as pool:
        assert pool in pools()
        await pool.execute("CREATE TABLE t (x)")
        await pool.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(100)])
        for _ in range(3):
            await pool.fetch("select x from t where x > 10")
        await pool.fetch("SELECT x FROM t WHERE x > 20", cache=False)
        stats = pool.stats()
        assert (stats.size, stats.writes, stats.cache.hits) == (5, 2, 2)
        assert stats.cache_bytes > 0
        assert stats.database_seconds > 0
        by_text = {one.fingerprint: one for one in pool.query_stats()}
        query = by_text["SELECT x FROM t WHERE x > ?"]
        assert (query.calls, query.rows, query.cache_hits, query.full_scans) == (2, 89 + 79, 2, 2)
        assert query.rows_scanned >= 198
        assert query.total_seconds >= query.step_seconds > 0
        assert len(query.hash) == 16
        assert query.first_seen <= query.last_seen
        slow = [one for one in pool.slow_log() if one.hash == query.hash]
        assert len(slow) == 2
        assert "10" not in slow[0].sample
        pool.reset_query_stats()
        assert pool.query_stats() == pool.slow_log() == []


async def test_a_slow_statement_is_logged_without_its_values(tmp_path: Path) -> None:
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.put(f"{record.levelname} {record.getMessage()}")

    logger, handler = logging.getLogger("mcp_performance.sqlite"), Handler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        async with SQLitePool(tmp_path / "a.db", slow_query_threshold=0) as pool:
            await pool.fetchval("SELECT 'secret' || ?", ("private",))
        line = lines.get(timeout=10)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert line.startswith("INFO slow statement: ")
    assert line.endswith("SELECT ? || ?")
    assert "secret" not in line
    assert "private" not in line


async def test_pragmas_are_as_asked(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", cache_pages=123, synchronous="NORMAL") as pool:
        async with pool.acquire() as reader, pool.transaction() as writer:
            for connection in (reader, writer):
                assert await connection.fetchval("PRAGMA cache_size") == 123
                assert await connection.fetchval("PRAGMA synchronous") == 1
                assert await connection.fetchval("PRAGMA temp_store") == 2
        assert await pool.fetchval("PRAGMA journal_mode") == "wal"


async def test_adapters_carry_types_in_and_out_by_declared_type(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 2, 29, 12, 30, 1, 5)
    key = uuid.uuid4()
    values = (moment, moment.date(), decimal.Decimal("1.10"), key, True, None)
    names = ["datetime", "date", "decimal", "uuid", "bool"]
    async with SQLitePool(tmp_path / "a.db", adapters=names) as pool:  # type: ignore[arg-type]
        # DECIMAL alone has numeric affinity, and would store 1.1
        await pool.execute("CREATE TABLE t (m DATETIME, d DATE, p DECIMAL TEXT, k UUID, b BOOLEAN, n DATE)")
        await pool.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", values)
        for _ in range(3):  # on a worker, from the cache
            row = await pool.fetchrow("SELECT * FROM t")
            assert row == values
            assert [type(item) for item in row] == [type(item) for item in values]
            assert await pool.fetchval("SELECT m FROM t", cache=False) == moment
        assert (await pool.fetchrow("SELECT d FROM t", row_type="dict"))["d"] == moment.date()
        assert [row async for row in pool.stream("SELECT k FROM t")] == [(key,)]
        with pytest.raises(TypeError, match="dict"):
            await pool.fetch("SELECT ?", ({},))


async def test_json_comes_out_as_the_callers_own(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", adapters=("json",)) as pool:
        await pool.execute("CREATE TABLE t (j JSON)")
        await pool.execute("INSERT INTO t VALUES (?)", ({"a": [1, "é"]},))
        for _ in range(2):
            value = await pool.fetchval("SELECT j FROM t")
            assert value == {"a": [1, "é"]}
            value.clear()


async def test_equal_selects_at_once_run_once(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", inline_budget=0) as pool:
        await pool.execute("CREATE TABLE t (x)")
        await pool.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(3000)])
        sql = "SELECT count(*) FROM t a, t b WHERE a.x < b.x AND b.x < ?"
        await pool.fetchval(sql, (1,))  # known to be cacheable from here on
        reads = pool.stats().reads
        assert len(set(await asyncio.gather(*(pool.fetchval(sql, (100,)) for _ in range(20))))) == 1
        assert pool.stats().reads == reads + 1
        tasks = [asyncio.create_task(pool.fetchval(sql, (200,))) for _ in range(5)]
        await asyncio.sleep(0)
        tasks[0].cancel()  # the one that runs it: another takes over
        assert len(set(await asyncio.gather(*tasks[1:]))) == 1


async def test_tracking_can_be_switched_off(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", tracking=False, slow_query_threshold=0) as pool:
        await pool.execute("CREATE TABLE t (x)")
        assert await pool.fetch("SELECT x FROM t") == []
        assert pool.query_stats() == pool.slow_log() == []
        assert pool.stats().writes == 1
