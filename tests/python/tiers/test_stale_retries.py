"""With ``stale_ttl``, each call whose value is stale tries to load a new one, whatever keeps the values: a
load that failed keeps nobody from trying again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mcp_performance import Cache, TieredCache, cached
from redis_server import RedisServer, eventually, redis_server

CALLS = 20


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["memory", "a cache", "sqlite", "redis"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield None
    elif request.param == "a cache":
        yield Cache(10)
    else:
        if request.param == "redis":
            server: RedisServer = request.getfixturevalue("server")
            server.cli("FLUSHALL")
            url = server.url
        else:
            url = f"sqlite:///{tmp_path}/cache.db"
        with closing(TieredCache(url=url, timeout=30.0)) as tiered:
            yield tiered


class Service:
    """A function that fails from its second load on."""

    def __init__(self, cache: Any, is_async: bool, **options: Any) -> None:
        self.loads = 0
        if cache is not None:
            options["cache"] = cache
        make = cached(ttl=0.02, stale_ttl=1000, **options)
        self.f: Any = make(self.aload) if is_async else make(self.load)
        self._is_async = is_async

    def load(self, key: str) -> str:
        self.loads += 1
        if self.loads > 1:
            raise ValueError(key)
        return "value"

    async def aload(self, key: str) -> str:
        return self.load(key)

    def calls(self, count: int) -> list[str]:
        if not self._is_async:
            return [self.f("k") for _ in range(count)]

        async def call_each() -> list[str]:
            return [await self.f("k") for _ in range(count)]

        return asyncio.run(call_each())


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("options", [{}, {"refresh_ahead": 1.0}, {"jitter": 0.1}], ids=str)
def test_each_call_tries_again(cache: Any, is_async: bool, options: dict[str, Any]) -> None:
    service = Service(cache, is_async, **options)
    assert service.calls(1) == ["value"]
    assert eventually(lambda: service.calls(1) == ["value"] and service.loads > 1)
    before = service.loads
    assert service.calls(CALLS) == ["value"] * CALLS
    assert service.loads == before + CALLS
