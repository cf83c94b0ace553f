"""What the server evicts, or no longer remembers that it was read, is not kept in memory either.

Both happen while it serves some client, often the one that keeps the value; it must be told like any other.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mcp_performance import Cache, RedisTier, TieredCache, cached
from redis_server import RedisServer, eventually, redis_server

PATIENT = 30.0
KEYS = range(40)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def cache(server: RedisServer) -> Iterator[TieredCache]:
    with RedisTier(server.url, timeout=PATIENT) as tier, TieredCache(Cache(10_000), tier) as cache:
        yield cache


@pytest.fixture
def other(server: RedisServer) -> Iterator[TieredCache]:
    with RedisTier(server.url, timeout=PATIENT) as tier, TieredCache(Cache(10_000), tier) as cache:
        yield cache


def test_a_server_that_remembers_few_reads(
    server: RedisServer, cache: TieredCache, other: TieredCache
) -> None:
    server.cli("CONFIG", "SET", "tracking-table-max-keys", "3")
    other.set_many(dict.fromkeys(KEYS, "old"))
    assert [cache.get(key) for key in KEYS] == ["old"] * len(KEYS)
    other.set_many(dict.fromkeys(KEYS, "new"))
    assert eventually(lambda: [cache.get(key) for key in KEYS] == ["new"] * len(KEYS))


@pytest.mark.parametrize("said", [">{}", "><", ">zz", ">00000099k", "<", ""])
def test_only_what_is_announced_next_can_be_our_own(
    server: RedisServer, cache: TieredCache, other: TieredCache, said: str
) -> None:
    """Nothing that is said on our channel, by mistake or not, hides what comes after something else."""
    other.set_many({"first": "old", "second": "old"})
    assert [cache.get(key) for key in ("first", "second")] == ["old", "old"]
    first, second = (cache.shared._spell(key).decode() for key in ("first", "second"))
    server.cli(
        *("EVAL", _SAY_AND_DELETE, "2", first, second),
        *(cache._holder.life_channel, said.format(f"{len(first):08x}{first}")),
    )
    assert eventually(lambda: [cache.get(key) for key in ("first", "second")] == [None, None])


_SAY_AND_DELETE = """
redis.call('PUBLISH', ARGV[1], ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('DEL', KEYS[1])
"""


@pytest.mark.parametrize("end", ["key", "tag", "function"])
def test_a_server_that_evicts(server: RedisServer, cache: TieredCache, other: TieredCache, end: str) -> None:
    """What another process ends that has read it anew, which is told of that."""
    values = {"value": "old"}

    def load(key: int) -> str:
        return values["value"]

    f = cached(cache=cache, name="f", tags=("all",), ttl=100)(load)
    f_of_other = cached(cache=other, name="f", tags=("all",), ttl=100)(load)
    assert [f(key) for key in KEYS] == ["old"] * len(KEYS)
    used = int(server.cli("INFO", "memory").split("used_memory:")[1].split()[0])
    server.cli("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    server.cli("CONFIG", "SET", "maxmemory", str(used + 100_000))
    for number in range(200):
        cache.set(("large", number), "x" * 10_000, ttl=100_000)
    assert int(server.cli("INFO", "stats").split("evicted_keys:")[1].split()[0]) > 0
    server.cli("CONFIG", "SET", "maxmemory", "0")
    for key in KEYS:
        f_of_other(key)
    values["value"] = "new"
    if end == "key":
        for key in KEYS:
            f_of_other.cache_invalidate(key)
    elif end == "tag":
        other.invalidate_tags("all")
    else:
        f_of_other.cache_clear()
    assert eventually(lambda: [f(key) for key in KEYS] == ["new"] * len(KEYS))
