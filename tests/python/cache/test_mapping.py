"""Looking and changing in one step, and figures that agree with iteration."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cache_support import Clock, settle
from mcp_performance import Cache, _core, cached

# ---- setdefault


def test_setdefault_gives_what_is_there_or_stores() -> None:
    cache: Cache[str, Any] = Cache()
    assert cache.setdefault("a") is None
    assert "a" in cache
    assert cache.setdefault("a", 1) is None  # None is a value
    assert cache.setdefault("b", 2) == 2
    assert cache.setdefault("b", default=3) == 2
    assert (cache.stats().hits, cache.stats().misses) == (2, 2)
    for wrong in ((), ("a", 1, 2)):
        with pytest.raises(TypeError, match="setdefault"):
            cache.setdefault(*wrong)
    with pytest.raises(TypeError, match="setdefault"):
        cache.setdefault("a", value=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="unhashable"):
        cache.setdefault([], 1)  # type: ignore[call-overload]


def test_a_default_that_no_room_is_kept_for_is_given_back() -> None:
    assert Cache[str, int](0).setdefault("a", 1) == 1
    assert Cache[str, int](10, weigher=lambda key, value: 11).setdefault("a", 1) == 1


class Other:
    """A key of the same hash as "a", and equal to nothing; comparing it lets others in."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.meanwhile = meanwhile

    def __hash__(self) -> int:
        return hash("a")

    def __eq__(self, other: object) -> bool:
        self.meanwhile()
        return self is other


@pytest.mark.parametrize("where", ["weigher", "clock", "__eq__"])
@pytest.mark.parametrize("call", range(1, 4))
def test_who_stored_first_is_given_to_both(where: str, call: int) -> None:
    """Whatever Python code runs inside, and at whichever of its calls: somebody else can store there."""
    calls_left = 0

    def meanwhile(*_: Any) -> int:
        nonlocal calls_left
        calls_left -= 1
        if calls_left == 0:
            cache.set("a", "rival")
        return 1

    cache: Cache[Any, str] = Cache(
        weigher=meanwhile if where == "weigher" else None, clock=meanwhile if where == "clock" else None
    )
    cache.set(Other(meanwhile if where == "__eq__" else int), "other")
    calls_left = call
    got = cache.setdefault("a", "mine")
    if calls_left > 0:  # it was never called so often
        assert got == cache["a"] == "mine"
    else:
        assert got == cache["a"] == "rival"


def test_threads_that_ask_together_get_one_object() -> None:
    threads = 8
    start = threading.Barrier(threads)

    def together(key: str, value: object) -> int:
        start.wait()
        return 1

    cache: Cache[str, object] = Cache(weigher=together)
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(50):
            assert len(set(pool.map(lambda _: cache.setdefault("a", object()), range(threads)))) == 1
            cache.clear()


def dead_by(how: str, clock: Clock) -> Cache[str, Any]:
    cache: Cache[str, Any] = Cache(clock=clock)
    if how == "its time":
        cache.set("a", "old", ttl=1)
    elif how == "its tag":
        cache.set("a", "old", tags=["t"])
        cache.invalidate_tags("t")
    else:

        @cached(cache=cache, key=lambda: "a", ttl=1, stale_ttl=10, negative_ttl=10)
        def load() -> str:
            if how == "failure":
                raise LookupError
            return "old"

        if how == "failure":
            with pytest.raises(LookupError):
                load()
        else:
            load()
    clock.now += 2
    return cache


@pytest.mark.parametrize("how", ["its time", "its tag", "failure", "staleness"])
def test_what_get_does_not_find_is_replaced(how: str) -> None:
    cache = dead_by(how, Clock())
    assert cache.get("a") is None
    assert cache.setdefault("a", "new") == "new"
    assert cache["a"] == "new"


async def test_a_load_that_begins_while_an_entry_is_being_set_is_not_stored_over_it() -> None:
    """It begins inside the weigher: after the set, and before the entry is there."""
    go_on = asyncio.Event()
    loads: list[asyncio.Task[str]] = []

    async def load(key: str) -> str:
        await go_on.wait()
        return "loaded"

    def weigh(key: str, value: str) -> int:
        if value == "hand":
            loads.append(task := asyncio.ensure_future(cache.aget_or_load("a", load)))
            coroutine: Any = task.get_coro()
            coroutine.send(None)  # up to where it waits
        return 1

    cache: Cache[str, str] = Cache(weigher=weigh)
    for act in (lambda: cache.set("a", "hand"), lambda: cache.setdefault("a", "hand")):
        cache.clear()
        act()
        go_on.set()
        await settle()
        await settle()
        assert cache["a"] == "hand"
        go_on.clear()
    for task in loads:
        task.cancel()


# ---- figures


def test_a_weigher_is_asked_about_values_alone() -> None:
    """A failure that is remembered is none, and weighs 1 of the capacity."""
    asked: list[object] = []
    calls = 0

    def weigh(key: object, value: str) -> int:
        asked.append(value)
        return len(value)

    cache: Cache[Any, Any] = Cache(5, weigher=weigh, policy="lru")

    @cached(cache=cache, key=lambda key: key, negative_ttl=60)
    def load(key: int) -> str:
        nonlocal calls
        calls += 1
        if key < 0:
            raise LookupError(key)
        return "abcd"

    for key in (-1, -1, 1):
        with contextlib.suppress(LookupError):
            load(key)
    assert (calls, asked) == (2, ["abcd"])
    assert (cache.stats().weight, cache.stats().currsize, cache.stats().evictions) == (4, 1, 0)
    load(2)
    assert cache.stats().evictions == 2


@pytest.mark.parametrize("policy", _core.CACHE_POLICIES)
@pytest.mark.parametrize("seed", range(5))
def test_entries_and_weight_are_those_that_iteration_shows(policy: str, seed: int) -> None:
    rng = random.Random(seed)
    clock = Clock()
    cache: Cache[int, int] = Cache(60, policy=policy, clock=clock, weigher=lambda key, value: value)

    @cached(cache=cache, key=lambda key: key, negative_ttl=3, ttl=2, stale_ttl=rng.choice([None, 4]))
    def load(key: int) -> int:
        if key % 3 == 0:
            raise LookupError
        return key % 7

    for _ in range(2_000):
        key = rng.randrange(40)
        what = rng.randrange(7)
        if what == 0:
            cache.set(key, rng.randrange(9), ttl=rng.choice([None, 0.01, 0.5, 5]))
        elif what == 1:
            cache.set(key, rng.randrange(9), tags=[str(key % 4)])
        elif what == 2:
            cache.invalidate_tags(str(key % 4))
        elif what == 3:
            cache.touch(key, ttl=rng.choice([None, 1]))
        elif what == 4:
            cache.delete(key)
        elif what == 5:
            clock.now += rng.choice([0, 0.004, 0.01, 0.3, 3])
        else:
            cache.delete(key)
            with contextlib.suppress(LookupError):
                load(key)
        items = list(cache.items())
        stats = cache.stats()
        assert stats.weight == sum(value for _, value in items)
        assert stats.currsize == len(items) == len(cache) == cache.currsize
        assert bool(cache) == bool(items)
