"""Each fault of a SQLite pool, and its one correct outcome."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mcp_performance import (
    DatabaseCorrupt,
    PoolClosed,
    PoolTimeout,
    QueryError,
    SQLitePool,
    cached,
)

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
KILLS = int(os.environ.get("MCP_PERFORMANCE_TEST_KILLS", "15"))


def run_python(code: str, *arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=timeout
    )


# ---- cancellation and deadlines ----


async def running(pool: SQLitePool) -> None:
    """Return once a worker runs a statement."""
    while pool.stats().in_use == 0:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def idle(pool: SQLitePool) -> None:
    while pool.stats().in_use > 0:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_cancelled_statement_stops_running(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", size=2) as pool:
        task = asyncio.create_task(pool.fetch(ENDLESS))
        await running(pool)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await idle(pool)  # an endless statement would hold the connection for ever
        assert await pool.fetchval("SELECT 1") == 1
        assert pool.stats().reconnects == 0


@pytest.mark.parametrize("turns", range(12))
async def test_a_task_cancelled_at_any_await_leaves_no_transaction(tmp_path: Path, turns: int) -> None:
    async with SQLitePool(tmp_path / "a.db", size=2) as pool:
        await pool.execute("CREATE TABLE t (x)")

        async def work() -> None:
            async with pool.transaction() as connection:
                for i in range(3):
                    await connection.execute("INSERT INTO t VALUES (?)", (i,))
                    async with connection.transaction():
                        await connection.fetchval("SELECT count(*) FROM t")

        task = asyncio.create_task(work())
        for _ in range(turns * 3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await idle(pool)
        rows = await pool.fetchval("SELECT count(*) FROM t")
        assert rows in (0, 3)
        assert await pool.execute("INSERT INTO t VALUES (9)", timeout=30) == 1  # the writer is free


async def test_a_cancelled_acquire_gives_the_connection_back(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", size=1) as pool:

        async def take() -> None:
            async with pool.acquire():
                await asyncio.Event().wait()

        for turns in range(6):
            task = asyncio.create_task(take())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert await pool.fetchval("SELECT 1", timeout=30) == 1


async def test_a_timeout_ends_the_statement_and_nothing_else(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", size=2) as pool:
        with pytest.raises(PoolTimeout):
            await pool.fetch(ENDLESS, timeout=0.02)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await pool.fetch(ENDLESS)
        with pytest.raises(PoolTimeout):
            pool.blocking.fetch(ENDLESS, timeout=0.02)
        await idle(pool)
        assert await pool.fetchval("SELECT 1") == 1


async def test_the_deadline_of_one_caller_holds_while_another_runs_the_same_select(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db") as pool:
        await pool.execute("CREATE TABLE t (x)")
        await pool.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(3000)])
        sql = "SELECT count(*) FROM t a, t b, t c WHERE a.x + b.x + c.x < ? AND a.x < ?"
        await pool.fetchval(sql, (0, 0))  # known to be cacheable from here on
        longest = asyncio.create_task(pool.fetchval(sql, (3000, 3000)))
        await running(pool)
        with pytest.raises(PoolTimeout):
            await pool.fetchval(sql, (3000, 3000), timeout=0.05)
        assert not longest.done()
        longest.cancel()
        await asyncio.gather(longest, return_exceptions=True)
        await idle(pool)


async def test_an_interrupted_write_undoes_its_transaction_and_says_so(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db") as pool:
        await pool.execute("CREATE TABLE t (x)")
        with pytest.raises(QueryError, match="rolled back by an earlier failure"):  # noqa: PT012
            async with pool.transaction() as connection:
                await connection.execute("INSERT INTO t VALUES (1)")
                with pytest.raises(PoolTimeout):
                    await connection.execute(
                        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                        "SELECT i FROM n",
                        timeout=0.02,
                    )
                await connection.execute("INSERT INTO t VALUES (2)")
        assert await pool.fetchval("SELECT count(*) FROM t") == 0


async def test_inline_results_in_a_loop_let_other_tasks_and_timeouts_run(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db") as pool:
        await pool.execute("CREATE TABLE t (x)")
        for cache in (False, True):  # run inline, and served from the cache
            turns = 0
            stop = False

            async def other() -> None:
                nonlocal turns
                while not stop:  # noqa: B023
                    turns += 1
                    await asyncio.sleep(0)

            beside = asyncio.create_task(other())
            with pytest.raises(TimeoutError):  # noqa: PT012
                async with asyncio.timeout(0.05):
                    while True:
                        await pool.fetchval("SELECT count(*) FROM t", cache=cache)
            stop = True
            await beside
            assert turns > 1  # its first was before the loop's; how many more is the machine's


async def test_all_that_is_answered_inline_shares_one_budget_a_turn(tmp_path: Path) -> None:
    @cached
    async def function(number: int) -> int:
        return number

    # A run that the machine held up counts as short all the same.
    async with SQLitePool(tmp_path / "a.db", inline_budget=10) as pool:
        await pool.execute("CREATE TABLE t (x)")

        async def answers_a_turn(tasks: int) -> float:
            """How many answers *tasks* tasks get between two turns of another task."""
            turns = answers = 0

            async def work() -> None:
                nonlocal answers
                while answers < 20_000:
                    await function(1)
                    await pool.fetchval("SELECT count(*) FROM t")
                    await pool.fetchval("SELECT count(*) FROM t", cache=False)
                    answers += 3

            async def other() -> None:
                nonlocal turns
                while answers < 20_000:
                    turns += 1
                    await asyncio.sleep(0)

            await asyncio.gather(other(), *(work() for _ in range(tasks)))
            return answers / turns

        # A busy machine makes turns shorter, so the best of a few.
        alone = max([await answers_a_turn(1) for _ in range(3)])
        together = min([await answers_a_turn(20) for _ in range(3)])
        # The budget, and what each task that had yielded before gets from the cache. With a budget
        # of its own each task would get as much as one alone.
        assert together < 5 * alone + 3 * 20


# ---- locks of other processes ----


async def test_a_database_locked_by_another_process_is_a_deadline_error(tmp_path: Path) -> None:
    async with SQLitePool(tmp_path / "a.db", busy_timeout=0.05) as pool:
        await pool.execute("CREATE TABLE t (x)")
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(PoolTimeout, match="lock") as caught:
            await pool.execute("INSERT INTO t VALUES (1)")
        assert caught.value.code & 0xFF == sqlite3.SQLITE_BUSY
        with pytest.raises(PoolTimeout):
            async with pool.transaction(timeout=0.05):
                pass
        waiting = asyncio.create_task(pool.execute("INSERT INTO t VALUES (1)", timeout=30))
        await running(pool)
        other.execute("COMMIT")
        assert await waiting == 1
        other.close()


def test_locked_never_surfaces_between_processes_that_write(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from mcp_performance import SQLitePool
async def main():
    async with SQLitePool(sys.argv[1], busy_timeout=60, synchronous="OFF") as pool:
        await pool.execute("CREATE TABLE IF NOT EXISTS t (x)")
        async def work(n):
            for i in range(25):
                async with pool.transaction() as connection:
                    await connection.fetchval("SELECT count(*) FROM t")
                    await connection.execute("INSERT INTO t VALUES (?)", (i,))
                await pool.fetchval("SELECT count(*) FROM t")
        await asyncio.gather(*(work(n) for n in range(4)))
asyncio.run(main())
"""
    path = tmp_path / "a.db"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, path], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (300,)
    connection.close()


# ---- crashes and disks ----


def test_kill_9_in_a_write_loses_no_acknowledged_commit(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from mcp_performance import SQLitePool
async def main():
    async with SQLitePool(sys.argv[1]) as pool:
        await pool.execute("CREATE TABLE IF NOT EXISTS t (batch, part)")
        batch = await pool.fetchval("SELECT coalesce(max(batch), 0) FROM t")
        while True:
            batch += 1
            await pool.executemany("INSERT INTO t VALUES (?, ?)", [(batch, part) for part in range(20)])
            print(batch, flush=True)
asyncio.run(main())
"""
    path = tmp_path / "a.db"
    acknowledged = 0
    for kill in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert process.stdout is not None
        for _ in range(1 + kill % 7):
            acknowledged = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split("\n")
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1] if line)])
        process.wait()
        connection = sqlite3.connect(path)
        counts = dict(connection.execute("SELECT batch, count(*) FROM t GROUP BY batch"))
        connection.close()
        assert set(counts.values()) == {20}  # none partial
        assert set(range(1, acknowledged + 1)) <= set(counts)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_kill_9_among_writes_that_share_commits_loses_none_that_was_acknowledged(tmp_path: Path) -> None:
    code = """
import asyncio, itertools, sys
from mcp_performance import SQLitePool
async def main():
    async with SQLitePool(sys.argv[1]) as pool:
        await pool.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)")
        numbers = itertools.count(await pool.fetchval("SELECT coalesce(max(n), 0) + 1 FROM t"))
        async def work():
            for n in numbers:
                await pool.execute("INSERT INTO t VALUES (?)", (n,))
                print(n, pool.stats().shared_commits, flush=True)
        await asyncio.gather(*(work() for _ in range(10)))
asyncio.run(main())
"""
    path = tmp_path / "a.db"
    acknowledged: set[int] = set()
    shared = 0
    for kill in range(max(5, KILLS // 5)):
        process = subprocess.Popen(
            [sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(20 + 7 * kill % 50)]
        process.kill()
        lines += process.stdout.read().split("\n")[:-1]
        process.wait()
        acknowledged.update(int(line.split()[0]) for line in lines)
        shared = max(shared, *(int(line.split()[1]) for line in lines))
        connection = sqlite3.connect(path)
        assert acknowledged <= {n for (n,) in connection.execute("SELECT n FROM t")}
        connection.close()
    assert shared > 0


def test_a_full_disk_is_an_error_and_the_pool_goes_on(tmp_path: Path) -> None:
    code = """
import asyncio, resource, sys
from mcp_performance import DatabaseError, SQLitePool
async def main():
    async with SQLitePool(sys.argv[1]) as pool:
        await pool.execute("CREATE TABLE t (x)")
        await pool.execute("INSERT INTO t VALUES (1)")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            await pool.execute("INSERT INTO t VALUES (zeroblob(3000000))")
            print("no error")
        except DatabaseError as error:
            print("error", error.code & 0xff)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        print(await pool.fetchval("SELECT count(*) FROM t"))
        print(await pool.execute("INSERT INTO t VALUES (2)"))
        print(await pool.fetchval("PRAGMA integrity_check"))
asyncio.run(main())
"""
    run = run_python(code, tmp_path / "a.db")
    assert run.stdout.split("\n")[0] in ("error 10", "error 13"), run.stdout + run.stderr
    assert run.stdout.split("\n")[1:4] == ["1", "1", "ok"], run.stdout + run.stderr


async def test_a_damaged_page_is_reported_its_connection_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SQLitePool(path) as pool:
        await pool.execute("CREATE TABLE t (x)")
        await pool.executemany("INSERT INTO t VALUES (?)", [("x" * 500,) for _ in range(200)])
    sound = path.read_bytes()
    damaged = bytearray(sound)
    for page in range(2, len(damaged) // 4096):
        damaged[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(damaged)
    pool = SQLitePool(path, size=2)
    with pytest.raises(DatabaseCorrupt):
        await pool.fetch("SELECT * FROM t")
    assert isinstance(DatabaseCorrupt("x"), sqlite3.DatabaseError)
    await idle(pool)
    assert pool.stats().quarantined >= 1
    assert await pool.fetchval("SELECT 1") == 1  # on a connection that is new
    await pool.close()
    path.write_bytes(b"this is not a database, it is a sentence" * 100)
    with pytest.raises(DatabaseCorrupt):
        await SQLitePool(path).fetch("SELECT 1 FROM sqlite_schema")


async def test_a_directory_that_is_missing_is_an_error_until_it_is_there(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "later" / "a.db")
    with pytest.raises(QueryError, match="unable to open"):
        await pool.fetchval("SELECT 1")
    (tmp_path / "later").mkdir()
    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()


async def test_a_file_that_may_only_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    async with SQLitePool(f"file:{path}?mode=ro") as pool:
        for _ in range(3):
            assert await pool.fetch("SELECT * FROM t") == []
        with pytest.raises(QueryError, match="readonly"):
            await pool.execute("INSERT INTO t VALUES (1)")
        assert await pool.fetch("SELECT * FROM t") == []


# ---- loops, threads, signals, fork, exit ----


def test_two_loops_share_a_pool(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db", inline_budget=0)
    pool.blocking.execute("CREATE TABLE t (x)")

    async def work() -> int:
        await asyncio.gather(*(pool.execute("INSERT INTO t VALUES (1)") for _ in range(50)))
        return await pool.fetchval("SELECT 7")  # type: ignore[no-any-return]

    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(work()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [7, 7, 7]
    assert pool.blocking.fetchval("SELECT count(*) FROM t") == 150
    pool.blocking.close()


def test_a_loop_that_closes_with_statements_under_way_harms_nobody(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db", size=2)

    async def leave() -> None:
        asyncio.create_task(pool.fetch(ENDLESS))  # noqa: RUF006
        await running(pool)

    for _ in range(3):
        asyncio.run(leave())  # cancels the task, and closes the loop
    assert asyncio.run(asyncio.wait_for(pool.fetchval("SELECT 1"), 30)) == 1
    pool.terminate()


def test_ctrl_c_interrupts_a_blocking_statement(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys, threading
from mcp_performance import SQLitePool
pool = SQLitePool(sys.argv[1], size=2)
def press():
    while pool.stats().in_use == 0:
        pass
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press).start()
try:
    pool.blocking.fetch({ENDLESS!r})
except KeyboardInterrupt:
    print("interrupted", pool.blocking.fetchval("SELECT 1"))
"""
    run = run_python(code, tmp_path / "a.db")
    assert run.stdout == "interrupted 1\n", run.stderr


def test_a_forked_child_starts_fresh_and_the_parent_is_unharmed(tmp_path: Path) -> None:
    code = """
import asyncio, os, sys
from mcp_performance import SQLitePool
pool = SQLitePool(sys.argv[1])
async def work(name):
    for i in range(20):
        await pool.execute("INSERT INTO t VALUES (?)", (name,))
        assert await pool.fetchval("SELECT count(*) FROM t WHERE x = ?", (name,)) == i + 1
pool.blocking.execute("CREATE TABLE t (x)")
assert pool.blocking.fetch("SELECT * FROM t") == []
children = []
for n in range(4):
    child = os.fork()
    if child == 0:
        asyncio.run(work(f"child {n}"))
        asyncio.run(pool.close())
        os._exit(0)
    children.append(child)
asyncio.run(work("parent"))
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
db = pool.blocking
print(codes, db.fetchval("SELECT count(*) FROM t"), db.fetchval("PRAGMA integrity_check"))
"""
    run = run_python(code, tmp_path / "a.db")
    assert run.stdout == "[0, 0, 0, 0] 100 ok\n", run.stderr


def test_a_child_of_a_process_in_a_transaction_refuses_the_file_and_harms_nothing(tmp_path: Path) -> None:
    code = """
import os, sys
from mcp_performance import DatabaseError, SQLitePool
pool = SQLitePool(sys.argv[1])
db = pool.blocking
db.execute("CREATE TABLE t (x)")
with db.transaction() as connection:
    connection.execute("INSERT INTO t VALUES (1)")
    child = os.fork()
    if child == 0:
        try:
            db.fetch("SELECT 1")
        except DatabaseError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.execute("INSERT INTO t VALUES (2)")
print(code, db.fetchval("SELECT count(*) FROM t"))
"""
    run = run_python(code, tmp_path / "a.db")
    assert run.stdout == "0 2\n", run.stderr


def test_fork_while_workers_are_busy_never_hangs(tmp_path: Path) -> None:
    code = """
import asyncio, os, sys
from mcp_performance import SQLitePool
async def main():
    async with SQLitePool(sys.argv[1], inline_budget=0, synchronous="OFF") as pool:
        await pool.execute("CREATE TABLE t (x)")
        async def work():
            for i in range(100):
                await pool.execute("INSERT INTO t VALUES (1)")
                await pool.fetchval("SELECT count(*) FROM t", cache=False)
        tasks = [asyncio.create_task(work()) for _ in range(4)]
        for _ in range(20):
            for _ in range(10):
                await asyncio.sleep(0)
            child = os.fork()
            if child == 0:
                other = SQLitePool(":memory:").blocking
                os._exit(0 if other.fetchval("SELECT 5") == 5 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        await asyncio.gather(*tasks)
        print(await pool.fetchval("SELECT count(*) FROM t"))
asyncio.run(main())
"""
    run = run_python(code, tmp_path / "a.db")
    assert run.stdout == "400\n", run.stderr


@pytest.mark.parametrize("busy", [False, True])
def test_exit_with_a_forgotten_pool_neither_hangs_nor_crashes(tmp_path: Path, busy: bool) -> None:
    code = f"""
import asyncio, sys
from mcp_performance import SQLitePool
pool = SQLitePool(sys.argv[1])
async def main():
    await pool.execute("CREATE TABLE t (x)")
    if {busy}:
        global task
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(pool.fetch({ENDLESS!r}))
        while pool.stats().in_use == 0:
            await asyncio.sleep(0)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
sys.exit(7)
"""
    run = run_python(code, tmp_path / "a.db")
    assert run.returncode == 7, run.stderr
    assert "Fatal" not in run.stderr


async def test_terminate_fails_what_waits_and_what_runs(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db", size=2)
    tasks = [asyncio.create_task(pool.fetch(ENDLESS)) for _ in range(3)]
    await running(pool)
    pool.terminate()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [PoolClosed] * 3


def test_sigterm_default_ends_a_busy_process(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from mcp_performance import SQLitePool
async def main():
    pool = SQLitePool(sys.argv[1])
    task = asyncio.ensure_future(pool.fetch({ENDLESS!r}))
    while pool.stats().in_use == 0:
        await asyncio.sleep(0)
    print("busy", flush=True)
    await task
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "a.db"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    assert process.wait(timeout=30) == -signal.SIGTERM
    process.stdout.close()


@pytest.mark.parametrize("blocking", [False, True])
async def test_the_write_ahead_log_is_checkpointed_whoever_writes(tmp_path: Path, blocking: bool) -> None:
    async with SQLitePool(tmp_path / "a.db", synchronous="OFF") as pool:
        await pool.execute("CREATE TABLE t (x)")
        for _ in range(30):
            rows = [(b"x" * 3000,) for _ in range(300)]
            if blocking:
                pool.blocking.executemany("INSERT INTO t VALUES (?)", rows)
            else:
                await pool.executemany("INSERT INTO t VALUES (?)", rows)
            await idle(pool)
        size = (tmp_path / "a.db-wal").stat().st_size
        assert size < 16 << 20  # of 27 MB written
