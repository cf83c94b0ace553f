"""@cached on plain functions: keys, lifetimes, failures, threads."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import pickle
import threading
import weakref
from datetime import timedelta
from typing import Any

import pytest

import mcp_performance
from cache_support import Clock
from mcp_performance import Cache, CacheInfo, ConfigurationError, cached, config
from mcp_performance._base import _registry


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shared(clock: Clock, **options: Any) -> Cache[Any, Any]:
    return Cache(clock=clock, **options)


@cached
def at_module_level(x: int) -> int:
    return x


# ---- decoration


def test_bare_and_with_options() -> None:
    @cached
    def bare(x: int) -> int:
        return x

    @cached()
    def empty(x: int) -> int:
        return x

    @cached(10, ttl=5)
    def given(x: int) -> int:
        return x

    assert [bare(1), empty(1), given(1)] == [1, 1, 1]
    assert bare.cache_info() == CacheInfo(hits=0, misses=1, maxsize=1024, currsize=1)
    assert bare.cache_info()._fields == ("hits", "misses", "maxsize", "currsize")
    assert given.cache_info().maxsize == 10
    assert given.cache_parameters() == {"maxsize": 10, "typed": False, "ttl": 5, "policy": "adaptive"}


def test_looks_like_the_function() -> None:
    def original(x: int, *, y: str = "a") -> list[int]:
        """Doc."""
        return [x]

    made = cached(original)
    for attribute in functools.WRAPPER_ASSIGNMENTS:
        assert getattr(made, attribute) == getattr(original, attribute)
    assert made.__wrapped__ is original
    assert inspect.signature(made) == inspect.signature(original)
    assert not inspect.iscoroutinefunction(made)
    assert made in _registry.caches()
    assert made.name == original.__qualname__
    assert "original" in repr(made)


def test_pickles_by_name_and_copies_to_itself() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(at_module_level, protocol)) is at_module_level
    assert copy.copy(at_module_level) is at_module_level
    assert copy.deepcopy(at_module_level) is at_module_level


def test_the_default_lifetime_is_that_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_TTL", 42)

    @cached
    def f(x: int) -> int:
        return x

    f(1)
    left = f.cache.expires_in(1)
    assert left is not None
    assert 41 < left <= 42


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"maxsize": -1}, ConfigurationError),
        ({"maxsize": 2**63}, ConfigurationError),
        ({"maxsize": float("nan")}, ConfigurationError),
        ({"maxsize": True}, TypeError),
        ({"maxsize": "many"}, TypeError),
        ({"ttl": -1}, ConfigurationError),
        ({"ttl": float("nan")}, ConfigurationError),
        ({"ttl": 2**63}, ConfigurationError),
        ({"ttl": True}, TypeError),
        ({"ttl": "soon"}, ConfigurationError),
        ({"stale_ttl": -1}, ConfigurationError),
        ({"negative_ttl": "x"}, ConfigurationError),
        ({"jitter": 1.5}, ConfigurationError),
        ({"jitter": float("nan")}, ConfigurationError),
        ({"jitter": True}, TypeError),
        ({"refresh_ahead": -0.1}, ConfigurationError),
        ({"policy": "fifo"}, ConfigurationError),
        ({"typed": 1}, TypeError),
        ({"as_function": "yes"}, TypeError),
        ({"key": 3}, TypeError),
        ({"condition": 3}, TypeError),
        ({"copy": 3}, TypeError),
        ({"cache": {}}, TypeError),
        ({"name": 3}, TypeError),
        ({"ignore": "x"}, TypeError),
        ({"ignore": ("z",)}, ConfigurationError),
        ({"ignore": (3,)}, TypeError),
        ({"ignore": ("x",), "key": len}, ConfigurationError),
        ({"tags": "t"}, TypeError),
        ({"tags": (3,)}, TypeError),
        ({"tags": ("user:{z}",)}, ConfigurationError),
        ({"tags": ("user:{",)}, ConfigurationError),
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any], error: type[Exception]) -> None:
    option = next(iter(options))
    with pytest.raises(error, match=f"{option}="):
        cached(**options)(lambda x: x)


def test_unknown_options_and_targets_are_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        cached(colour=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not 3"):
        cached()(3)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="classmethod"):
        cached(classmethod(len))  # type: ignore[arg-type]

    def generator() -> Any:
        yield 1

    with pytest.raises(TypeError, match="generator"):
        cached(generator)


# ---- results


def test_none_is_a_result() -> None:
    calls = []

    @cached
    def f(x: int) -> None:
        calls.append(x)

    assert f(1) is None
    assert f(1) is None
    assert calls == [1]


def test_an_exception_is_not_kept() -> None:
    calls = []

    @cached
    def f(x: int) -> int:
        calls.append(x)
        raise LookupError(x)

    for _ in range(2):
        with pytest.raises(LookupError):
            f(1)
    assert calls == [1, 1]
    assert f.cache_info().currsize == 0
    assert f.stats().load_errors == 2


def test_negative_ttl_keeps_exceptions(clock: Clock) -> None:
    calls = []

    @cached(cache=shared(clock), negative_ttl=5)
    def f(x: int) -> int:
        calls.append(x)
        if x < 0:
            raise KeyboardInterrupt
        raise LookupError(x)

    for _ in range(3):
        with pytest.raises(LookupError, match="1"):
            f(1)
    assert calls == [1]
    assert not f.cache_contains(1)
    clock.now += 6
    with pytest.raises(LookupError):
        f(1)
    assert calls == [1, 1]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            f(-1)
    assert calls == [1, 1, -1, -1]
    assert list(f.cache) == []


def test_condition_decides_what_is_stored() -> None:
    @cached(condition=lambda result: result is not None)
    def f(x: int) -> int | None:
        return x if x > 0 else None

    f(1)
    f(-1)
    assert f.cache_contains(1)
    assert not f.cache_contains(-1)


def test_an_error_in_condition_reaches_the_caller() -> None:
    @cached(condition=lambda result: result.missing)
    def f(x: int) -> int:
        return x

    with pytest.raises(AttributeError):
        f(1)
    assert f.cache_info().currsize == 0


def test_copy_makes_what_callers_get() -> None:
    @cached(copy=list)
    def f(x: int) -> list[int]:
        return [x]

    first = f(1)
    first.append(2)
    assert f(1) == [1]
    f(1).append(3)
    assert f(1) == [1]
    assert f.cache_info().misses == 1


# ---- lifetimes


@pytest.mark.parametrize("ttl", [60, 60.0, "60s", "1m", "0.5m30s", timedelta(minutes=1), lambda result: "1m"])
def test_ttl_in_all_its_forms(clock: Clock, ttl: Any) -> None:
    @cached(cache=shared(clock), ttl=ttl)
    def f(x: int) -> int:
        return x

    f(1)
    clock.now += 59.99
    assert f.cache_contains(1)
    clock.now += 0.02
    assert not f.cache_contains(1)


def test_ttl_of_a_result(clock: Clock) -> None:
    @cached(cache=shared(clock), ttl=lambda result: result)
    def f(x: Any) -> Any:
        return x

    f(0)
    f(-1)
    f(None)
    f(5)
    assert [f.cache_contains(x) for x in (0, -1, None, 5)] == [False, False, True, True]
    clock.now += 6
    assert [f.cache_contains(x) for x in (None, 5)] == [True, False]
    with pytest.raises(ConfigurationError, match="ttl="):
        f(float("nan"))


def test_ttl_none_is_for_ever(clock: Clock) -> None:
    @cached(cache=shared(clock, ttl=5), ttl=None)
    def for_ever(x: int) -> int:
        return x

    @cached(cache=for_ever.cache)
    def as_the_cache(x: int) -> int:
        return x

    for_ever(1)
    as_the_cache(1)
    clock.now += 1e8
    assert for_ever.cache_contains(1)
    assert not as_the_cache.cache_contains(1)


def test_jitter_takes_a_share_of_the_lifetime(clock: Clock) -> None:
    @cached(maxsize=None, cache=shared(clock), ttl=100, jitter=0.3)
    def f(x: int) -> int:
        return x

    for x in range(300):
        f(x)
    lives = [f.cache.expires_in(key) for key in f.cache]
    assert all(70 <= life <= 100 for life in lives)
    assert min(lives) < 80
    assert max(lives) > 90


def test_stale_results_outlive_a_failing_function(clock: Clock) -> None:
    broken = False

    @cached(cache=shared(clock), ttl=10, stale_ttl=20)
    def f(x: int) -> float:
        if broken:
            raise LookupError
        return clock.now

    made = f(1)
    clock.now += 11
    assert f(1) == clock.now  # refreshed
    made = clock.now
    broken = True
    clock.now += 11
    assert not f.cache_contains(1)
    assert f(1) == made
    assert f.stats().stale_served == 1
    assert f.stats().load_errors == 1
    clock.now += 20
    with pytest.raises(LookupError):
        f(1)


def test_stale_is_served_while_one_caller_refreshes(clock: Clock) -> None:
    refreshing = threading.Event()
    go_on = threading.Event()
    slow = False

    @cached(cache=shared(clock), ttl=10, stale_ttl=20)
    def f(x: int) -> float:
        if slow:
            refreshing.set()
            assert go_on.wait(30)
        return clock.now

    old = f(1)
    slow = True
    clock.now += 11
    fresh: list[float] = []
    leader = threading.Thread(target=lambda: fresh.append(f(1)))
    leader.start()
    assert refreshing.wait(30)
    assert [f(1), f(1)] == [old, old]
    go_on.set()
    leader.join(30)
    assert fresh == [clock.now]
    assert f(1) == clock.now
    assert f.stats().loads == 2


def test_refresh_ahead_has_the_right_sign(clock: Clock) -> None:
    @cached(cache=shared(clock), ttl=100, refresh_ahead=1)
    def f(x: int) -> int:
        return x

    # A load takes microseconds here: an early refresh an hour ahead would mean a wrong sign.
    f(1)
    for _ in range(2000):
        f(1)
    assert f.stats().loads == 1
    clock.now += 100 - 1e-7
    for _ in range(200):
        if f.stats().loads > 1:
            break
        f(1)
    assert f.stats().loads == 2, "a hit 100 ns before its expiry is refreshed sooner or later"


# ---- a cache that is shared


def test_functions_share_a_cache_without_sharing_entries() -> None:
    common: Cache[Any, Any] = Cache(100)

    @cached(cache=common)
    def f(x: int) -> str:
        return f"f{x}"

    @cached(cache=common)
    def g(x: int) -> str:
        return f"g{x}"

    assert [f(1), g(1), f(1), g(1)] == ["f1", "g1", "f1", "g1"]
    assert len(common) == 2
    assert f.cache is common
    assert f.cache_key(1) != g.cache_key(1)
    assert f not in _registry.caches()


def test_tags_are_filled_from_the_arguments() -> None:
    common: Cache[Any, Any] = Cache()

    @cached(cache=common, tags=("users", "user:{user_id}"))
    def profile(user_id: int, detail: bool = False) -> int:
        return user_id

    @cached(cache=common, tags=lambda user_id: [f"user:{user_id}"])
    def orders(user_id: int) -> int:
        return user_id

    for user in (1, 2):
        profile(user)
        profile(user_id=user, detail=True)
        orders(user)
    assert common.invalidate_tags("user:1") == 3
    assert not profile.cache_contains(1)
    assert not orders.cache_contains(1)
    assert profile.cache_contains(2)
    assert common.invalidate_tags("users") == 2
    assert len(common) == 1


def test_a_tag_invalidated_during_a_load_wins() -> None:
    common: Cache[Any, Any] = Cache()

    @cached(cache=common, tags=("t",))
    def f(x: int) -> int:
        common.invalidate_tags("t")
        return x

    assert f(1) == 1
    assert not f.cache_contains(1)
    assert len(common) == 0


@pytest.mark.parametrize("forget", [lambda f: f.cache_invalidate(1), lambda f: f.cache_clear()])
def test_an_invalidation_during_a_load_wins(forget: Any) -> None:
    @cached
    def f(x: int) -> int:
        forget(f)
        return x

    assert f(1) == 1
    assert not f.cache_contains(1)


# ---- frameworks, life and death


def test_as_function_gives_a_real_function() -> None:
    @cached(as_function=True)
    def f(x: int, y: int = 2) -> int:
        """Doc."""
        return x + y

    assert inspect.isfunction(f)
    assert f(1) == f(x=1) == 3
    assert f.cache_info().hits == 1
    assert inspect.signature(f) == inspect.signature(f.__wrapped__)
    assert f.__doc__ == "Doc."
    f.cache_clear()
    assert f.cache_info().currsize == 0


def test_cached_functions_are_collected() -> None:
    class Marker:
        pass

    def make() -> tuple[Any, Any]:
        marker = Marker()

        @cached
        def f(x: Any) -> Any:
            return f, marker

        f(1)
        return weakref.ref(f), weakref.ref(marker)

    function, marker = make()
    gc.collect()
    assert function() is None
    assert marker() is None


def test_everything_public_is_exported() -> None:
    for name in ("Cache", "CacheBackend", "CacheInfo", "CacheStats", "cached", "cached_method", "lru_cache"):
        assert name in mcp_performance.__all__
        assert getattr(mcp_performance, name) is getattr(mcp_performance.cache, name)
