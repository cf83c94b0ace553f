"""Every value that a cache gives is one that a write or a load put there, in an order that exists.

A write has settled when its call has returned; a read that begins later never gives anything older, whatever
loads were under way, and no read goes back behind another.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable
from typing import Any

import pytest

from mcp_performance import Cache, cached, cached_method
from oracle_actors import ABSENT, Act, Read, Source, run_actors
from oracle_runs import Oracle

KEYS = 12
STEPS = 250


def cache_of(rng: random.Random) -> Cache[str, int]:
    """Of a size that evicts, or not; with lifetimes that end meanwhile, or not."""
    return Cache(
        rng.choice((0, 2, 6, 100, None)),
        policy=rng.choice(("adaptive", "lru")),
        ttl=rng.choice((None, None, 0.005, 60)),
        idle_ttl=rng.choice((None, None, 0.005)),
    )


def named(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """*act* under a name that a failure shows."""

    @functools.wraps(act)
    def call(*args: Any) -> Any:
        return act(*args)

    call.__qualname__ = name
    return call


def writes_of(cache: Cache[str, int]) -> list[Act]:
    return [
        named("set", cache.set),
        named("setitem", cache.__setitem__),
        named("set_many", lambda key, version: cache.set_many({key: version}, ttl=rng_ttl(version))),
        named("delete", lambda key, _: cache.delete(key)),
        named("delete_many", lambda key, _: cache.delete_many([key])),
        named("pop", lambda key, _: cache.pop(key, None)),
        named("clear", lambda key, _: cache.clear()),
    ]


def rng_ttl(version: int) -> float | None:
    return (None, 0.004, 60)[version % 3]


def get_and_touch(cache: Cache[str, int], key: str) -> Any:
    cache.touch(key, ttl=30)
    return cache.get(key, ABSENT)


def item(cache: Cache[str, int], key: str) -> Any:
    try:
        return cache[key]
    except KeyError:
        return ABSENT


def reads_of(cache: Cache[str, int]) -> list[Read]:
    return [
        named("get", lambda key: cache.get(key, ABSENT)),
        named("getitem", lambda key: item(cache, key)),
        named("get_many", lambda key: cache.get_many([key]).get(key, ABSENT)),
        named("touch", lambda key: get_and_touch(cache, key)),
        named("items", lambda key: dict(cache.items()).get(key, ABSENT)),
    ]


def test_a_cache_that_is_written_and_read_by_hand(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        source, cache = Source(KEYS), cache_of(rng)
        writes = [
            *writes_of(cache),
            named("set with tag", lambda key, version, c=cache: c.set(key, version, tags=(f"tag {key}",))),
            named("drop tag", lambda key, _, c=cache: (c.invalidate_tags(f"tag {key}"), c.delete(key))),
        ]
        run_actors(
            source,
            rng,
            steps=STEPS,
            threads=3,
            writes=writes,
            reads=reads_of(cache),
            disturb=rng.choice((None, lambda c=cache, r=rng: c.resize(r.choice((1, 5, 100))))),
        )
        source.history.check()


def test_tagged_entries_are_gone_with_their_tag(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        source, cache = Source(KEYS), cache_of(rng)
        writes = [
            named("set", lambda key, version, c=cache: c.set(key, version, tags=("all", f"tag {key}"))),
            named("own tag", lambda key, _, c=cache: c.invalidate_tags(f"tag {key}", "nothing")),
            named("everybody's tag", lambda key, _, c=cache: c.invalidate_tags("all")),
        ]
        run_actors(source, rng, steps=STEPS, threads=3, writes=writes, reads=reads_of(cache))
        source.history.check()


def test_a_cache_that_threads_and_loops_load(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        source, cache = Source(KEYS), cache_of(rng)
        reads = [named("get_or_load", lambda key, c=cache, s=source: c.get_or_load(key, s.load))]
        areads = [
            named("aget_or_load", lambda key, c=cache, s=source: c.aget_or_load(key, s.aload)),
            named("aget_or_load of a function", lambda key, c=cache, s=source: c.aget_or_load(key, s.load)),
        ]
        run_actors(
            source,
            rng,
            steps=STEPS,
            threads=rng.choice((0, 2)),
            loops=rng.choice((1, 2)),
            writes=writes_of(cache),
            reads=reads_of(cache) + reads * 4,
            awrites=writes_of(cache),
            areads=reads_of(cache) + areads * 4,
        )
        source.history.check()
        assert source.loads > 0


def invalidations_of(function: Any, call: Callable[[str], tuple[Any, ...]]) -> list[Act]:
    return [
        named("cache_invalidate", lambda key, _: function.cache_invalidate(*call(key))),
        named("cache_invalidate", lambda key, _: function.cache_invalidate(*call(key))),
        named("tag", lambda key, _: function.cache.invalidate_tags(f"of {key}")),
        named("cache_clear", lambda key, _: function.cache_clear()),
    ]


def options_of(rng: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ttl": rng.choice((None, 0.005, 60)),
        "policy": rng.choice(("adaptive", "lru")),
        "typed": rng.random() < 0.3,
        "jitter": rng.choice((0.0, 0.5)),
        "refresh_ahead": rng.choice((None, 1.0)),
        "tags": ["of {key}"],
        "copy": rng.choice((None, int)),
        "condition": rng.choice((None, lambda version: version % 5 != 0)),
    }
    if rng.random() < 0.3:
        return {**options, "cache": Cache(rng.choice((3, 100)))}
    return {**options, "maxsize": rng.choice((0, 3, 100, None))}


@pytest.mark.parametrize("is_method", [False, True])
def test_a_cached_function(oracle: Oracle, is_method: bool) -> None:
    for rng in oracle.rounds():
        source, options = Source(KEYS), options_of(rng)
        if is_method:
            options.pop("cache", None)

            class Service:
                @cached_method(**options)
                def load(self, key: str, source: Source = source) -> int:
                    return source.load(key)

            function: Any = Service().load
        else:
            function = cached(**options)(source.load)
        reads = [named("call", function), named("call by keyword", lambda key, f=function: f(key=key))]
        refresh = named("cache_refresh", lambda key, f=function: f.cache_refresh(key))
        run_actors(
            source,
            rng,
            steps=STEPS,
            threads=4,
            writes=invalidations_of(function, lambda key: (key,)),
            reads=[*reads * 4, refresh],
        )
        source.history.check()


def test_a_cached_coroutine_function(oracle: Oracle) -> None:
    for rng in oracle.rounds():
        source = Source(KEYS)
        function: Any = cached(**options_of(rng))(source.aload)
        reads = [named("call", function), named("call by keyword", lambda key, f=function: f(key=key))]
        refresh = named("cache_refresh", lambda key, f=function: f.cache_refresh(key))
        run_actors(
            source,
            rng,
            steps=STEPS,
            loops=rng.choice((1, 2)),
            awrites=invalidations_of(function, lambda key: (key,)),
            areads=[*reads * 4, refresh],
        )
        source.history.check()


class Loads:
    """A loader that notices when it is called for a key that it is loading."""

    def __init__(self) -> None:
        self.under_way: set[int] = set()
        self.made: dict[int, int] = {}

    async def load(self, key: int) -> tuple[int, int]:
        assert key not in self.under_way, f"two loads of {key} at once"
        self.under_way.add(key)
        self.made[key] = number = self.made.get(key, 0) + 1
        try:
            for _ in range(number % 5):
                await asyncio.sleep(0)
        finally:
            self.under_way.discard(key)
        return key, number


async def test_a_key_is_loaded_once_at_a_time(oracle: Oracle) -> None:
    """Whoever misses together gets one load's value; a caller that is cancelled disturbs nobody."""
    for rng in oracle.rounds():
        loads = Loads()
        cache: Cache[int, Any] = Cache(rng.choice((2, 100)))
        function: Any = cached(maxsize=rng.choice((2, 100)), ttl=None)(loads.load)
        call = rng.choice((function, functools.partial(cache.aget_or_load, loader=loads.load)))
        for _ in range(20):
            calls = [(key, asyncio.ensure_future(call(key))) for key in rng.choices(range(4), k=20)]
            await asyncio.sleep(0)
            for _, task in rng.sample(calls, k=5):
                task.cancel()
            for key, task in calls:
                try:
                    found, number = await task
                except asyncio.CancelledError:
                    continue
                assert found == key
                assert 1 <= number <= loads.made[key]


def test_views_give_what_was_alive_when_a_walk_began() -> None:
    cache: Cache[str, int] = Cache(10)
    cache.set_many({"a": 1, "b": 2, "c": 3})
    before = cache.stats()
    items, values = iter(cache.items()), iter(cache.values())
    first = next(items)
    next(values)
    cache.clear()
    assert {first, *items} == {("a", 1), ("b", 2), ("c", 3)}
    assert len(list(values)) == 2
    assert 1 not in cache.values()
    assert ("a", 1) not in cache.items()
    cache["a"] = 1
    assert 1 in cache.values()
    assert ("a", 1) in cache.items()
    assert cache.stats().hits <= before.hits + 1  # walking counts nothing
