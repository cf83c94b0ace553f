"""Batches, replies of Redis, HTTP bodies and load tests, cut as small as it goes.

Whatever is dropped, closed or forked in the middle, the other answers are whole, and so are later ones.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from mcp_performance import (
    BackendUnavailable,
    BatchProcessor,
    HttpClient,
    HttpError,
    LoadTester,
    RedisTier,
    batched,
)
from oracle_http import Reply, Server, serving
from redis_server import RedisServer, redis_server

pytestmark = [
    pytest.mark.usefixtures("smallest_slices"),
    pytest.mark.filterwarnings("ignore::mcp_performance.GilBoundWarning"),
]

COUNT = 200
ITEMS = list(range(COUNT))
DOUBLED = [2 * item for item in ITEMS]


def double(item: int) -> int:
    return 2 * item


async def adouble(item: int) -> int:
    await asyncio.sleep(0)
    return 2 * item


def lazily() -> Iterator[int]:
    yield from ITEMS


async def slowly() -> AsyncIterator[int]:
    for item in ITEMS:
        await asyncio.sleep(0)
        yield item


def in_child(act: Callable[[], None]) -> int:
    """The exit code of a forked child that does *act*, outside of any event loop."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.events._set_running_loop(None)
            asyncio.set_event_loop(None)
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


async def exit_code(child: int) -> int:
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    return os.waitstatus_to_exitcode(status)


# Batches and their feeds

FUNCTIONS: list[tuple[Any, Any]] = [(double, "cpu"), (double, "blocking"), (adouble, "async")]
FEEDS: list[Callable[[], Any]] = [lambda: ITEMS, lazily, slowly]


@pytest.mark.parametrize("feed", FEEDS, ids=["list", "iterator", "async iterator"])
async def test_maps_at_once_are_whole_and_survive_a_cancelled_one(feed: Callable[[], Any]) -> None:
    async with BatchProcessor(3) as batch:
        for turns in range(4):
            dropped = [
                asyncio.ensure_future(batch.map(fn, feed(), kind=kind, chunk_size=1))
                for fn, kind in FUNCTIONS
            ]
            kept = [
                asyncio.ensure_future(batch.map(fn, feed(), kind=kind, chunk_size=1))
                for fn, kind in FUNCTIONS
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in dropped:
                task.cancel()
            for result in await asyncio.gather(*kept):
                assert (result.results, result.errors) == (DOUBLED, {})
            await asyncio.gather(*dropped, return_exceptions=True)


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_slow_consumer_gets_each_outcome_once(ordered: bool) -> None:
    async with BatchProcessor(3) as batch:
        for fn, kind in FUNCTIONS:
            seen = {}
            stream = batch.stream(fn, slowly(), ordered=ordered, buffer=2, kind=kind)
            async for outcome in stream:
                assert outcome.index not in seen
                seen[outcome.index] = outcome.value
                await asyncio.sleep(0)
            assert [seen[index] for index in ITEMS] == DOUBLED
            assert not ordered or list(seen) == ITEMS
            async with aclosing(batch.stream(fn, slowly(), kind=kind)) as left:
                await anext(left)
        assert (await batch.map(double, ITEMS)).results == DOUBLED


async def test_closing_waits_for_a_map_and_it_is_whole() -> None:
    batch = BatchProcessor(2)
    maps = [asyncio.ensure_future(batch.map(fn, slowly(), kind=kind)) for fn, kind in FUNCTIONS]
    await asyncio.sleep(0)
    await batch.close()
    assert [result.results for result in await asyncio.gather(*maps)] == [DOUBLED] * 3


async def test_a_fork_in_the_middle_of_maps_leaves_both_processes_whole() -> None:
    started, go_on = threading.Event(), threading.Event()

    def wait(item: int) -> int:
        started.set()
        go_on.wait()
        return 2 * item

    async def own_map() -> list[Any]:
        async with BatchProcessor(2) as own:
            return (await own.map(double, lazily())).results

    def child() -> None:
        assert asyncio.run(own_map()) == DOUBLED

    async with BatchProcessor(2) as batch:
        mapping = asyncio.ensure_future(batch.map(wait, lazily(), kind="blocking"))
        await asyncio.to_thread(started.wait)
        forked = in_child(child)
        go_on.set()
        assert (await mapping).results == DOUBLED
        assert await exit_code(forked) == 0


async def test_batched_callers_get_their_own_beside_cancelled_ones() -> None:
    @batched(max_size=7, max_wait=0)
    async def function(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return [2 * item for item in items]

    calls = [function(item) for item in ITEMS]
    await asyncio.sleep(0)
    for call in calls[::3]:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for item, outcome in enumerate(outcomes):
        assert outcome == 2 * item or isinstance(outcome, asyncio.CancelledError)
    assert [outcome for item, outcome in enumerate(outcomes) if item % 3] == [
        2 * item for item in ITEMS if item % 3
    ]
    assert await asyncio.gather(*map(function, ITEMS)) == DOUBLED


# Replies of Redis


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


async def filled(server: RedisServer, namespace: str) -> RedisTier:
    tier = RedisTier(server.url, timeout=30, namespace=namespace)
    await asyncio.gather(*(tier.aset(item, f"value {item}") for item in ITEMS))
    return tier


VALUES = [f"value {item}" for item in ITEMS]


async def test_pipelined_replies_are_whole_beside_cancelled_ones(server: RedisServer) -> None:
    async with await filled(server, "cancelled") as tier:
        for turns in range(4):
            reads = [asyncio.ensure_future(tier.aget(item)) for item in ITEMS]
            for _ in range(turns):
                await asyncio.sleep(0)
            for read in reads[::2]:
                read.cancel()
            assert await asyncio.gather(*reads[1::2]) == VALUES[1::2]
            await asyncio.gather(*reads, return_exceptions=True)
        assert await asyncio.gather(*map(tier.aget, ITEMS)) == VALUES


async def test_a_tier_that_is_closed_answers_whole_or_not_at_all(server: RedisServer) -> None:
    tier = await filled(server, "closed")
    reads = [asyncio.ensure_future(tier.aget(item)) for item in ITEMS]
    await asyncio.sleep(0)
    tier.close()
    for value, answer in zip(VALUES, await asyncio.gather(*reads, return_exceptions=True), strict=True):
        assert answer == value or isinstance(answer, BackendUnavailable)


async def test_a_fork_in_the_middle_of_replies_leaves_both_processes_whole(server: RedisServer) -> None:
    async with await filled(server, "forked") as tier:
        reads = [asyncio.ensure_future(tier.aget(item)) for item in ITEMS]
        await asyncio.sleep(0)

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*map(tier.aget, ITEMS))

        def child() -> None:
            assert [tier.get(item) for item in ITEMS] == VALUES
            assert asyncio.run(all_of_them()) == VALUES

        forked = in_child(child)
        assert await asyncio.gather(*reads) == VALUES
        assert await exit_code(forked) == 0
        assert await asyncio.gather(*map(tier.aget, ITEMS)) == VALUES


# HTTP bodies, a byte at a time

BODY = b"\r\n0\r\n\r\n" + bytes(range(256)) * 2
CHUNKED = b"1\r\n" + BODY[:1] + b"\r\n%x;a=b\r\n" % (len(BODY) - 1) + BODY[1:] + b"\r\n0\r\n\r\n"
PACKED = gzip.compress(BODY)
FRAMINGS = {
    "length": (f"Content-Length: {len(BODY)}\r\n", BODY, False),
    "chunked": ("Transfer-Encoding: chunked\r\n", CHUNKED, False),
    "close": ("", BODY, True),
    "gzip": (f"Content-Encoding: gzip\r\nContent-Length: {len(PACKED)}\r\n", PACKED, False),
    "gzip until close": ("Content-Encoding: gzip\r\n", PACKED, True),
}


def byte_by_byte(framing: str) -> Reply:
    headers, framed, closes = FRAMINGS[framing]
    wire = f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + framed
    return Reply(200, [], BODY, wire, closes, [1] * len(wire))


REPLIES = {f"/{place}": byte_by_byte(framing) for place, framing in enumerate(FRAMINGS)}
PATHS = list(REPLIES) * 4


def choose(_: str, target: str) -> Reply:
    return REPLIES[target]


def bodies(client: HttpClient) -> list[bytes]:
    return [client.get(path).body for path in REPLIES]


async def test_bodies_that_come_byte_by_byte_are_whole() -> None:
    async with serving(choose) as server, BatchProcessor(5) as batch:
        with HttpClient(server.url, timeout=60) as client:
            result = await batch.map(client.get, PATHS, kind="blocking", chunk_size=1)
    result.raise_errors()
    assert [reply.body for reply in result.results if reply is not None] == [BODY] * len(PATHS)


async def test_a_client_that_is_closed_or_dropped_leaves_the_next_whole() -> None:
    async with serving(choose) as server, BatchProcessor(5) as batch:
        client = HttpClient(server.url, timeout=60)
        dropped = asyncio.ensure_future(batch.map(client.get, PATHS, kind="blocking", chunk_size=1))
        kept = asyncio.ensure_future(batch.map(client.get, PATHS, kind="blocking", chunk_size=1))
        while len(server.log) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0)
        dropped.cancel()
        client.close()
        for reply, error in zip((await kept).results, [None] * len(PATHS), strict=True):
            assert error is None
            assert reply is not None
            assert reply.body == BODY
        await asyncio.gather(dropped, return_exceptions=True)
        assert await asyncio.to_thread(bodies, client) == [BODY] * len(REPLIES)
        client.close()


async def test_a_fork_in_the_middle_of_bodies_leaves_both_processes_whole() -> None:
    async with serving(choose) as server, BatchProcessor(3) as batch:
        with HttpClient(server.url, timeout=60) as client:
            replies = asyncio.ensure_future(batch.map(client.get, PATHS, kind="blocking", chunk_size=1))
            while len(server.log) < 5:  # noqa: ASYNC110
                await asyncio.sleep(0)
            forked = in_child(lambda: check_bodies(client))
            assert [reply.body for reply in (await replies).results if reply] == [BODY] * len(PATHS)
            assert await exit_code(forked) == 0


def check_bodies(client: HttpClient) -> None:
    assert bodies(client) == [BODY] * len(REPLIES)


async def test_a_body_that_breaks_off_is_an_error_not_a_shorter_body() -> None:
    whole = byte_by_byte("length").wire
    broken = {"/length": whole[:-1], "/chunked": byte_by_byte("chunked").wire[:-2], "/gzip": b""}
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + PACKED[:-9]
    broken["/gzip"] = packed

    def choose_broken(_: str, target: str) -> Reply:
        wire = broken[target]
        return Reply(200, [], b"", wire, True, [1] * len(wire))

    async with serving(choose_broken) as server:
        with HttpClient(server.url, timeout=60) as client:
            for target in broken:
                with pytest.raises(HttpError):
                    await asyncio.to_thread(client.get, target)


# Load tests


def check_log(result: Any, server: Server) -> None:
    assert result.total_requests == result.successful == len(server.log) == result.histogram.count
    assert sum(point.successful for point in result.series) == result.successful
    assert sum(point.bytes for point in result.series) == result.bytes_received
    assert result.bytes_received == sum(exchange.sent for exchange in server.log)
    assert result.bytes_sent == sum(exchange.received for exchange in server.log)


async def test_a_load_test_that_is_cancelled_leaves_the_next_whole() -> None:
    small = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    reply = Reply(200, [], b"ok", small, False, [1] * len(small))
    async with serving(lambda _, __: reply) as server:
        tester = LoadTester(server.url, threads=2)
        running = asyncio.ensure_future(tester.run_load_test(100_000, 4))
        while len(server.log) < 20:  # noqa: ASYNC110
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    async with serving(lambda _, __: reply) as server:
        check_log(await LoadTester(server.url, threads=2).run_load_test(300, 4), server)
