"""Cache under hostile keys, and its loads."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from cache_support import Clock
from mcp_performance import Cache, _core


@pytest.fixture
def clock() -> Clock:
    return Clock()


# ---- comparisons that misbehave


class Key:
    def __init__(self, number: int, act: Any = None) -> None:
        self.number = number
        self.act = act

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        for key in (self, other):
            if isinstance(key, Key) and key.act is not None:
                key.act()
        return isinstance(other, Key) and self.number == other.number


def test_an_error_in_eq_propagates_and_leaves_the_cache_whole() -> None:
    cache: Cache[Key, int] = Cache()

    def fail() -> None:
        raise ZeroDivisionError

    cache[Key(1)] = 1
    with pytest.raises(ZeroDivisionError):
        cache.get(Key(1, fail))
    with pytest.raises(ZeroDivisionError):
        cache[Key(2, fail)] = 2
    cache._check_invariants()
    assert cache[Key(1)] == 1


def test_an_error_in_hash_propagates() -> None:
    class NoHash:
        def __hash__(self) -> int:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Cache().get(NoHash())


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.clear(),
        lambda cache: cache.__setitem__(Key(3), 33),
        lambda cache: cache.resize(2),
        lambda cache: cache.delete(Key(3)),
        lambda cache: [cache.__setitem__(Key(n), n) for n in range(100, 120)],
        lambda cache: gc.collect(),
    ],
)
@pytest.mark.parametrize("policy", _core.CACHE_POLICIES)
def test_eq_may_change_the_cache_under_a_lookup(change: Any, policy: str) -> None:
    cache: Cache[Key, int] = Cache(8, policy=policy)
    for i in range(8):
        cache[Key(i)] = i
    once = iter([lambda: change(cache)])
    found = cache.get(Key(3, lambda: next(once, lambda: None)()))
    assert found == cache.get(Key(3))
    cache._check_invariants()


def test_eq_that_always_changes_the_cache_is_an_error_not_a_hang() -> None:
    cache: Cache[Any, int] = Cache(None)
    numbers = iter(range(10, 10**9))
    cache[Key(1)] = 1
    cache[Key(3)] = 3
    with pytest.raises(RuntimeError, match="__eq__"):
        cache.get(Key(2, lambda: cache.__setitem__(next(numbers), 0)))
    cache._check_invariants()


# ---- loading


def test_get_or_load_loads_once() -> None:
    cache: Cache[str, str] = Cache()
    calls: list[str] = []

    def load(key: str) -> str:
        calls.append(key)
        return key.upper()

    assert [cache.get_or_load("a", load) for _ in range(3)] == ["A"] * 3
    assert calls == ["a"]
    figures = cache.stats()
    assert (figures.hits, figures.misses, figures.loads) == (2, 1, 1)


async def test_aget_or_load_takes_sync_and_async_loaders(clock: Clock) -> None:
    cache: Cache[str, str] = Cache(clock=clock)

    async def load(key: str) -> str:
        return key.upper()

    assert await cache.aget_or_load("a", load, ttl=5) == "A"
    assert await cache.aget_or_load("b", str.upper) == "B"
    assert await cache.aget_or_load("a", pytest.fail) == "A"
    assert cache.expires_in("a") == pytest.approx(5)
    assert cache.stats().loads == 2


def test_a_value_set_during_a_load_stays() -> None:
    cache: Cache[str, int] = Cache()

    def load(key: str) -> int:
        cache[key] = 2
        return 1

    assert cache.get_or_load("a", load) == 1
    assert cache["a"] == 2


@pytest.mark.parametrize("forget", [lambda cache: cache.delete("a"), lambda cache: cache.clear()])
def test_an_invalidation_during_a_load_wins(forget: Any) -> None:
    cache: Cache[str, int] = Cache()

    def load(key: str) -> int:
        forget(cache)
        return 1

    assert cache.get_or_load("a", load) == 1
    assert "a" not in cache


def test_what_a_fill_lets_others_do_meanwhile_does_not_end_up_under_another_key() -> None:
    cache: Cache[str, str] = Cache(2)
    cache.set("a", "old")

    def others_have_their_turn() -> bool:
        cache.clear()
        cache.set("b", "b's")  # where "a" was
        return True

    cache._fill("a", "a's", None, 0, None, 0, others_have_their_turn)
    assert cache.get("b") == "b's"
    assert cache.get("a") in (None, "a's")
    assert len(cache) == len(list(cache))
