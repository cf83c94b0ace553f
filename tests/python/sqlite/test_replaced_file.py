"""A database file that is replaced under a pool: nothing of the old one is served, kept or written."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mcp_performance import DatabaseError, QueryError, SQLitePool

SQL = "SELECT x FROM t ORDER BY x"


def make(path: Path, value: int, *, wal: bool = False) -> Path:
    connection = sqlite3.connect(path)
    if wal:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (?)", (value,))
    connection.commit()
    connection.close()
    return path


def by_replace(path: Path, value: int) -> None:
    os.replace(make(path.with_name("new.db"), value), path)


def by_replace_with_wal(path: Path, value: int) -> None:
    os.replace(make(path.with_name("new.db"), value, wal=True), path)


def by_rename(path: Path, value: int) -> None:
    new = make(path.with_name("new.db"), value)
    path.rename(path.with_name("old.db"))
    new.rename(path)


def by_deleting(path: Path, value: int) -> None:
    for name in ("a.db", "a.db-wal", "a.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    make(path, value)


def by_deleting_the_database_alone(path: Path, value: int) -> None:
    path.unlink()
    make(path, value)


def by_a_link(path: Path, value: int) -> None:
    link = path.with_name("link.db")
    link.symlink_to(make(path.with_name("other.db"), value))
    os.replace(link, path)


WAYS = [
    by_replace,
    by_replace_with_wal,
    by_rename,
    by_deleting,
    by_deleting_the_database_alone,
    by_a_link,
]
Way = Callable[[Path, int], None]
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "a.db", 1)


async def warmed(pool: SQLitePool) -> None:
    """Afterwards the result is kept, the log has frames, every connection is open."""
    await pool.execute("CREATE TABLE more (y)")
    await pool.executemany("INSERT INTO more VALUES (?)", [(i,) for i in range(1000)])
    async with pool.acquire(), pool.acquire():
        pass
    for _ in range(3):
        assert await pool.fetch(SQL) == [(1,)]
    assert pool.blocking.fetch(SQL) == [(1,)]


@pytest.mark.parametrize("wal", [True, False])
@every_way
async def test_the_next_read_is_of_the_new_file(path: Path, way: Way, wal: bool) -> None:
    async with SQLitePool(path, size=3, wal=wal) as pool:
        await warmed(pool)
        way(path, 2)
        assert await pool.fetch(SQL) == [(2,)]
        with pytest.raises(QueryError, match="more"):
            await pool.fetch("SELECT * FROM more")
        assert await pool.fetchval("PRAGMA integrity_check") == "ok"
        for _ in range(3):
            assert await pool.fetch(SQL) == [(2,)]


@every_way
def test_the_next_blocking_read_is_of_the_new_file(path: Path, way: Way) -> None:
    with SQLitePool(path, size=2).blocking as db:
        db.execute("INSERT INTO t VALUES (3)")
        for _ in range(3):
            assert db.fetch(SQL) == [(1,), (3,)]
        way(path, 2)
        assert db.fetch(SQL) == [(2,)]
        assert db.execute("INSERT INTO t VALUES (5)") == 1
        assert db.fetch(SQL) == [(2,), (5,)]


@every_way
async def test_the_next_write_goes_to_the_new_file(path: Path, way: Way) -> None:
    async with SQLitePool(path, size=2) as pool:
        await warmed(pool)
        way(path, 2)
        assert await pool.execute("INSERT INTO t VALUES (4)") == 1
        async with pool.transaction() as connection:
            await connection.execute("INSERT INTO t VALUES (6)")
        assert await pool.fetch(SQL) == [(2,), (4,), (6,)]
    # As read by somebody else, when the pool is closed.
    connection = sqlite3.connect(path)
    assert connection.execute(SQL).fetchall() == [(2,), (4,), (6,)]
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


async def test_many_times(path: Path) -> None:
    async with SQLitePool(path, size=3) as pool:
        for value in range(2, 30):
            WAYS[value % 2](path, value)
            got = await asyncio.gather(*(pool.fetch(SQL) for _ in range(5)))
            assert got == [[(value,)]] * 5
            await pool.execute("CREATE TABLE other (x)")
            assert await pool.fetch(SQL) == [(value,)]


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_kept_result_is_not_served_right_after_the_replacement(path: Path, blocking: bool) -> None:
    new = [make(path.with_name(f"new{value}.db"), value) for value in range(2, 60)]
    async with SQLitePool(path, size=2) as pool:
        db = pool.blocking
        for value, name in enumerate(new, 2):
            for _ in range(3):
                assert db.fetch(SQL) == [(value - 1,)]
                assert await pool.fetch(SQL) == [(value - 1,)]
            if blocking:
                db.fetch(SQL)
                os.replace(name, path)
                got = db.fetch(SQL)
            else:
                await pool.fetch(SQL)
                os.replace(name, path)
                got = await pool.fetch(SQL)
            assert got == [(value,)]


@pytest.mark.parametrize("size", [1, 3])
async def test_a_transaction_under_way_fails_and_leaves_nothing(path: Path, size: int) -> None:
    async with SQLitePool(path, size=size) as pool:

        async def insert(value: int, *more: int, error: type[Exception] | None = None) -> None:
            async with pool.transaction() as connection:
                await connection.execute("INSERT INTO t VALUES (9)")
                by_replace(path, value)
                for one in more:
                    await connection.execute("INSERT INTO t VALUES (?)", (one,))
                if error is not None:
                    raise error

        with pytest.raises(DatabaseError, match="was replaced"):
            await insert(2)
        with pytest.raises(DatabaseError, match="was replaced"):
            await insert(3, 10)
        assert await pool.fetch(SQL) == [(3,)]
        with pytest.raises(ZeroDivisionError):  # a block's own error is what it raises
            await insert(4, error=ZeroDivisionError)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO t VALUES (5)")
        assert await pool.fetch(SQL) == [(4,), (5,)]


async def test_others_do_not_wait_for_a_borrower_that_does_nothing(path: Path) -> None:
    async with SQLitePool(path, size=3) as pool:
        await warmed(pool)
        async with pool.transaction(readonly=True) as snapshot, pool.acquire() as connection:
            assert await snapshot.fetch(SQL) == [(1,)]
            await connection.execute("INSERT INTO t VALUES (9)")
            rows = connection.stream("SELECT a.y FROM more a, more b")
            assert await anext(rows) == (0,)
            by_replace(path, 2)
            assert await pool.fetch(SQL) == [(2,)]
            for late in (connection, snapshot):
                with pytest.raises(DatabaseError, match="was replaced"):
                    await late.fetch(SQL)
            with pytest.raises(DatabaseError, match="was replaced"):
                async for _ in rows:
                    pass
            assert not connection.in_transaction
        assert await pool.fetch(SQL) == [(2,)]


def test_a_blocking_borrower_fails(path: Path) -> None:
    with SQLitePool(path, size=2).blocking as db:

        def insert() -> None:
            with db.transaction() as connection:
                connection.execute("INSERT INTO t VALUES (9)")
                by_replace(path, 2)
                assert db.fetch(SQL) == [(2,)]

        with pytest.raises(DatabaseError, match="was replaced"):
            insert()
        assert db.fetch(SQL) == [(2,)]


async def test_a_statement_that_runs_ends_on_the_old_file(path: Path) -> None:
    async with SQLitePool(path, size=2) as pool:
        await warmed(pool)
        long = asyncio.create_task(
            pool.fetchval("SELECT count(*) + (SELECT max(x) FROM t) * 0 FROM more a, more b, more c LIMIT 1")
        )
        while pool.stats().in_use == 0:  # noqa: ASYNC110
            await asyncio.sleep(0)
        by_replace(path, 2)
        late = asyncio.create_task(pool.fetch(SQL))
        await asyncio.sleep(0.01)
        long.cancel()
        assert await late == [(2,)]


async def test_threads_and_tasks_at_once(path: Path) -> None:
    async with SQLitePool(path, size=3) as pool:
        stop = threading.Event()
        replaced = 1
        failures: list[BaseException] = []

        def read() -> None:
            while not stop.is_set():
                floor = replaced
                try:
                    value = pool.blocking.fetchval("SELECT max(x) FROM t")
                    assert value >= floor, (value, floor)
                except BaseException as error:
                    failures.append(error)
                    return

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for value in range(2, 25):
            by_replace(path, value)
            replaced = value
            assert await pool.fetchval("SELECT max(x) FROM t") == value
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []


async def test_the_directory_of_the_process_has_no_say(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    async with SQLitePool("a.db", size=3) as pool:
        assert await pool.fetch(SQL) == [(1,)]
        (path.parent / "elsewhere").mkdir()
        monkeypatch.chdir(path.parent / "elsewhere")
        async with pool.acquire(), pool.acquire(), pool.acquire() as connection:
            assert await connection.fetch(SQL) == [(1,)]
        assert os.listdir(".") == []


@pytest.mark.parametrize("name", ["file:{}", "file://{}?cache=private", "file://localhost{}#x"])
async def test_a_uri_names_a_file_too(path: Path, name: str) -> None:
    async with SQLitePool(name.format(path), size=2) as pool:
        for _ in range(3):
            assert await pool.fetch(SQL) == [(1,)]
        by_replace(path, 2)
        assert await pool.fetch(SQL) == [(2,)]


async def test_what_is_kept_of_the_old_file_is_dropped(path: Path) -> None:
    async with SQLitePool(path, size=2) as pool:
        for i in range(20):
            for _ in range(3):
                await pool.fetch(SQL + f" LIMIT {i + 1}")
        assert pool.stats().cache.currsize > 10
        by_replace(path, 2)
        assert await pool.fetch(SQL) == [(2,)]
        assert pool.stats().cache.currsize <= 1


async def test_a_file_that_is_as_it_was_is_opened_once(path: Path) -> None:
    opens = 0

    def init(_: object) -> None:
        nonlocal opens
        opens += 1

    async with SQLitePool(path, size=2, init=init) as pool:
        for _ in range(50):
            await pool.execute("INSERT INTO t VALUES (1)")
            await pool.fetch(SQL)
        await pool.execute("VACUUM")
        await pool.backup(path.with_name("copy.db"))
        os.chmod(path, 0o600)
        assert await pool.fetchval("SELECT count(*) FROM t") == 51
        assert opens <= 2
