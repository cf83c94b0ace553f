"""Waiting that cannot end is refused at once, and closing waits for a stated time."""

import asyncio
import contextlib
import gc
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import DatabaseError, PoolClosed, PoolTimeout, SQLitePool
from mcp_performance._base._waits import leads_here

INSERT = "INSERT INTO t VALUES (1)"
ITSELF = "has the writer itself"
LONG = 600.0  # a test that waits so long hangs


async def made(path: Path, size: int) -> SQLitePool:
    pool = SQLitePool(path / "a.db", size=size, acquire_timeout=LONG, busy_timeout=LONG)
    await pool.execute("CREATE TABLE t (x)")
    return pool


async def waited_for(pool: SQLitePool, count: int) -> None:
    while pool.stats().waiting < count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def _transaction(pool: SQLitePool) -> None:
    async with pool.transaction():
        pass


async def _acquire_and_write(pool: SQLitePool) -> None:
    async with pool.acquire() as connection:
        await connection.execute(INSERT)


async def _acquire_and_fetch_what_writes(pool: SQLitePool) -> None:
    async with pool.acquire() as connection:
        await connection.fetch("DELETE FROM t RETURNING x")


async def _blocking(pool: SQLitePool) -> None:
    pool.blocking.execute(INSERT)


async def _blocking_transaction(pool: SQLitePool) -> None:
    with pool.blocking.transaction():
        pass


async def _blocking_fetch_what_writes(pool: SQLitePool) -> None:
    pool.blocking.fetch("INSERT INTO t VALUES (3) RETURNING x")


WRITES: list[Callable[[SQLitePool], Awaitable[Any]]] = [
    _transaction,
    _acquire_and_write,
    _acquire_and_fetch_what_writes,
    _blocking,
    _blocking_transaction,
    _blocking_fetch_what_writes,
    lambda pool: pool.execute(INSERT),
    lambda pool: pool.executemany("INSERT INTO t VALUES (?)", [(1,)]),
    lambda pool: pool.fetch("INSERT INTO t VALUES (2) RETURNING x"),
    lambda pool: pool.fetchval("UPDATE t SET x = 1 RETURNING x"),
    lambda pool: pool.ensure_indexes(["CREATE INDEX i ON t (x)"]),
]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("write", WRITES)
async def test_a_task_with_the_writer_is_told_that_it_would_wait_for_itself(
    tmp_path: Path, write: Callable[[SQLitePool], Awaitable[Any]], size: int
) -> None:
    pool = await made(tmp_path, size)
    async with pool.transaction() as connection:
        with pytest.raises(DatabaseError, match=ITSELF):
            await write(pool)
        with pytest.raises(DatabaseError, match=ITSELF):  # and once it is known to write
            await write(pool)
        await connection.execute(INSERT)
        async with connection.transaction():
            await connection.execute(INSERT)
    assert await pool.fetchval("SELECT count(*) FROM t") == 2
    await write(pool)
    await pool.close()


@pytest.mark.parametrize("size", [1, 2, 4])
async def test_statements_at_once_on_one_connection_never_wait_for_each_other(
    tmp_path: Path, size: int
) -> None:
    returning = "INSERT INTO t VALUES (2) RETURNING x"  # nobody knows yet that it writes
    count = "SELECT count(*) FROM t"
    pool = await made(tmp_path, size)
    for known in (False, True):
        async with pool.acquire() as connection:
            before: int = await connection.fetchval(count)
            done = await asyncio.gather(
                connection.execute(INSERT),
                connection.fetchval(returning),
                connection.execute(INSERT),
                connection.fetchval(returning),
                connection.fetch("SELECT no_such_column FROM t"),
                return_exceptions=True,
            )
            assert done[:4] == [1, 2, 1, 2], known
            assert isinstance(done[4], DatabaseError)
            assert await connection.fetchval(count) == before + 4
        assert await pool.fetchval(count) == before + 4
    await pool.close()


async def test_a_write_whose_caller_left_leaves_the_connection_to_the_others(tmp_path: Path) -> None:
    pool = await made(tmp_path, 2)
    async with pool.acquire() as connection:
        async with pool.transaction():  # of the same task: a write would be refused at once
            left = asyncio.create_task(connection.execute(INSERT))
            stays = asyncio.create_task(connection.execute(INSERT))
            await waited_for(pool, 1)
            left.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await left
            assert not stays.done()
        assert await stays == 1
        assert await connection.fetchval("SELECT count(*) FROM t") == 1
    await pool.close()


async def test_an_acquired_connection_that_has_written_is_the_writer(tmp_path: Path) -> None:
    pool = await made(tmp_path, 3)
    async with pool.acquire() as connection:
        await pool.execute(INSERT)  # it only reads so far
        await connection.execute(INSERT)
        with pytest.raises(DatabaseError, match=ITSELF):
            await pool.execute(INSERT)
    await pool.execute(INSERT)
    assert await pool.fetchval("SELECT count(*) FROM t") == 3
    await pool.close()


async def test_other_tasks_wait_as_ever(tmp_path: Path) -> None:
    pool = await made(tmp_path, 2)
    async with pool.transaction() as connection:
        waiting = [
            asyncio.create_task(pool.execute(INSERT)),
            asyncio.create_task(_transaction(pool)),
            asyncio.create_task(_acquire_and_write(pool)),
        ]
        thread = asyncio.create_task(asyncio.to_thread(pool.blocking.execute, INSERT))
        await waited_for(pool, 4)
        assert not any(task.done() for task in [*waiting, thread])
        await connection.execute(INSERT)
    await asyncio.gather(*waiting, thread)
    assert await pool.fetchval("SELECT count(*) FROM t") == 4
    await pool.close()


async def by_wait_for(pool: SQLitePool, write: Any) -> None:
    await asyncio.wait_for(asyncio.ensure_future(write(pool)), 600)


async def by_gather(pool: SQLitePool, write: Any) -> None:
    await asyncio.gather(asyncio.sleep(0), write(pool))


async def by_group(pool: SQLitePool, write: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(write(pool))


async def by_timeout(pool: SQLitePool, write: Any) -> None:
    async with asyncio.timeout(600):
        await write(pool)


async def by_wait(pool: SQLitePool, write: Any) -> None:
    [done], _ = await asyncio.wait([asyncio.ensure_future(write(pool))])
    done.result()


async def by_shield(pool: SQLitePool, write: Any) -> None:
    await asyncio.shield(write(pool))


async def by_thread(pool: SQLitePool, _: Any) -> None:
    await asyncio.to_thread(pool.blocking.execute, INSERT)


async def by_a_block_in_a_thread(pool: SQLitePool, _: Any) -> None:
    def write() -> None:
        with pool.blocking.transaction():
            pass

    await asyncio.get_running_loop().run_in_executor(None, write)


@pytest.mark.parametrize(
    "how",
    [
        by_wait_for,
        by_gather,
        by_group,
        by_timeout,
        by_wait,
        by_shield,
        by_thread,
        by_a_block_in_a_thread,
    ],
)
@pytest.mark.parametrize("write", [_transaction, lambda pool: _execute(pool)], ids=["block", "statement"])
async def test_a_task_that_waits_for_another_that_waits_for_it_is_told(
    tmp_path: Path, how: Any, write: Any
) -> None:
    pool = await made(tmp_path, 2)
    async with pool.transaction() as connection:
        with pytest.raises((DatabaseError, ExceptionGroup)) as caught:
            await how(pool, write)
        error: Any = caught.value
        while isinstance(error, ExceptionGroup):
            [error] = error.exceptions
        assert isinstance(error, DatabaseError)
        assert "has the writer itself" in str(error)
        await connection.execute(INSERT)
    assert await pool.fetchval("SELECT count(*) FROM t") == 1
    await pool.close()


async def _execute(pool: SQLitePool) -> None:
    await pool.execute(INSERT)


async def test_a_wait_that_can_end_otherwise_is_none(tmp_path: Path) -> None:
    """The block goes on with the first of two, and the write after it."""
    pool = await made(tmp_path, 2)
    async with pool.transaction() as connection:
        write = asyncio.ensure_future(pool.execute(INSERT))
        first = asyncio.ensure_future(asyncio.sleep(0))
        await asyncio.wait([write, first], return_when=asyncio.FIRST_COMPLETED)
        await connection.execute(INSERT)
        assert not write.done()
    assert await write == 1
    assert await pool.fetchval("SELECT count(*) FROM t") == 2
    await pool.close()


async def test_a_task_waits_for_the_turns_of_its_loop_and_not_for_its_end(tmp_path: Path) -> None:
    """The loop was started for a task that waits for the thread; its other tasks do not, for that."""
    loop_thread = threading.get_ident()
    done = asyncio.Event()
    other = asyncio.create_task(done.wait())

    def look(task: Any) -> bool:
        while sys._current_frames()[loop_thread].f_code.co_name != "select":  # it has nothing to do
            pass
        return leads_here(task, True)

    assert not await asyncio.to_thread(look, other)
    main = asyncio.current_task()
    assert await asyncio.to_thread(look, main)  # which waits for the thread indeed
    done.set()
    await other


async def test_a_task_that_ended_has_nothing(tmp_path: Path) -> None:
    pool = await made(tmp_path, 2)
    borrowed = pool.transaction()
    connection = await asyncio.create_task(borrowed.__aenter__())  # type: ignore[arg-type]
    waiting = asyncio.create_task(pool.execute(INSERT))
    await waited_for(pool, 1)
    await connection.execute(INSERT)
    await borrowed.__aexit__(None, None, None)
    assert await waiting == 1
    await pool.close()


@pytest.mark.parametrize("size", [1, 2])
def test_a_blocking_thread_is_told_and_others_wait(tmp_path: Path, size: int) -> None:
    pool = asyncio.run(made(tmp_path, size))
    db = pool.blocking
    with db.transaction() as connection:
        for write in (
            lambda: db.execute(INSERT),
            lambda: db.executemany("INSERT INTO t VALUES (?)", [(1,)]),
            lambda: db.fetch("DELETE FROM t RETURNING x"),
            lambda: db.transaction().__enter__(),
            lambda: db.ensure_indexes(["CREATE INDEX i ON t (x)"]),
            lambda: asyncio.run(pool.execute(INSERT)),  # type: ignore[arg-type]
        ):
            with pytest.raises((DatabaseError, ValueError), match=f"{ITSELF}|a coroutine was expected"):
                write()
        thread = threading.Thread(target=db.execute, args=(INSERT,))
        thread.start()
        while pool.stats().waiting == 0:
            pass
        connection.execute(INSERT)
    thread.join()
    assert db.fetchval("SELECT count(*) FROM t") == 2
    db.close()


# ---- closing ----


@pytest.mark.parametrize("blocking", [False, True])
async def test_close_says_which_statement_holds_it(tmp_path: Path, blocking: bool) -> None:
    pool = await made(tmp_path, 3)
    await pool.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 200)
    rows = pool.stream("SELECT   x\nFROM t -- " + "long " * 100)
    await anext(rows)
    with pytest.raises(
        PoolTimeout, match=r"1 of the connections.*'SELECT x FROM t -- long .*\.\.\.'"
    ) as caught:
        await (asyncio.to_thread(pool.blocking.close, timeout=0.01) if blocking else pool.close(timeout=0.01))
    assert len(str(caught.value)) < 400
    with pytest.raises(PoolClosed):
        await pool.fetch("SELECT 1")
    assert await anext(rows)  # what holds it goes on
    await rows.aclose()
    await pool.close()


async def test_close_waits_for_the_acquire_timeout_where_it_is_told_nothing(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db", acquire_timeout=0.02)
    async with pool.acquire() as connection:
        with pytest.raises(PoolTimeout, match=r"0\.02 s.*no statement yet"):
            await pool.close()
        with pytest.raises(PoolClosed):
            await connection.fetchval("SELECT 1")
    await pool.close()


async def test_a_cancelled_close_goes_on_closing(tmp_path: Path) -> None:
    pool = await made(tmp_path, 2)
    async with pool.acquire():
        closing = asyncio.create_task(pool.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert pool.closed
    await pool.close()
    assert pool.stats().open == 0


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "x", True])
async def test_a_bad_timeout_is_named(tmp_path: Path, limit: Any) -> None:
    pool = await made(tmp_path, 2)
    for close in (
        lambda: pool.close(timeout=limit),
        lambda: asyncio.to_thread(pool.blocking.close, timeout=limit),
    ):
        with pytest.raises((ValueError, TypeError), match="timeout"):
            await close()
    assert not pool.closed
    await pool.close()


async def test_terminate_waits_for_nobody(tmp_path: Path) -> None:
    pool = await made(tmp_path, 2)
    async with pool.acquire():
        pool.terminate()
    assert pool.stats().open == 0


# ---- the blocking twin ----


def test_the_twin_is_one_object_and_goes_with_its_pool(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db")
    assert pool.blocking is pool.blocking
    db = pool.blocking
    db.execute("CREATE TABLE t (x)")
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert db.fetch("SELECT * FROM t") == []  # the twin keeps it
    del db
    gc.collect()
    assert gone() is None


# ---- errors of several ----


async def test_each_waiter_has_an_error_of_its_own(tmp_path: Path) -> None:
    class Local:
        pass

    seen: list[weakref.ref[Local]] = []

    def init(_: object) -> None:
        local = Local()
        seen.append(weakref.ref(local))
        raise LookupError("no key")

    pool = SQLitePool(tmp_path / "a.db", size=3, init=init)
    errors = await asyncio.gather(*(pool.fetch("SELECT 1") for _ in range(20)), return_exceptions=True)
    assert len({id(error) for error in errors}) == 20
    assert all(isinstance(error, LookupError) for error in errors)
    depth = [len(list(_frames(error))) for error in errors]
    assert max(depth) <= min(depth) + 1
    del errors
    await asyncio.sleep(0)  # asyncio's own callback lets go of them
    gc.collect()
    assert all(one() is None for one in seen)
    pool.terminate()


def _frames(error: Any) -> Any:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


@pytest.mark.parametrize("how", ["terminate", "cancel"])
async def test_each_of_those_who_wait_for_a_pool_that_ends_has_an_error_of_its_own(
    tmp_path: Path, how: str
) -> None:
    pool = await made(tmp_path, 2)
    async with contextlib.AsyncExitStack() as stack:
        if how == "terminate":
            stack.enter_context(contextlib.suppress(PoolClosed))
        await stack.enter_async_context(pool.transaction())
        waiting = [asyncio.create_task(pool.execute(INSERT)) for _ in range(10)]
        await waited_for(pool, 10)
        if how == "terminate":
            pool.terminate()
        else:
            for task in waiting:
                task.cancel()
        errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert len({id(error) for error in errors}) == 10
    await pool.close()


async def test_joined_reads_that_fail_have_errors_of_their_own(tmp_path: Path) -> None:
    pool = await made(tmp_path, 2)
    await pool.execute("INSERT INTO t VALUES (-9223372036854775808)")
    sql = "SELECT abs(x) FROM t"
    with pytest.raises(DatabaseError):
        await pool.fetch(sql)
    errors = await asyncio.gather(*(pool.fetch(sql) for _ in range(10)), return_exceptions=True)
    assert len({id(error) for error in errors}) == 10
    assert all(len(list(_frames(error))) <= 2 for error in errors)
    await pool.close()


async def test_a_statement_that_has_not_begun_can_be_sent_nothing(tmp_path: Path) -> None:
    pool = SQLitePool(tmp_path / "a.db")
    statement: Any = pool.fetch("SELECT 1")
    with pytest.raises(TypeError, match="just-started"):
        statement.send(1)
    assert await statement == [(1,)]
    await pool.close()
