"""What a tiered cache answers by itself, natively."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mcp_performance import Cache, RedisTier, TieredCache
from redis_server import redis_server

PATIENT = 20.0


@pytest.fixture(scope="module")
def tier() -> Iterator[RedisTier]:
    with redis_server() as server, RedisTier(server.url, timeout=PATIENT) as tier:
        yield tier


@pytest.fixture
def tiered(tier: RedisTier) -> Iterator[TieredCache]:
    tier._run([("FLUSHALL",)])
    cache = TieredCache(Cache(100), tier)
    yield cache
    cache.close()


def test_what_memory_has_is_answered_without_a_frame(tiered: TieredCache) -> None:
    tiered.set("k", 1)
    assert tiered.get("k") == 1
    frames: list[Any] = []

    async def reads() -> list[Any]:
        sys.setprofile(
            lambda frame, event, _: (
                frames.append(frame) if "mcp_performance" in frame.f_code.co_filename else 0
            )
        )
        try:
            return [
                tiered.get("k"),
                tiered.get(default=0, key="k"),
                await tiered.aget("k"),
                await tiered.aget("k", 0),
            ]
        finally:
            sys.setprofile(None)

    assert asyncio.run(reads()) == [1, 1, 1, 1]
    assert frames == []
    assert tiered.stats().hits == 5


async def test_an_awaitable_get_passes_for_a_coroutine(tiered: TieredCache) -> None:
    await tiered.aset("k", 1)
    for _ in range(2):  # from Redis, then from memory
        assert await asyncio.create_task(tiered.aget("k")) == 1
        assert tiered.aget.__name__ == "aget"
        pending = tiered.aget("k")
        assert asyncio.iscoroutine(pending)
        assert pending.__qualname__ == "TieredCache.aget"
        pending.close()
    unhashable: Any = []
    failing = tiered.aget(unhashable)
    with pytest.raises(TypeError, match="unhashable"):
        await failing
    wrong: list[Any] = [(), ("k", 0, 0)]
    for args in wrong:
        with pytest.raises(TypeError, match="get"):
            tiered.get(*args)
    with pytest.raises(TypeError, match="get"):
        tiered.get("k", key="k")  # type: ignore[misc]
