"""After an invalidation nobody who comes later gets, joins or stores a load that began before."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backend_support import Backend
from cache_support import Clock, settle, until
from mcp_performance import Cache, RedisTier, TieredCache, cached, cached_method
from redis_server import RedisServer, redis_server

ROUNDS = int(os.environ.get("MCP_TEST_ROUNDS", "1"))

# ---- every way to invalidate, for a plain mapping


def pop_nothing(cache: Cache[Any, Any]) -> None:
    with pytest.raises(KeyError):
        cache.pop("k")


Act = Callable[[Cache[Any, Any]], object]

OF_A_CACHE: dict[str, Act] = {
    "delete": lambda cache: cache.delete("k"),
    "del": lambda cache: cache.__delitem__("k") if "k" in cache else cache.delete("k"),
    "pop": lambda cache: cache.pop("k", None),
    "pop of nothing": lambda cache: pop_nothing(cache),
    "delete_many": lambda cache: cache.delete_many(["k"]),
    "clear": lambda cache: cache.clear(),
    "set": lambda cache: cache.set("k", "hand"),
    "[]=": lambda cache: cache.__setitem__("k", "hand"),
    "update": lambda cache: cache.update(k="hand"),
    "setdefault": lambda cache: cache.setdefault("k", "hand"),
    "set_many": lambda cache: cache.set_many({"k": "hand"}),
}


@pytest.mark.parametrize("act", OF_A_CACHE)
@pytest.mark.parametrize("fails", [False, True])
async def test_a_load_of_a_cache_is_fenced(act: str, fails: bool) -> None:
    cache: Cache[str, str] = Cache()
    go_on = asyncio.Event()
    values = iter(["old", "new"])

    async def load(key: str) -> str:
        value = next(values)
        if value == "old":
            await go_on.wait()
            if fails:
                raise LookupError
        return value

    first = asyncio.create_task(cache.aget_or_load("k", load))
    await settle()
    OF_A_CACHE[act](cache)
    expected = cache.get("k", "new")
    second = asyncio.create_task(cache.aget_or_load("k", load))
    await settle()
    assert second.done()
    assert await second == expected
    go_on.set()
    if fails:
        assert await asyncio.gather(first, return_exceptions=True) == [expected]  # newer than the failure
    else:
        assert await first == "old"
    assert cache.get("k") == expected


def test_pop_and_popitem_take_out_what_lives(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(clock=clock)
    cache.set("a", 1, ttl=10)
    cache.set("b", 2)
    clock.now += 11
    assert cache.pop("a", None) is None
    with pytest.raises(KeyError, match="a"):
        cache.pop("a")
    assert cache.pop("a", default=7) == 7
    assert cache.popitem() == ("b", 2)
    with pytest.raises(KeyError):
        cache.popitem()
    with pytest.raises(TypeError):
        cache.pop()  # type: ignore[call-overload]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("idle", [False, True])
def test_length_and_iteration_agree(clock: Clock, idle: bool) -> None:
    gone: list[Any] = []
    cache: Cache[int, int] = Cache(
        1000, clock=clock, idle_ttl=20 if idle else None, on_evict=lambda *entry: gone.append(entry)
    )
    rng = random.Random(7)
    for step in range(2000 * ROUNDS):
        key = rng.randrange(100)
        tags = ("even",) if key % 2 == 0 else ()
        cache.set(key, step, ttl=rng.choice([None, 0.001, 0.05, 0.07, 1, 5, 60, 300]), tags=tags)
        clock.now += rng.choice([0, 0, 0.001, 0.06, 0.5, 4, 30])
        if rng.random() < 0.02:
            cache.invalidate_tags("even")
        living = list(cache)
        assert len(cache) == cache.currsize == len(living) == cache.stats().currsize
        assert bool(cache) == bool(living)
        assert all(key in cache for key in living)
    cache._check_invariants()


def test_failures_count_for_nothing(clock: Clock) -> None:
    cache: Cache[Any, Any] = Cache(clock=clock)

    @cached(cache=cache, negative_ttl=10)
    def f(x: int) -> None:
        raise LookupError

    for x in range(3):
        with pytest.raises(LookupError):
            f(x)
    assert not cache
    assert list(cache) == []
    assert f.cache_info().currsize == 0
    clock.now += 9.99
    cache.set("a", 1)
    assert len(cache) == 1
    clock.now += 0.02
    assert len(cache) == 1


# ---- every form of function


class Thing:
    def __init__(self, load: Callable[[int], Any]) -> None:
        self.load = load

    @cached(cache=Cache(), tags=("t", "item:{x}"))
    async def method(self, x: int) -> Any:
        return await self.load(x)

    @cached_method(tags=("t",))
    async def own(self, x: int) -> Any:
        return await self.load(x)


def tags_of(*args: Any) -> tuple[str, ...]:
    return ("t", f"item:{args[-1]}")


def function(options: dict[str, Any]) -> Callable[[Callable[[int], Any]], Any]:
    def make(load: Callable[[int], Any]) -> Any:
        @cached(**{"cache": Cache(), **options})
        async def f(x: int) -> Any:
            return await load(x)

        return f

    return make


FORMS: dict[str, Callable[[Callable[[int], Any]], Any]] = {
    "fixed tag": function({"tags": ("t",)}),
    "template": function({"tags": ("t", "item:{x}")}),
    "callable": function({"tags": tags_of}),
    "negative": function({"tags": ("t",), "negative_ttl": 60}),
    "stale": function({"tags": ("t",), "ttl": 10, "stale_ttl": 60}),
    "early": function({"tags": tags_of, "ttl": 10, "refresh_ahead": 1.0}),
    "copy": function({"tags": ("t",), "copy": list}),
    "backend": lambda load: function({"tags": ("t",), "cache": Backend(Cache())})(load),
    "method": lambda load: Thing(load).method,
    "cached_method": lambda load: Thing(load).own,
}
OF_A_FUNCTION: dict[str, Callable[[Any], object]] = {
    "tag": lambda f: f.cache.invalidate_tags("t"),
    "two tags": lambda f: f.cache.invalidate_tags("u", "t"),
    "invalidate": lambda f: f.cache_invalidate(1),
    "clear": lambda f: f.cache_clear(),
}


@pytest.mark.parametrize("act", OF_A_FUNCTION)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["value", "failure"])
@pytest.mark.parametrize("refreshes", [False, True])
async def test_a_load_of_a_function_is_fenced(form: str, act: str, ending: str, refreshes: bool) -> None:
    go_on = asyncio.Event()
    calls: list[int] = []

    async def load(x: int) -> list[str]:
        calls.append(x)
        if len(calls) > 1:
            return ["new"]
        await go_on.wait()
        if ending == "failure":
            raise LookupError
        return ["old"]

    f = FORMS[form](load)
    first = asyncio.create_task((f.cache_refresh if refreshes else f)(1))
    await settle()
    OF_A_FUNCTION[act](f)
    second = asyncio.create_task(f(1))
    await settle()
    assert await asyncio.wait_for(second, 30) == ["new"]
    go_on.set()
    [end] = await asyncio.gather(first, return_exceptions=True)
    if ending == "value":
        assert end == ["old"]
    elif not refreshes:
        assert end == ["new"]  # a newer value is there by now
    else:
        assert isinstance(end, LookupError)
    assert await f(1) == ["new"]
    assert calls == [1, 1]


@pytest.mark.parametrize("form", ["fixed tag", "template", "callable", "negative", "method"])
async def test_a_load_that_ends_alone_is_not_stored(form: str) -> None:
    for ending in ("value", "failure"):
        go_on = asyncio.Event()
        calls: list[int] = []

        async def load(x: int, ending: str = ending, calls: list[int] = calls, on: Any = go_on) -> int:
            calls.append(x)
            await on.wait()
            if ending == "failure":
                raise LookupError
            return len(calls)

        f = FORMS[form](load)
        f.cache.clear()
        first = asyncio.create_task(f(1))
        await settle()
        f.cache.invalidate_tags("t")
        go_on.set()
        await asyncio.wait([first])
        assert not f.cache_contains(1)
        await asyncio.gather(f(1), return_exceptions=True)
        assert calls == [1, 1]


@pytest.mark.parametrize("form", ["fixed tag", "template", "callable"])
async def test_the_invalidation_of_another_tag_loses_nothing(form: str) -> None:
    go_on = asyncio.Event()
    calls: list[int] = []

    async def load(x: int) -> int:
        calls.append(x)
        await go_on.wait()
        return x

    f = FORMS[form](load)
    first = asyncio.create_task(f(1))
    await settle()
    f.cache.invalidate_tags("item:2", "other")
    second = asyncio.create_task(f(1))
    await settle()
    go_on.set()
    assert await asyncio.gather(first, second) == [1, 1]
    assert f.cache_contains(1)
    # The tags of a callable are not known before the load ends: who comes later loads for itself.
    assert calls == ([1, 1] if form == "callable" else [1])


async def test_a_load_that_was_overtaken_stores_nothing_over_the_newer_one() -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    calls = 0

    @cached(tags=lambda x: ("t",))
    async def f(x: int) -> int:
        nonlocal calls
        number, calls = calls, calls + 1
        await gates[number].wait()
        return number

    first = asyncio.create_task(f(1))
    await settle()
    f.cache.invalidate_tags("other")
    second = asyncio.create_task(f(1))
    await settle()
    gates[1].set()
    assert await second == 1
    gates[0].set()
    assert await first == 0
    assert await f(1) == 1


@pytest.mark.parametrize("act", OF_A_FUNCTION)
@pytest.mark.parametrize("tags", [("t",), ("t", "item:{x}"), tags_of])
def test_a_thread_that_comes_later_joins_no_older_load(act: str, tags: Any) -> None:
    started, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    @cached(cache=Cache(), tags=tags)
    def f(x: int) -> str:
        calls.append(x)
        if len(calls) > 1:
            return "new"
        started.set()
        assert go_on.wait(30)
        return "old"

    results: list[str] = []
    leader = threading.Thread(target=lambda: results.append(f(1)))
    leader.start()
    assert started.wait(30)
    OF_A_FUNCTION[act](f)
    assert f(1) == "new"
    go_on.set()
    leader.join(30)
    assert results == ["old"]
    assert f(1) == "new"


def test_a_caller_on_another_loop_joins_no_older_load() -> None:
    started, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    @cached(tags=("t",))
    async def f(x: int) -> str:
        calls.append(x)
        if len(calls) > 1:
            return "new"
        started.set()
        await asyncio.to_thread(go_on.wait, 30)
        return "old"

    results: list[str] = []
    leader = threading.Thread(target=lambda: results.append(asyncio.run(f(1))))  # type: ignore[arg-type]
    leader.start()
    assert started.wait(30)
    f.cache.invalidate_tags("t")
    assert asyncio.run(f(1)) == "new"  # type: ignore[arg-type]
    go_on.set()
    leader.join(30)
    assert results == ["old"]


def test_an_invalidation_between_the_decision_and_the_store_wins() -> None:
    """Weigher and __eq__ run after the load has ended, and may invalidate."""
    cache: Cache[Any, Any] = Cache(weigher=lambda key, value: cache.invalidate_tags("t") * 0 + 1)

    @cached(cache=cache, tags=("t",))
    def f(x: int) -> int:
        return x

    assert f(1) == 1
    assert not f.cache_contains(1)


def test_a_load_outside_of_any_framework_is_fenced_too() -> None:
    class Pause:
        def __await__(self) -> Iterator[None]:
            yield

    @cached(tags=("t",))
    async def f(x: int) -> int:
        await Pause()
        return x

    for forget in (lambda: f.cache.invalidate_tags("t"), lambda: f.cache_invalidate(1)):
        coroutine = f(1)
        coroutine.send(None)
        forget()
        with pytest.raises(StopIteration):
            coroutine.send(None)
        assert not f.cache_contains(1)


# ---- tiers


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def tiered(server: RedisServer) -> Iterator[TieredCache]:
    server.cli("FLUSHALL")
    with RedisTier(server.url, timeout=20) as tier:
        cache = TieredCache(Cache(), tier)
        yield cache
        cache.close()


@pytest.mark.parametrize("act", ["tag", "atag", "invalidate", "delete", "adelete", "set", "clear"])
@pytest.mark.parametrize("tags", [("t",), ("t", "item:{x}"), tags_of])
async def test_a_load_before_a_shared_tier_is_fenced(tiered: TieredCache, act: str, tags: Any) -> None:
    go_on = asyncio.Event()
    calls: list[int] = []

    @cached(cache=tiered, tags=tags)
    async def f(x: int) -> str:
        calls.append(x)
        if len(calls) > 1:
            return "new"
        await go_on.wait()
        return "old"

    first = asyncio.create_task(f(1))
    await until(lambda: bool(calls))
    key = f.cache_key(1)
    acts: dict[str, Callable[[], Any]] = {
        "tag": lambda: tiered.invalidate_tags("t"),
        "atag": lambda: tiered.ainvalidate_tags("t"),
        "invalidate": lambda: f.cache_invalidate(1),
        "delete": lambda: tiered.delete(key),
        "adelete": lambda: tiered.adelete(key),
        "set": lambda: tiered.set(key, "new"),
        "clear": f.cache_clear,
    }
    done = acts[act]()
    if asyncio.iscoroutine(done):
        await done
    assert await asyncio.wait_for(f(1), 30) == "new"
    go_on.set()
    assert await first == "old"
    assert await f(1) == "new"
    assert tiered.shared.get(key) == "new"


async def test_what_was_stored_while_it_was_invalidated_is_taken_back() -> None:
    class Slow(Backend):
        async def aset(self, key: Any, value: Any, **keywords: Any) -> None:
            storing.set()
            await go_on.wait()
            await super().aset(key, value, **keywords)

    backend = Slow(Cache())
    storing, go_on = asyncio.Event(), asyncio.Event()

    @cached(cache=backend, tags=("t",))
    async def f(x: int) -> int:
        return x

    for forget in (
        lambda: backend.invalidate_tags("t"),
        lambda: f.cache_invalidate(1),
        lambda: backend.delete(f.cache_key(1)),
    ):
        storing.clear()
        go_on.clear()
        task = asyncio.create_task(f(1))
        await storing.wait()
        forget()
        go_on.set()
        assert await task == 1
        assert f.cache_key(1) not in backend.store
        assert len(backend.memory or ()) == 0
