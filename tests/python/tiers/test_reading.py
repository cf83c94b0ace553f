"""Who reads a reply of Redis: threads and event loops do, and nothing that they do loses one."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import RedisTier, TieredCache
from redis_server import RedisServer, redis_server

PATIENT = 20.0
WORDS = {f"key {i}": f"value {i}" for i in range(50)}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def tier(server: RedisServer) -> Iterator[RedisTier]:
    with RedisTier(server.url, timeout=PATIENT) as tier:
        tier.set_many(WORDS)
        yield tier


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def read_all(tier: RedisTier, rounds: int = 5) -> None:
    """Every word, one after the other and all at once."""
    for _ in range(rounds):
        assert [await tier.aget(key) for key in WORDS] == list(WORDS.values())
        assert await asyncio.gather(*map(tier.aget, WORDS)) == list(WORDS.values())


def test_a_loop_that_is_busy_for_longer_than_the_timeout_gets_what_came_in_time(server: RedisServer) -> None:
    async def main(tier: RedisTier) -> None:
        await tier.aget("key 0")  # connected
        asked = [asyncio.ensure_future(tier.aget(key)) for key in WORDS]
        await asyncio.sleep(0)  # the first is sent, the others are gathered
        time.sleep(1.5)  # noqa: ASYNC251
        assert await asyncio.gather(*asked) == list(WORDS.values())

    with RedisTier(server.url, timeout=1) as tier:
        tier.set_many(WORDS)
        asyncio.run(main(tier))
        assert tier.stats().timeouts == 0


def test_sync_calls_on_the_thread_of_a_loop_get_their_answers(tier: RedisTier) -> None:
    async def main() -> None:
        for key, value in WORDS.items():
            asked = asyncio.ensure_future(tier.aget(key))
            await asyncio.sleep(0)
            assert tier.get(key) == value  # while the loop has a command in flight, and stands
            assert await asked == value

    asyncio.run(main())


def test_what_a_stopped_loop_left_in_flight_harms_nobody(tier: RedisTier) -> None:
    loop = asyncio.new_event_loop()
    for key, value in WORDS.items():
        left = [loop.create_task(tier.aget(key)) for key in WORDS]
        loop.run_until_complete(asyncio.sleep(0))  # sent, and the loop stops
        assert tier.get(key) == value
        assert loop.run_until_complete(asyncio.gather(*left)) == list(WORDS.values())
    abandoned = [loop.create_task(tier.aget(key)) for key in WORDS]
    loop.run_until_complete(asyncio.sleep(0))
    for task in abandoned:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*abandoned, return_exceptions=True))
    loop.close()
    asyncio.run(read_all(tier))
    assert tier.stats().losses == 0


def test_cancelled_reads_shift_nobodys_answer(tier: RedisTier) -> None:
    async def main() -> None:
        for _ in range(20):
            asked = [asyncio.ensure_future(tier.aget(key)) for key in WORDS]
            await asyncio.sleep(0)
            for task in asked[::2]:
                task.cancel()
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert answers[1::2] == list(WORDS.values())[1::2]

    asyncio.run(main())


def test_threads_and_loops_at_once_each_get_their_own(tier: RedisTier) -> None:
    def read() -> None:
        for _ in range(5):
            assert [tier.get(key) for key in WORDS] == list(WORDS.values())

    with ThreadPoolExecutor(6) as pool:
        jobs: list[Any] = [pool.submit(read) for _ in range(3)]
        jobs += [pool.submit(lambda: asyncio.run(read_all(tier))) for _ in range(3)]
        for job in jobs:
            job.result()
    assert tier.stats().losses == 0


def test_loops_come_and_go_and_leave_no_descriptor(tier: RedisTier) -> None:
    asyncio.run(read_all(tier, 1))
    before = descriptors()
    for _ in range(20):
        asyncio.run(read_all(tier, 1))
    assert descriptors() <= before


def test_clients_come_and_go_in_one_loop_and_leave_no_descriptor(server: RedisServer) -> None:
    async def main() -> None:
        counts = []
        for _ in range(5):
            for _ in range(4):
                with RedisTier(server.url, timeout=PATIENT) as tier:
                    await tier.aset("word", 1)
                    assert await tier.aget("word") == 1
            del tier
            counts.append(descriptors())
        assert counts[-1] <= counts[0]

    asyncio.run(main())


def test_a_forked_child_reads_over_its_own_connection(tier: RedisTier) -> None:
    async def main() -> None:
        asked = [asyncio.ensure_future(tier.aget(key)) for key in WORDS]
        await asyncio.sleep(0)  # in flight, and the loop watches the connection
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if [tier.get(key) for key in WORDS] == list(WORDS.values()):
                    code = 0
            finally:
                os._exit(code)
        assert await asyncio.gather(*asked) == list(WORDS.values())
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0
        await read_all(tier)

    asyncio.run(main())
    assert tier.stats().losses == 0


def test_other_threads_run_while_one_waits_for_a_reply(tier: RedisTier) -> None:
    counted, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = counted[0]
        for _ in range(20):
            assert [tier.get(key) for key in WORDS] == list(WORDS.values())
        asyncio.run(read_all(tier, 1))
        assert counted[0] > before
    finally:
        stop.set()
        thread.join()


def test_what_was_read_after_an_announcement_is_not_older_than_it(server: RedisServer) -> None:
    """Who reads that a change was made, reads what was changed."""
    with (
        RedisTier(server.url, timeout=PATIENT) as writer,
        TieredCache(shared=RedisTier(server.url, timeout=PATIENT)) as reader,
    ):
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                writer.set("data", number)
                writer.set(f"flag {number}", number)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for number in range(1, 200):
                while reader.get(f"flag {number}") is None:  # nothing is kept of what is not there
                    pass
                assert reader.get("data") >= number
        finally:
            stop.set()
            thread.join()
        reader.shared.close()
