"""Operations of this package that need nothing of Python, over many items."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from mcp_performance import (
    BatchProcessor,
    IntegrityError,
    PoolClosed,
    QueryError,
    SQLitePool,
    cached,
    fingerprint,
)

STATEMENTS = [f"select *\nfrom t{number % 7} where a = {number}" for number in range(3000)]


@pytest.mark.parametrize("kind", [None, "cpu", "blocking"])
@pytest.mark.parametrize("chunk_size", [None, 1, 1000])
async def test_fingerprints_of_a_batch_are_those_of_a_loop(kind, chunk_size) -> None:
    async with BatchProcessor(4) as batch:
        result = await batch.map(fingerprint, STATEMENTS, kind=kind, chunk_size=chunk_size)
    assert result.errors == {}
    assert result.results == [fingerprint(sql) for sql in STATEMENTS]
    assert result.results[1] == ("SELECT * FROM t1 WHERE a = ?", fingerprint("SELECT * FROM t1 WHERE a=9")[1])


async def test_native_work_has_errors_of_its_own_items() -> None:
    async with BatchProcessor(4) as batch:
        result = await batch.map(fingerprint, ["select 1", 3, "\ud800", "select 2"])  # type: ignore[list-item]
    assert [type(error) for error in result.errors.values()] == [TypeError, UnicodeEncodeError]
    assert list(result.errors) == [1, 2]
    assert "sql=3" in str(result.errors[1])
    assert result.results == [fingerprint("select 1"), None, None, fingerprint("select 2")]


async def test_native_work_streams_and_runs_on_other_processes() -> None:
    async with BatchProcessor(4) as batch:
        outcomes = [item.result() async for item in batch.stream(fingerprint, iter(STATEMENTS), ordered=True)]
    assert outcomes == [fingerprint(sql) for sql in STATEMENTS]
    with ProcessPoolExecutor(1) as processes:
        result = await BatchProcessor(executor=processes).map(fingerprint, STATEMENTS[:100])
    assert result.results == outcomes[:100]


async def test_a_cancelled_batch_of_native_work_stops() -> None:
    async with BatchProcessor(2) as batch:
        running = asyncio.ensure_future(batch.map(fingerprint, STATEMENTS * 100, chunk_size=1))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await batch.map(fingerprint, STATEMENTS[:5])).succeeded == 5


@pytest.fixture
async def names(tmp_path) -> AsyncIterator[SQLitePool]:
    async with SQLitePool(tmp_path / "app.db", size=3) as pool:
        await pool.execute("create table t(id integer primary key, name text)")
        await pool.executemany("insert into t values(?, ?)", [(n, f"name {n}") for n in range(200)])
        yield pool


@pytest.mark.parametrize("kind", [None, "cpu", "blocking"])
@pytest.mark.parametrize("use_cache", [True, False])
async def test_queries_of_one_statement_with_many_parameters(names, kind, use_cache) -> None:
    fetch = partial(names.blocking.fetchval, "select name from t where id = ?", cache=use_cache)
    async with BatchProcessor(3) as batch:
        for _ in range(2):  # run, and served from the cache
            result = await batch.map(fetch, [(n,) for n in range(200)], kind=kind)
            assert result.results == [f"name {n}" for n in range(200)]
    assert names.stats().cache.hits == (200 if use_cache else 0)


async def test_statements_of_a_batch_fail_each_by_itself(names) -> None:
    add = partial(names.blocking.execute, "insert into t values(?, ?)")
    async with BatchProcessor(3) as batch:
        result = await batch.map(add, [(1000, "a"), (7, "taken"), (1001, object()), (1002, "b")])
        assert result.results == [1, None, None, 1]
        assert {index: type(error) for index, error in result.errors.items()} == {
            1: IntegrityError,
            2: TypeError,
        }
        assert await names.fetchval("select count(*) from t") == 202
        wrong = await batch.map(partial(names.blocking.fetch, "select * from nowhere"), [(), ()])
        assert [type(error) for error in wrong.errors.values()] == [QueryError, QueryError]
        await names.close()
        late = await batch.map(add, [(1003, "c")])
        assert type(late.errors[0]) is PoolClosed


async def test_whole_statements_may_be_the_items(names) -> None:
    statements = ["select min(id) from t", "select max(id) from t", "delete from t where id = 3"]
    async with BatchProcessor(3) as batch:
        result = await batch.map(names.blocking.fetch, statements)
        assert result.results == [[(0,)], [(199,)], []]
        rows = await batch.map(partial(names.blocking.fetchrow, row_type="dict"), ["select 1 as one"])
        assert rows.results == [{"one": 1}]
        bad = await batch.map(partial(names.blocking.fetchrow, colour="red"), ["select 1"])
        assert "colour" in str(bad.errors[0])


async def test_functions_of_the_user_are_called_by_statements_of_a_batch(tmp_path) -> None:
    def init(connection) -> None:
        connection.create_function("twice", 1, lambda value: 2 * value)

    async with SQLitePool(tmp_path / "app.db", size=3, init=init) as pool, BatchProcessor(3) as batch:
        result = await batch.map(
            partial(pool.blocking.fetchval, "select twice(?)"), [(n,) for n in range(50)]
        )
    assert result.results == [2 * n for n in range(50)]


async def test_a_cached_coroutine_function_is_awaited() -> None:
    @cached
    async def load(item: int) -> int:
        return 2 * item

    async with BatchProcessor() as batch:
        assert (await batch.map(load, [1, 2, 1])).results == [2, 4, 2]
