"""A database file that is damaged under a pool: written over in place, or parted from its log.

Whoever opens it then finds another database than the pool has open. No result that the pool keeps may
outlive that, what it commits has to reach everybody, and what it had committed is not lost unless it was
written over.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import DatabaseError, SQLitePool
from redis_server import eventually

SQL = "SELECT x FROM t ORDER BY x"
_PROGRAM = """
import json, sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
print(json.dumps([database.execute(sql).fetchall() for sql in sys.argv[2:]]))
"""


def elsewhere(path: Path, *statements: str) -> Any:
    """What they answer in another process; the last one's rows."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path), *statements], check=True, capture_output=True
    )
    return [tuple(row) for row in json.loads(done.stdout)[-1]]


def deleted(*parts: str) -> Callable[[Path], None]:
    def delete(path: Path) -> None:
        for part in parts:
            path.with_name(path.name + part).unlink()

    delete.__name__ = "deleted " + " ".join(parts)
    return delete


def write_over(path: Path, copy: Path) -> None:
    path.write_bytes(copy.read_bytes())


PARTED = [deleted("-wal"), deleted("-shm"), deleted("-wal", "-shm")]
parted = pytest.mark.parametrize("happens", PARTED, ids=lambda happens: happens.__name__)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    elsewhere(path, "PRAGMA journal_mode=WAL", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
    return path


@parted
async def test_what_was_committed_to_a_deleted_log_is_kept(
    path: Path, happens: Callable[[Path], None]
) -> None:
    async with SQLitePool(path, size=3) as pool:
        await pool.execute("INSERT INTO t VALUES (2)")
        happens(path)
        assert await pool.fetch(SQL, cache=False) == [(1,), (2,)]
        assert elsewhere(path, "INSERT INTO t VALUES (3)", SQL) == [(1,), (2,), (3,)]
        assert await pool.fetch(SQL) == [(1,), (2,), (3,)]
        assert pool.blocking.execute("INSERT INTO t VALUES (4)") == 1
        assert elsewhere(path, SQL) == [(1,), (2,), (3,), (4,)]
    assert elsewhere(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("happens", PARTED[1:], ids=lambda happens: happens.__name__)
def test_a_kept_result_is_dropped_when_another_process_has_another_log(
    path: Path, happens: Callable[[Path], None]
) -> None:
    with SQLitePool(path, size=2).blocking as db:
        for _ in range(3):
            assert db.fetch(SQL) == [(1,)]
        happens(path)
        written = elsewhere(path, "INSERT INTO t VALUES (2)", SQL)
        assert written == [(1,), (2,)]
        assert eventually(lambda: db.fetch(SQL) == written)
        db.execute("INSERT INTO t VALUES (3)")
        assert db.fetch(SQL) == elsewhere(path, SQL) == [(1,), (2,), (3,)]


@parted
def test_a_transaction_under_way_fails(path: Path, happens: Callable[[Path], None]) -> None:
    with SQLitePool(path, size=2).blocking as db:

        def insert() -> None:
            with db.transaction() as connection:
                connection.execute("INSERT INTO t VALUES (9)")
                happens(path)

        with pytest.raises(DatabaseError, match="was replaced"):
            insert()
        assert db.fetch(SQL) == elsewhere(path, SQL) == [(1,)]


async def test_a_file_that_is_written_over_is_read_anew(path: Path) -> None:
    """As ``cp`` does: it is the same file, of which SQLite has pages in memory that it takes for good."""
    copy = path.with_name("copy.db")
    async with SQLitePool(path, size=3) as pool:
        for value in range(2, 8):
            await pool.backup(copy)
            there = await pool.fetch(SQL)
            await pool.execute("INSERT INTO t VALUES (?)", (value,))
            await pool.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for _ in range(3):
                assert await pool.fetch(SQL) == pool.blocking.fetch(SQL) == [*there, (value,)]
            write_over(path, copy)
            assert await pool.fetch(SQL) == pool.blocking.fetch(SQL) == there
            assert await pool.execute("INSERT INTO t VALUES (?)", (-value,)) == 1
            assert await pool.fetch(SQL) == elsewhere(path, SQL) == [(-value,), *there]


async def test_checkpoints_of_anybody_do_not_look_like_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SQLitePool(path, size=3) as pool, pool.acquire() as held:
        for value in range(2, 30):
            if value % 7 == 0:
                statements = (f"INSERT INTO t VALUES ({value})", "PRAGMA wal_checkpoint(TRUNCATE)")
                await asyncio.to_thread(elsewhere, path, *statements)  # the loop lets go of what it read
            else:
                await pool.execute("INSERT INTO t VALUES (?)", (value,))
            if value % 3 == 0:
                mode = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")[value % 4]
                await pool.execute(f"PRAGMA wal_checkpoint({mode})")
            assert await held.fetch(SQL) == await pool.fetch(SQL)
        assert len(await pool.fetch(SQL)) == 29
        await pool.execute("VACUUM")
        assert len(await held.fetch(SQL)) == 29
    assert caplog.messages == []


async def test_a_log_that_was_never_written_to_is_told_apart_too(path: Path) -> None:
    with closing(SQLitePool(path, size=1).blocking) as db:
        assert db.fetch(SQL) == [(1,)]
        deleted("-wal", "-shm")(path)
        assert elsewhere(path, "INSERT INTO t VALUES (2)", SQL) == [(1,), (2,)]
        assert db.fetch(SQL, cache=False) == [(1,), (2,)]
