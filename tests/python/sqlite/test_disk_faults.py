"""Locks of others, damaged and full files, logs that grow: each fault, and its one correct outcome."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import DatabaseCorrupt, DatabaseError, PoolTimeout, QueryError, SQLitePool


@contextmanager
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


# ---- locks ----


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_database_that_another_process_has_for_itself_is_a_deadline_error(
    tmp_path: Path, blocking: bool
) -> None:
    path = tmp_path / "a.db"
    with plain(path) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        pool = SQLitePool(path, busy_timeout=1e6)  # the call's own deadline counts
        for _ in range(2):
            if blocking:
                with pytest.raises(PoolTimeout):
                    pool.blocking.fetch("SELECT * FROM t", timeout=0.05)
            else:
                with pytest.raises(PoolTimeout):
                    await pool.fetch("SELECT * FROM t", timeout=0.05)
        other.execute("COMMIT")
    assert await pool.fetch("SELECT * FROM t") == []
    await pool.close()


def test_waiting_for_a_lock_leaves_the_interpreter_to_other_threads(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    pool = SQLitePool(path)
    pool.blocking.execute("CREATE TABLE t (x)")
    with plain(path) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = threading.Thread(
            target=pool.blocking.execute, args=("INSERT INTO t VALUES (1)",), kwargs={"timeout": 30}
        )
        waiting.start()
        while pool.stats().in_use == 0:  # needs the interpreter lock
            pass
        other.execute("COMMIT")
        waiting.join()
        assert other.execute("SELECT count(*) FROM t").fetchone() == (1,)
    pool.terminate()


async def test_reads_go_on_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SQLitePool(path) as pool:
        await pool.execute("CREATE TABLE t (x)")
        with plain(path) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO t VALUES (1)")
            for _ in range(3):
                assert await pool.fetch("SELECT * FROM t", cache=False) == []
            other.execute("COMMIT")
        assert await pool.fetch("SELECT * FROM t") == [(1,)]


# ---- files ----


async def test_a_full_database_is_an_error_and_the_pool_goes_on(tmp_path: Path) -> None:
    def init(connection: Any) -> None:
        connection.execute("PRAGMA max_page_count=20")

    async with SQLitePool(tmp_path / "a.db", init=init) as pool:
        await pool.execute("CREATE TABLE t (x)")
        for _ in range(2):
            with pytest.raises(QueryError, match="full") as caught:
                await pool.executemany("INSERT INTO t VALUES (zeroblob(?))", [(8000,)] * 20)
            assert caught.value.code & 0xFF == sqlite3.SQLITE_FULL
            assert await pool.fetchval("SELECT count(*) FROM t") == 0  # none of it
        with pytest.raises(QueryError):  # noqa: PT012
            async with pool.transaction() as connection:
                await connection.execute("INSERT INTO t VALUES (1)")
                await connection.execute("INSERT INTO t VALUES (zeroblob(200000))")
        assert await pool.execute("INSERT INTO t VALUES (2)") == 1
        assert await pool.fetch("SELECT x FROM t") == [(2,)]
        assert await pool.fetchval("PRAGMA integrity_check") == "ok"


def crashed(path: Path, commits: int) -> None:
    """Leave a database and a write-ahead log of *commits* transactions, as a killed process does."""
    code = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("PRAGMA wal_autocheckpoint=0")
connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, filler)")
for n in range(int(sys.argv[2])):
    connection.execute("INSERT INTO t VALUES (?, zeroblob(3000))", (n,))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code, path, str(commits)], check=False)
    assert Path(f"{path}-wal").stat().st_size > commits * 3000


def flip_a_bit_of_the_log(path: Path, part: int) -> None:
    log = Path(f"{path}-wal")
    damaged = bytearray(log.read_bytes())
    damaged[32 + (len(damaged) - 32) * (2 * part + 1) // 16] ^= 1 << part
    log.write_bytes(damaged)
    Path(f"{path}-shm").unlink(missing_ok=True)  # recovery reads the log


@pytest.mark.parametrize("part", range(8))
async def test_a_flipped_bit_in_the_log_leaves_the_commits_before_it(tmp_path: Path, part: int) -> None:
    path, commits = tmp_path / "a.db", 30
    crashed(path, commits)
    flip_a_bit_of_the_log(path, part)
    async with SQLitePool(path) as pool:
        kept = [row[0] for row in await pool.fetch("SELECT n FROM t ORDER BY n")]
        assert kept == list(range(len(kept)))
        assert len(kept) < commits
        assert await pool.fetchval("PRAGMA integrity_check") == "ok"
        assert await pool.execute("INSERT INTO t VALUES (1000, NULL)") == 1


@pytest.mark.parametrize("bit", range(8))
async def test_a_flipped_bit_in_a_page_is_reported_or_changes_nothing_but_a_value(
    tmp_path: Path, bit: int
) -> None:
    path = tmp_path / "a.db"
    with plain(path) as connection:
        connection.execute("BEGIN")  # one commit, not one a row
        connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, "x" * 100) for n in range(2000)])
        connection.execute("COMMIT")
    damaged = bytearray(path.read_bytes())
    for page in range(1, len(damaged) // 4096):
        damaged[page * 4096 + 3] ^= 1 << bit  # the number of cells
    path.write_bytes(damaged)
    async with SQLitePool(path, size=2) as pool:
        with pytest.raises(DatabaseCorrupt):
            await pool.fetch("SELECT * FROM t")
        with pytest.raises(DatabaseError):
            await pool.execute("UPDATE t SET text = 'y'")
        while pool.stats().in_use:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert pool.stats().quarantined >= 2
        assert await pool.fetchval("SELECT 1") == 1


def test_no_descriptor_left_is_an_error_and_the_pool_recovers(tmp_path: Path) -> None:
    code = """
import os, resource, sys
from mcp_performance import DatabaseError, SQLitePool
pool = SQLitePool(sys.argv[1]).blocking
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
taken = os.open("/dev/null", os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
try:
    pool.execute("CREATE TABLE t (x)")
    print("no error")
except (OSError, DatabaseError) as error:
    print("error")
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(pool.execute("CREATE TABLE t (x)"), pool.fetch("SELECT * FROM t"))
"""
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.db"], capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "error\n0 []\n", run.stderr


async def test_a_database_that_is_replaced_while_it_is_closed_is_read_anew(tmp_path: Path) -> None:
    path, other = tmp_path / "a.db", tmp_path / "b.db"
    for name, value in ((path, 1), (other, 2)):
        with plain(name) as connection:
            connection.execute("CREATE TABLE t (x)")
            connection.execute("INSERT INTO t VALUES (?)", (value,))
    async with SQLitePool(path) as pool:
        assert await pool.fetchval("SELECT x FROM t") == 1
    shutil.copy(other, path)
    async with SQLitePool(path) as pool:
        assert await pool.fetchval("SELECT x FROM t") == 2


# ---- the write-ahead log ----


async def test_an_old_reader_that_keeps_the_log_from_shrinking_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SQLitePool(path, synchronous="OFF") as pool:
        await pool.execute("CREATE TABLE t (x)")
        rows = [(bytes(4000),)] * 1500

        async def write(times: int) -> None:
            for _ in range(times):
                await pool.executemany("INSERT INTO t VALUES (?)", rows)
                while pool.stats().in_use > readers:  # noqa: ASYNC110
                    await asyncio.sleep(0)  # the checkpoint

        readers = 0
        await write(3)
        assert pool.stats().starved_checkpoints == 0
        assert pool.stats().wal_bytes > 0
        readers = 1
        async with pool.transaction(readonly=True) as reader:
            assert await reader.fetchval("SELECT count(*) FROM t") == 4500
            await write(4)
            stats = pool.stats()
            assert stats.starved_checkpoints > 0
            assert stats.wal_bytes > 16 << 20
            assert await reader.fetchval("SELECT count(*) FROM t") == 4500
        readers = 0
        await write(3)
        starved = pool.stats().starved_checkpoints
        await write(3)
        assert pool.stats().starved_checkpoints == starved
        assert pool.stats().wal_bytes < 16 << 20
