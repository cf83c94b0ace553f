"""Many keys at a time: what single ones do, for each of them."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from fault_proxy import DOWN, fault_proxy
from mcp_performance import (
    BackendUnavailable,
    Cache,
    RedisTier,
    SerializationError,
    TieredCache,
    cached,
)
from redis_server import RedisServer, eventually, redis_server

PATIENT = 20.0
VALUES: list[Any] = [0, -5, "text", b"bytes", None, True, 1.5, [1, 2], {"a": (1,)}, 2**70, "x" * 40_000]


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    shared_server.cli("FLUSHALL")
    return shared_server


@pytest.fixture
def tier(server: RedisServer) -> Iterator[RedisTier]:
    with RedisTier(server.url, timeout=PATIENT) as tier:
        yield tier


class Called:
    """The methods of a tier or cache, sync or awaited, called as if they were sync."""

    def __init__(self, target: Any, *, is_async: bool) -> None:
        self.target = target
        self.is_async = is_async

    def __getattr__(self, name: str) -> Any:
        if not self.is_async:
            return getattr(self.target, name)
        method = getattr(self.target, "a" + name)

        async def wait(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            assert inspect.isawaitable(result)
            return await result

        return lambda *args, **kwargs: asyncio.run(wait(*args, **kwargs))


@pytest.fixture(params=["tier", "tiered", "little memory"])
def made(request: Any, tier: RedisTier) -> Iterator[Any]:
    if request.param == "tier":
        yield tier
    else:
        cache = TieredCache(Cache(10_000 if request.param == "tiered" else 3), tier)
        yield cache
        cache.close()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def both(request: Any, made: Any) -> Called:
    return Called(made, is_async=request.param)


def keys_of(count: int) -> dict[Any, Any]:
    """Keys of many types, with values of many types."""
    forms = (str, int, lambda i: ("f", i), lambda i: f"{i}".encode(), lambda i: (i, None, 1.5))
    return {forms[i % 5](i): VALUES[i % len(VALUES)] for i in range(count)}


def same(found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    assert found == expected
    assert {key: type(value) for key, value in found.items()} == {
        key: type(expected[key]) for key in expected
    }


def test_what_is_set_is_found(both: Called, tier: RedisTier) -> None:
    items = keys_of(2500)
    both.set_many(items)
    for _ in range(2):
        same(both.get_many(items), items)
    same(both.get_many(["none", *items, "none either"]), items)
    same(both.get_many(iter(reversed(list(items)))), items)
    some = list(items)[::7]
    assert all(both.get(key) == items[key] for key in some)
    assert tier.get(some[0]) == items[some[0]]
    assert both.get_many([]) == {}
    both.set_many({})
    assert both.delete_many([*some, *some, "none"]) == len(some)
    assert both.get_many(some) == {}
    assert len(both.get_many(items)) == len(items) - len(some)


def test_single_and_many_are_one_store(both: Called) -> None:
    items = keys_of(50)
    for key, value in items.items():
        both.set(key, value)
    same(both.get_many(items), items)
    both.set_many(dict.fromkeys(items, "new"))
    assert all(both.get(key) == "new" for key in items)


def test_a_server_that_has_forgotten_its_scripts_loses_none(both: Called, server: RedisServer) -> None:
    items = keys_of(60)
    for tags in ((), ("t",)):
        both.set_many(dict.fromkeys(items, "old"), tags=tags)
        server.cli("SCRIPT", "FLUSH")
        both.set_many(items, tags=tags)
        same(both.get_many(items), items)


def test_equal_keys_are_one_key(both: Called) -> None:
    both.set_many({1: "one"})
    assert both.get_many([1.0, True]) == {1: "one"}
    both.set_many({True: "yes"})
    assert both.get(1) == "yes"
    assert both.delete_many([1.0]) == 1
    assert both.get_many([1]) == {}


def test_tags_and_lifetimes_are_those_of_the_values(
    both: Called, server: RedisServer, tier: RedisTier
) -> None:
    items = keys_of(600)
    both.set_many(items, tags=("t", "u"), ttl=500)
    same(both.get_many(items), items)
    for key in list(items)[:3]:
        assert 400_000 < int(server.cli("PTTL", tier._spell(key))) <= 500_000
    assert both.invalidate_tags("t") == len(items)
    assert both.get_many(items) == {}
    both.set_many(items, ttl=None)
    assert both.invalidate_tags("t", "u") == 0
    assert server.cli("PTTL", tier._spell(next(iter(items)))) == "-1"
    same(both.get_many(items), items)


def test_values_that_cannot_be_read_are_missing(both: Called, server: RedisServer, tier: RedisTier) -> None:
    both.set_many({"a": 1, "b": 2, "c": 3, "d": 4})
    server.cli("SET", tier._spell("b"), "no value")
    server.cli("DEL", tier._spell("c"))
    server.cli("RPUSH", tier._spell("c"), "a list")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a list is an error of that key
        assert eventually(lambda: both.get_many([*"abcd"]) == {"a": 1, "d": 4})


def test_nothing_is_sent_if_one_cannot_be_carried(both: Called) -> None:
    both.set("a", "old")
    for items in ({"a": 1, "b": object()}, {"a": 1, object(): 2}):
        with pytest.raises(SerializationError):
            both.set_many(items)
    assert both.get("a") == "old"
    with pytest.raises(SerializationError):
        both.get_many(["a", object()])
    with pytest.raises(TypeError):
        both.get_many([["a"]]) if isinstance(both.target, TieredCache) else both.get_many(None)


def test_figures_count_each_key(both: Called) -> None:
    both.set_many({"a": 1, "b": 2})
    both.get_many(["a", "b", "c"])
    stats = both.target.stats()
    assert (stats.hits, stats.misses) == (2, 1)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_process_reads_its_own_writes_while_the_news_lag(server: RedisServer, is_async: bool) -> None:
    with fault_proxy(server.port) as proxy, RedisTier(proxy.url, timeout=PATIENT) as tier:
        cache = TieredCache(Cache(1000), tier)
        both = Called(cache, is_async=is_async)
        items = keys_of(300)
        both.set_many(dict.fromkeys(items, "old"))
        both.get_many(items)
        proxy.hold(DOWN, news=True)
        both.set_many(items)
        same(both.get_many(items), items)
        same(both.get_many(items), items)
        both.delete_many(items)
        assert both.get_many(items) == {}
        tier.set_many(items)
        same(both.get_many(items), items)
        tier.delete_many(items)
        assert both.get_many(items) == {}
        proxy.let_go()
        cache.close()


def test_what_another_process_changes_leaves_memory(server: RedisServer, tier: RedisTier) -> None:
    cache = TieredCache(Cache(1000), tier)
    with RedisTier(server.url, timeout=PATIENT) as other:
        items = dict.fromkeys(range(500), "old")
        cache.set_many(items)
        assert cache.get_many(items) == items
        other.set_many(dict.fromkeys(items, "new"))
        assert eventually(lambda: cache.get_many(items) == dict.fromkeys(items, "new"))
        other.delete_many(range(100))
        assert eventually(lambda: len(cache.get_many(items)) == 400)
    cache.close()


@pytest.mark.parametrize("change", ["set_many", "delete_many"])
@pytest.mark.parametrize("of", ["cache", "tier"])
def test_a_load_that_began_before_is_stored_nowhere(tier: RedisTier, change: str, of: str) -> None:
    cache = TieredCache(Cache(100), tier)
    target: Any = cache if of == "cache" else tier

    @cached(cache=cache)
    def f(x: int) -> str:
        if overtakes:
            overtakes.pop()
            target.set_many({f.cache_key(x): "new"}) if change == "set_many" else target.delete_many(
                [f.cache_key(x)]
            )
            return "old"
        return "new"

    overtakes = [True]
    assert f(1) == "old"
    assert f(1) == "new"
    assert tier.get(f.cache_key(1)) == "new"
    cache.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_while_redis_is_away_memory_serves_and_the_rest_is_owed(server: RedisServer, is_async: bool) -> None:
    with (
        fault_proxy(server.port) as proxy,
        RedisTier(proxy.url, timeout=PATIENT) as tier,
        RedisTier(server.url, timeout=PATIENT) as other,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", RuntimeWarning)
        cache = TieredCache(Cache(1000), tier)
        both = Called(cache, is_async=is_async)
        other.set_many({"a": "old", "b": "old", "c": "old"})
        assert both.get_many([*"abc"]) == {"a": "old", "b": "old", "c": "old"}
        proxy.cut()
        assert eventually(lambda: not cache._client.stats()["connected"])
        assert both.get_many([*"abc"]) == {}
        both.set_many({"a": "new"})
        both.delete_many([*"b"])
        assert both.get_many([*"abc"]) == {"a": "new"}
        other.set_many({"d": "theirs"})
        proxy.let_go()
        assert eventually(lambda: both.get_many([*"cd"]) == {"c": "old", "d": "theirs"})
        assert "b" not in both.get_many([*"abc"])
        assert both.get_many([*"a"]) in ({}, {"a": "new"})
        assert eventually(lambda: not cache._debts)
        assert eventually(lambda: other.get_many([*"abcd"]) == {"c": "old", "d": "theirs"})
        cache.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_tier_that_is_away_says_so(server: RedisServer, is_async: bool) -> None:
    with fault_proxy(server.port) as proxy, RedisTier(proxy.url, timeout=PATIENT) as tier:
        proxy.cut()
        both = Called(tier, is_async=is_async)
        for act in (
            lambda: both.get_many([*"a"]),
            lambda: both.set_many({"a": 1}),
            lambda: both.delete_many([*"a"]),
        ):
            with pytest.raises(BackendUnavailable):
                act()
        assert tier.stats().unavailable == 3


async def test_the_loop_turns_between_parts(tier: RedisTier) -> None:
    cache = TieredCache(Cache(10_000), tier)
    items = {i: i for i in range(5000)}
    await cache.aset_many(items)
    await cache.aget_many(items)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    assert await cache.aget_many(items) == items  # from memory alone
    counting.cancel()
    assert turns >= 4
    cache.close()


class Unlike:
    """A value that answers every comparison with one that has no truth, as an array does."""

    def __eq__(self, other: object) -> Any:
        return Untrue()

    __hash__ = None  # type: ignore[assignment]


class Untrue:
    def __bool__(self) -> bool:
        raise ValueError("it has no truth")


def test_values_are_not_asked_what_they_equal(server: RedisServer) -> None:
    with (
        RedisTier(server.url, timeout=PATIENT, codec="pickle", signing_key=b"0123456789abcdef") as tier,
        TieredCache(shared=tier) as cache,
    ):
        tier.set_many({"a": Unlike(), "b": 1})
        assert isinstance(tier.get_many(["a", "b", "none"])["a"], Unlike)
        for _ in range(2):  # from Redis, and from memory
            found = cache.get_many(["a", "none", "b"])
            assert list(found) == ["a", "b"]
            assert isinstance(found["a"], Unlike)
