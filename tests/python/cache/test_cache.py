"""Cache: a bounded mapping with lifetimes, tags, weights and figures."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from cache_support import Clock
from mcp_performance import Cache, CacheStats, ConfigurationError, _core, cached
from mcp_performance._base import _registry


@pytest.fixture
def clock() -> Clock:
    return Clock()


# ---- a mapping


def test_behaves_as_a_mutable_mapping() -> None:
    cache: Cache[str, int] = Cache()
    cache["a"] = 1
    cache.update(b=2, c=3)
    assert isinstance(cache, MutableMapping)
    assert cache["a"] == 1
    assert cache.get("z") is None
    assert cache.get("z", 9) == 9
    assert sorted(cache) == ["a", "b", "c"]
    assert dict(cache) == {"a": 1, "b": 2, "c": 3}
    assert cache.pop("a") == 1
    assert cache.setdefault("a", 7) == 7
    assert "b" in cache
    assert len(cache) == 3
    del cache["b"]
    with pytest.raises(KeyError, match="b"):
        cache["b"]
    with pytest.raises(KeyError, match="b"):
        del cache["b"]
    cache.clear()
    assert not cache


def test_none_is_a_value() -> None:
    cache: Cache[str, None] = Cache()
    cache["a"] = None
    assert cache.get("a", 1) is None
    assert cache.stats().hits == 1
    assert cache.get_or_load("a", pytest.fail) is None


def test_keys_compare_as_those_of_a_dict() -> None:
    nan = float("nan")
    cache: Cache[Any, str] = Cache()
    cache[1] = "one"
    cache[1.0] = "float"
    cache[True] = "true"
    cache["1"] = "text"
    cache[b"1"] = "bytes"
    cache[(1, 2)] = "pair"
    cache[nan] = "nan"
    assert cache[1] == "true"
    assert cache["1"] == "text"
    assert cache[b"1"] == "bytes"
    assert cache[(1.0, True + 1)] == "pair"
    assert cache[nan] == "nan"
    assert cache.get(float("nan")) is None
    assert len(cache) == 5


@pytest.mark.parametrize("text", ["\r\n", "\0", "a\0b", "\ud800", "x" * 2**20, ""])
def test_any_text_is_a_key_of_its_own(text: str) -> None:
    cache: Cache[Any, int] = Cache()
    cache[text] = 1
    cache[text + "!"] = 2
    cache[(text,)] = 3
    assert [cache[text], cache[text + "!"], cache[(text,)]] == [1, 2, 3]


def test_an_unhashable_key_is_a_type_error() -> None:
    cache: Cache[Any, int] = Cache()
    for use in (cache.get, cache.delete, cache.expires_in, cache.touch, lambda key: cache.set(key, 1)):
        with pytest.raises(TypeError, match="unhashable"):
            use([])


def test_compares_and_hashes_by_identity() -> None:
    one: Cache[str, int] = Cache()
    other: Cache[str, int] = Cache()
    assert one != other
    assert len({one, other}) == 2


# ---- capacity


@pytest.mark.parametrize("policy", _core.CACHE_POLICIES)
def test_never_holds_more_than_its_capacity(policy: str) -> None:
    cache: Cache[int, int] = Cache(10, policy=policy)
    for i in range(1000):
        cache[i] = i
        assert len(cache) <= 10
        cache._check_invariants()
    assert cache.stats().evictions == 990


def test_lru_evicts_the_least_recently_used() -> None:
    cache: Cache[str, int] = Cache(2, policy="lru")
    cache["a"] = 1
    cache["b"] = 2
    assert cache["a"] == 1
    cache["c"] = 3
    assert sorted(cache) == ["a", "c"]


def test_a_capacity_of_nothing_stores_nothing() -> None:
    cache: Cache[str, int] = Cache(0)
    cache["a"] = 1
    assert len(cache) == 0
    assert cache.maxsize == 0


def test_without_bound_nothing_is_evicted() -> None:
    cache: Cache[int, int] = Cache(None)
    for i in range(5000):
        cache[i] = i
    assert len(cache) == 5000
    assert cache.maxsize is None


def test_resizing_evicts_what_no_longer_fits() -> None:
    cache: Cache[int, int] = Cache(100, policy="lru")
    for i in range(100):
        cache[i] = i
    cache.resize(3)
    assert sorted(cache) == [97, 98, 99]
    cache.resize(4)
    cache["x"] = 1  # type: ignore[index]
    assert len(cache) == 4


def test_weights_count_towards_the_capacity() -> None:
    cache: Cache[str, bytes] = Cache(10, weigher=lambda key, value: len(value), policy="lru")
    cache["a"] = b"x" * 6
    cache["b"] = b"x" * 4
    assert cache.stats().weight == 10
    cache["c"] = b"x"
    assert "a" not in cache
    cache["d"] = b"x" * 11
    assert "d" not in cache
    assert cache.stats().weight == 5


@pytest.mark.parametrize(
    ("weight", "error"), [(-1, ValueError), (2**63, ValueError), (True, TypeError), (1.5, TypeError)]
)
def test_a_bad_weight_is_refused_and_nothing_is_stored(weight: Any, error: type[Exception]) -> None:
    cache: Cache[str, int] = Cache(10, weigher=lambda key, value: weight)
    with pytest.raises(error, match="weigher"):
        cache["a"] = 1
    assert len(cache) == 0


# ---- lifetimes


def test_an_entry_lives_for_its_ttl(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(ttl=10, clock=clock)
    cache["a"] = 1
    cache.set("b", 2, ttl="1m")
    cache.set("c", 3, ttl=None)
    cache.set("d", 4, ttl=timedelta(seconds=5))
    assert cache.expires_in("a") == pytest.approx(10)
    assert cache.expires_in("c") is None
    clock.now += 5
    assert "d" not in cache
    clock.now += 4.999
    assert cache["a"] == 1
    clock.now += 0.001
    assert "a" not in cache
    assert cache.get("a") is None
    assert cache.stats().misses_expired == 1
    clock.now += 100
    assert list(cache) == ["c"]


def test_a_miss_on_a_key_that_expired_is_one_whoever_removed_it_until_it_comes_back(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(1000, ttl=10, clock=clock)
    for number in range(20):
        cache.set(f"old{number}", number, tags=["old"])
    clock.now += 11
    cache["new"] = 1  # reclaims the others
    assert len(cache) == 1
    for _ in range(2):  # of several that wait for one load, each missed an expired key
        for number in range(20):
            assert cache.get(f"old{number}") is None
    assert cache.get("never") is None
    assert (cache.stats().misses_expired, cache.stats().misses_cold) == (40, 1)
    cache["old0"] = 0
    cache.delete("old0")
    assert cache.get("old0") is None
    assert (cache.stats().misses_expired, cache.stats().misses_cold) == (40, 2)


def test_an_entry_that_is_not_read_goes_after_idle_ttl(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(idle_ttl=10, clock=clock)
    cache["a"] = 1
    for _ in range(5):
        clock.now += 9
        assert cache["a"] == 1
    clock.now += 10.1
    assert "a" not in cache


def test_touch_starts_the_lifetime_anew(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(ttl=10, clock=clock)
    cache["a"] = 1
    clock.now += 9
    assert cache.touch("a")
    clock.now += 9
    assert cache["a"] == 1
    assert cache.touch("a", ttl=100)
    assert cache.expires_in("a") == pytest.approx(100)
    assert not cache.touch("z")
    with pytest.raises(KeyError):
        cache.expires_in("z")


def test_expired_values_are_let_go_without_being_asked_for(clock: Clock) -> None:
    class Value:
        pass

    cache: Cache[int, Value] = Cache(ttl=10, clock=clock)
    references = []
    for i in range(2000):
        value = Value()
        references.append(weakref.ref(value))
        cache[i] = value
    del value
    grown = cache._memory_bytes()
    clock.now += 60
    assert cache._expire(10**6) is None
    assert all(reference() is None for reference in references)
    assert cache._memory_bytes() < grown / 4
    assert cache.stats().expirations >= 976  # the others had been evicted


def test_a_clock_that_raises_propagates() -> None:
    def broken() -> float:
        raise OSError("no clock")

    cache: Cache[str, int] = Cache(clock=broken)
    with pytest.raises(OSError, match="no clock"):
        cache.get("a")
    with pytest.raises(OSError, match="no clock"):
        cache["a"] = 1


@pytest.mark.parametrize("option", ["ttl", "idle_ttl"])
@pytest.mark.parametrize(
    "value", [-1, 0, float("nan"), float("inf"), 2**63, "soon", "", "-5s", "5 parsecs", timedelta(seconds=-1)]
)
def test_a_bad_lifetime_is_named(option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"{option}="):
        Cache(**{option: value})


@pytest.mark.parametrize("value", [True, False, [], object()])
def test_what_is_no_lifetime_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="ttl="):
        Cache(ttl=value)
    with pytest.raises(TypeError, match="ttl="):
        Cache().set("a", 1, ttl=value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1, ConfigurationError),
        (2**63, ConfigurationError),
        (float("nan"), ConfigurationError),
        (1.5, ConfigurationError),
        (True, TypeError),
        ("10", TypeError),
    ],
)
def test_a_bad_capacity_is_named(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="maxsize="):
        Cache(value)
    with pytest.raises(error, match="maxsize="):
        Cache().resize(value)


def test_other_bad_options_are_named() -> None:
    with pytest.raises(ConfigurationError, match="policy='fifo'"):
        Cache(policy="fifo")
    for option in ("weigher", "on_evict", "clock", "name"):
        with pytest.raises(TypeError, match=f"{option}=3"):
            Cache(**{option: 3})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tags='t'"):
        Cache().set("a", 1, tags="t")
    with pytest.raises(TypeError, match="must be a str"):
        Cache().set("a", 1, tags=[1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="colour"):
        Cache().set("a", 1, colour=2)  # type: ignore[call-arg]


# ---- many at once


def test_many_keys_at_once(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(clock=clock)
    cache.set_many({"a": 1, "b": 2}, ttl=5, tags=iter(["t"]))
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert cache.delete_many(["a", "c"]) == 1
    assert cache.invalidate_tags("t") == 1
    assert cache.get_many(["a", "b"]) == {}


# ---- tags


def test_a_tag_takes_its_entries_with_it() -> None:
    cache: Cache[str, int] = Cache()
    cache.set("a", 1, tags=["x"])
    cache.set("b", 2, tags=["x", "y"])
    cache.set("c", 3, tags=["y", "y"])
    cache.set("d", 4)
    assert cache.invalidate_tags("x") == 2
    assert cache.get("a") is None
    assert len(cache) == 2
    assert sorted(cache) == ["c", "d"]
    cache.set("a", 5, tags=["x"])
    assert cache["a"] == 5
    assert cache.invalidate_tags("nobody", "y") == 1
    assert sorted(cache) == ["a", "d"]
    assert cache.stats().invalidations == 3
    cache._check_invariants()


def test_replacing_an_entry_replaces_its_tags() -> None:
    cache: Cache[str, int] = Cache()
    cache.set("a", 1, tags=["old"])
    cache.set("a", 2, tags=["new"])
    assert cache.invalidate_tags("old") == 0
    assert cache["a"] == 2
    assert cache.invalidate_tags("new") == 1
    assert "a" not in cache


def test_a_tag_counts_what_can_still_be_read(clock: Clock) -> None:
    for asked in ((), (len,), (list,), (lambda cache: cache.get("brief"),)):
        cache: Cache[str, int] = Cache(idle_ttl=60, clock=clock)
        cache.set("brief", 1, ttl=1, tags=["t"])
        cache.set("long", 2, ttl=20, tags=["t", "u"])
        cache.set("idle", 3, ttl=None, tags=["t"])
        clock.now += 1
        for ask in asked:
            ask(cache)
        assert cache.invalidate_tags("t") == 2, asked
        stats = cache.stats()
        assert (stats.invalidations, stats.expirations) == (2, 1)
        cache.set("idle", 3, ttl=None, tags=["t"])
        clock.now += 61
        assert cache.invalidate_tags("t", "u") == 0
        assert cache.stats().expirations == 2


def test_a_tag_does_not_count_failures() -> None:
    @cached(negative_ttl=60, tags=["t"])
    def even(x: int) -> int:
        if x % 2:
            raise ValueError(x)
        return x

    for x in range(5):
        with suppress(ValueError):
            even(x)
    assert even.cache.invalidate_tags("t") == 3
    assert even.cache_info().currsize == 0


def test_a_tag_is_invalidated_although_the_clock_raises(clock: Clock) -> None:
    broken: list[bool] = []

    def fragile() -> float:
        if broken:
            raise LookupError("no time")
        return clock()

    cache: Cache[str, int] = Cache(clock=fragile)
    cache.set("a", 1, tags=["t"])
    broken.append(True)
    with pytest.raises(LookupError):
        cache.invalidate_tags("t")
    broken.clear()
    assert "a" not in cache


# ---- listeners


def test_on_evict_says_why(clock: Clock) -> None:
    seen: list[tuple[Any, Any, str]] = []
    cache: Cache[str, int] = Cache(
        2, ttl=10, policy="lru", clock=clock, on_evict=lambda *event: seen.append(event)
    )
    cache["a"] = 1
    cache["a"] = 2
    cache["b"] = 3
    cache["c"] = 4
    cache.delete("b")
    cache.set("t", 5, tags=["t"])
    cache.invalidate_tags("t")
    assert len(cache) == 1
    clock.now += 11
    assert cache.get("c") is None
    cache["d"] = 6
    cache.clear()
    assert seen == [
        ("a", 1, "replaced"),
        ("a", 2, "evicted"),
        ("b", 3, "removed"),
        ("t", 5, "invalidated"),
        ("c", 4, "expired"),
        ("d", 6, "cleared"),
    ]


def test_a_listener_may_use_the_cache_and_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: raised.append(event.exc_value))

    def listen(key: int, value: int, cause: str) -> None:
        if key < 50:
            cache[key + 1000] = value
        raise LookupError(cause)

    cache: Cache[int, int] = Cache(5, on_evict=listen)
    for i in range(20):
        cache[i] = i
    cache._check_invariants()
    assert raised
    assert all(isinstance(error, LookupError) for error in raised)


def test_a_finalizer_may_use_the_cache() -> None:
    class Value:
        def __init__(self, number: int) -> None:
            self.number = number

        def __del__(self) -> None:
            if self.number < 100:
                cache[self.number + 100] = Value(self.number + 100)
            cache.get(3)

    cache: Cache[int, Value] = Cache(3)
    for i in range(50):
        cache[i] = Value(i)
    cache.clear()
    cache._check_invariants()
    cache.clear()


# ---- life and death


def test_a_cycle_through_a_cache_is_collected() -> None:
    class Node:
        pass

    cache: Cache[str, Any] = Cache()
    node = Node()
    node.cache = cache  # type: ignore[attr-defined]
    cache["self"] = node
    cache.set("tagged", node, tags=["t"])
    reference = weakref.ref(node)
    del node, cache
    gc.collect()
    assert reference() is None


def test_an_iterator_outlives_its_cache() -> None:
    cache: Cache[int, int] = Cache()
    cache.update({i: i for i in range(100)})
    iterator = iter(cache)
    first = next(iterator)
    cache.clear()
    del cache
    gc.collect()
    assert sorted([first, *iterator]) == list(range(100))


def test_collecting_while_threads_work_does_not_hang() -> None:
    cache: Cache[int, list[int]] = Cache(64, ttl=100)
    stop = threading.Event()

    def work(seed: int) -> None:
        i = seed
        while not stop.is_set():
            i += 1
            cache.get_or_load(i % 200, lambda key: [key])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        gc.collect()
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    cache._check_invariants()


def test_a_cache_knows_its_figures_and_is_registered() -> None:
    cache: Cache[str, int] = Cache(10, name="mine")
    cache["a"] = 1
    cache.get("a")
    cache.get("b")
    figures = cache.stats()
    assert isinstance(figures, CacheStats)
    assert figures.hit_rate == 0.5
    assert figures.misses_cold == 1
    assert (figures.currsize, figures.maxsize, figures.weight) == (1, 10, 1)
    assert cache.name == "mine"
    assert cache in _registry.caches()
    assert CacheStats().hit_rate == 0.0
    assert Cache().stats().hit_rate == 0.0


def test_sieve_evicts_the_oldest_that_was_not_read() -> None:
    cache: Cache[str, int] = Cache(3, policy="sieve")
    cache.set_many({"a": 1, "b": 2, "c": 3})
    assert cache["a"] == 1
    cache["d"] = 4  # the hand spares "a", which was read, and takes "b"
    assert sorted(cache) == ["a", "c", "d"]
    cache["e"] = 5  # it goes on at "c"
    assert sorted(cache) == ["a", "d", "e"]
    assert cache.policy == "sieve"
    cache._check_invariants()


def test_a_cached_function_has_the_policy_that_it_asks_for() -> None:
    calls = []

    @cached(2, policy="sieve")
    def load(key: str) -> str:
        calls.append(key)
        return key

    for key in ("a", "b", "a", "c", "a"):  # "a" was read, so that "c" takes the place of "b"
        load(key)
    assert calls == ["a", "b", "c"]
    assert load.cache_parameters()["policy"] == "sieve"
